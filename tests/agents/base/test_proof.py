"""What a signed stream proves, and what is found when it is not what was signed."""

import time
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from agents.base.errors import GapFound, NotProven
from agents.base.proof import MOST_WITHOUT, YOUNG, Proof, Trust
from agents.base.statement import ZERO, Seal, Statement, chained, digest, event_chained, sealed
from agents.base.status import Hop
from agents.base.stream import Record, take
from agents.base.watermark import FENCE, LEFT_OUT, TYPE, Continuity, Watermark
from tests.agents.base.keys import Signs

TOPIC = "resident.v2.to.3701"


class Stream:
    """A partition as its writer signs it, record by record; ``maker`` makes the events too."""

    def __init__(self, signs: Signs, topic: str = TOPIC, *, maker: bool = True) -> None:
        self.signs, self.topic, self.maker = signs, topic, maker
        self.records: list[Record] = []
        self.batches, self.events, self.number, self.count, self.since = ZERO, ZERO, 0, 0, 1
        self.stream = "s"

    def event(self, value: bytes = b"{}") -> None:
        record = Record(len(self.records), 5, b"k", value, [("ce_id", b"%d" % len(self.records))])
        self.records.append(record)
        self.count += 1
        self.events = event_chained(self.events, 5, b"k", value, record.headers)
        self.batches = chained(self.batches, value)

    def fence(self) -> None:
        self.records.append(Record(len(self.records), 5, b"f", b"{}", [("ce_type", FENCE)]))

    def mark(
        self,
        *,
        signed: bool = True,
        carries: Seal | None = None,
        apart: str = "",
        at: int | None = None,
        **other: Any,
    ) -> Watermark:
        self.number += 1
        mark = Watermark(self.stream, self.number, self.count, 9, {"at": 1}, None, carries, apart)
        if signed:
            said: dict[str, Any] = {
                "node": self.signs.node, "key": self.signs.public, "topic": self.topic,
                "partition": 0, "stream": self.stream, "number": self.number, "count": self.count,
                "time": 9, "at": time.time_ns() // 1000 if at is None else at,
                "since": self.since, "batches": self.batches,
                "events": self.events if self.maker else b"", "position": digest(mark.position),
                "carries": digest(carries.said) if carries else "", "apart": apart,
            } | other  # fmt: skip
            assert self.signs.key
            seal = sealed(Statement(**said), self.signs.key)
            mark = msgspec.structs.replace(mark, seal=seal)
        else:
            self.since, self.batches, self.events = self.number + 1, ZERO, ZERO
        self.count = 0
        self.put(mark)
        return mark

    def put(self, mark: Watermark) -> None:
        raw = msgspec.json.encode(mark)
        self.records.append(Record(len(self.records), 5, b"w", raw, [("ce_type", TYPE)]))


class Reading:
    """A reader of the whole of it; like a link by batches, or like a window by events."""

    def __init__(
        self, trust: Mapping[str, tuple[str, ...]], writer: str, *, events: bool, giver: str = "",
        topic: str = TOPIC, own: frozenset[str] = frozenset(),
    ) -> None:  # fmt: skip
        self.hop = Hop("link", "resident.v2", topic, "there")
        self.trust = Trust("3701", trust, lambda: own)
        self.proof = Proof(self.trust, (topic, 0), writer, self.hop, giver=giver, events=events)
        self.state = Continuity(offset=0, thinned=False)
        self.proof.begin(self.state)

    def read(self, records: list[Record]) -> None:
        for record in records:
            if take(record, self.state, self.proof) is True and self.state.batch_chain:
                self.state.batch_chain = chained(self.state.batch_chain, record.value or b"")

    @property
    def said(self) -> str | None:
        found = self.hop.signatures()
        return found["said"] if found else None


def province(*, events: bool) -> tuple[Stream, Reading]:
    signs = Signs("37")
    return Stream(signs), Reading({"37": (signs.public,)}, "37", events=events)


@pytest.mark.parametrize("events", [False, True])
def test_a_signed_stream_is_proven(events: bool) -> None:
    stream, reading = province(events=events)
    for _ in range(3):
        stream.event()
        stream.fence()
        stream.event(b"[]")
        stream.mark()
    reading.read(stream.records)
    assert reading.hop.verified == 3
    assert reading.said
    assert reading.said.startswith("37 (key ")


def _altered(what: str, records: list[Record]) -> list[Record]:
    """What an attacker who may write the log makes of two events and a watermark, twice over."""
    one, two, mark, three, four, last = records
    if what == "changed":
        return [one, two._replace(value=b'"x"'), mark, three, four, last]
    if what == "another time":
        return [one, two._replace(timestamp=6), mark, three, four, last]
    if what == "another header":
        return [one, two._replace(headers=[("ce_id", b"9")]), mark, three, four, last]
    if what == "swapped":
        return [two._replace(offset=0), one._replace(offset=1), mark, three, four, last]
    if what == "another in its place":
        return [one, one._replace(offset=1), mark, three, four, last]
    if what == "dropped":
        return [one, mark, three, four, last]
    if what == "dropped without a gap":
        return [
            each._replace(offset=offset)
            for offset, each in enumerate([one, mark, three, four, last])
        ]
    if what == "added":
        return [
            each._replace(offset=offset)
            for offset, each in enumerate([one, two, one, mark, three, four, last])
        ]
    if what == "an old watermark again":
        return [one, two, mark, three, four, last._replace(value=mark.value)]
    if what == "watermark left out":
        return [one, two, three, four, last]
    assert what == "events moved over the watermark"
    return [one, mark._replace(offset=1), two._replace(offset=2), three, four, last]


@pytest.mark.parametrize("events", [False, True])
@pytest.mark.parametrize(
    "what",
    [
        "changed", "another in its place", "swapped", "dropped", "dropped without a gap", "added",
        "an old watermark again", "events moved over the watermark",
    ],
)  # fmt: skip
def test_what_is_altered_is_found_at_the_next_watermark(what: str, events: bool) -> None:
    stream, reading = province(events=events)
    stream.event(b"0")
    stream.mark()
    reading.read(stream.records)
    before = len(stream.records)
    for _ in range(2):
        stream.event(b"1")
        stream.event(b"2")
        stream.mark()
    rest = [each._replace(offset=each.offset - before) for each in stream.records[before:]]
    with pytest.raises(GapFound):
        reading.read([each._replace(offset=each.offset + before) for each in _altered(what, rest)])
    assert reading.state.number <= 2


@pytest.mark.parametrize("what", ["another time", "another header"])
def test_time_and_headers_are_signed_too(what: str) -> None:
    stream, reading = province(events=True)
    for _ in range(2):
        stream.event(b"1")
        stream.event(b"2")
        stream.mark()
    with pytest.raises(NotProven, match="not those that were signed"):
        reading.read(_altered(what, stream.records))
    assert reading.hop.failed == 1
    assert "stopped" in (reading.said or "")


@pytest.mark.parametrize(
    "field", ["number", "count", "time", "position", "stream", "apart"]
)  # fmt: skip
def test_a_watermark_that_says_something_else_than_was_signed_is_found(field: str) -> None:
    stream, reading = province(events=False)
    stream.event()
    mark = stream.mark()
    other: Any = {"number": 2, "count": -1, "time": 99, "position": {}, "stream": "t", "apart": "x"}
    stream.records.pop()
    stream.put(msgspec.structs.replace(mark, **{field: other[field]}))
    with pytest.raises(GapFound):
        reading.read(stream.records)


def test_what_is_not_signed_where_it_must_be_stops() -> None:
    stream, reading = province(events=False)
    stream.mark(signed=False)
    with pytest.raises(NotProven, match="not signed"):
        reading.read(stream.records)


def test_a_signature_of_another_node_stops() -> None:
    stream, reading = province(events=False)
    stream.signs = Signs("3702")
    stream.mark()
    with pytest.raises(NotProven, match="another key"):
        reading.read(stream.records)


def test_a_key_of_the_right_node_that_is_not_listed_stops() -> None:
    stream, reading = province(events=True)
    stream.signs = Signs("37")
    stream.mark()
    with pytest.raises(NotProven, match="another key"):
        reading.read(stream.records)


def test_a_statement_altered_under_its_signature_stops() -> None:
    stream, reading = province(events=False)
    mark = stream.mark()
    assert mark.seal
    seal = Seal(mark.seal.said.replace('"count":0', '"count":1'), mark.seal.signature)
    stream.records = []
    stream.put(msgspec.structs.replace(mark, seal=seal))
    with pytest.raises(NotProven, match="signed wrongly"):
        reading.read(stream.records)


def test_a_statement_of_another_topic_stops() -> None:
    stream, reading = province(events=False)
    stream.topic = "resident.v2.to.3702"
    stream.mark()
    with pytest.raises(NotProven, match="not what was signed"):
        reading.read(stream.records)


def test_keys_change_without_a_stop() -> None:
    stream, reading = province(events=False)
    stream.event()
    stream.mark()
    reading.read(stream.records)
    old, at = stream.signs.public, len(stream.records)
    stream.signs.rotate()
    reading.trust.use({"37": (old, stream.signs.public)})
    stream.event()
    stream.mark()
    reading.read(stream.records[at:])
    assert reading.hop.verified == 2


def test_where_nobody_is_trusted_streams_flow_and_status_says_how_they_are_signed() -> None:
    signs = Signs("37")
    stream, reading = Stream(signs), Reading({}, "37", events=False)
    stream.event()
    stream.mark()
    reading.read(stream.records)
    assert reading.said
    assert f"levelsync keys trust NODE.toml 37 {signs.public}" in reading.said
    assert reading.hop.verified == 0
    unsigned = Stream(signs)
    unsigned.mark(signed=False)
    reading = Reading({}, "37", events=False)
    reading.read(unsigned.records)
    assert reading.said == "unsigned"


def test_what_this_node_signed_itself_is_verified_and_may_be_unsigned() -> None:
    signs = Signs("3701")
    stream = Stream(signs)
    stream.event()
    stream.mark(signed=False)
    stream.event()
    stream.mark()
    stream.event()
    stream.event()
    stream.mark()
    reading = Reading({}, "3701", events=False, own=frozenset({signs.public}))
    reading.read(stream.records)
    assert reading.hop.verified == 2
    reading = Reading({}, "3701", events=False, own=frozenset({signs.public}))
    with pytest.raises(NotProven):
        reading.read(
            [*stream.records[:4], stream.records[4]._replace(value=b"x"), *stream.records[5:]]
        )


def test_a_stream_that_was_signed_only_later_is_read_from_its_beginning() -> None:
    stream, reading = province(events=True)
    for signed in (False, False, True, True):
        stream.event()
        mark = stream.mark(signed=signed)
    assert reading.proof.unknown(reading.state)
    reading.proof.ends(mark.seal)
    reading.read(stream.records)
    assert reading.hop.verified == 2


def test_what_was_signed_once_stays_so() -> None:
    stream, reading = province(events=True)
    for signed in (False, True, False):
        stream.event()
        mark = stream.mark(signed=signed)
        if signed:
            reading.proof.ends(mark.seal)
    with pytest.raises(NotProven, match="not signed"):
        reading.read(stream.records)


def test_where_compaction_has_been_state_is_accepted_and_history_goes_on() -> None:
    stream, reading = province(events=True)
    old = time.time_ns() // 1000 - 2 * YOUNG
    stream.event()
    stream.mark(at=old)
    stream.event()
    stream.event()
    stream.mark(at=old)
    stream.event()
    stream.mark()
    thinned = [each for each in stream.records if each.offset != 2]
    reading.read(thinned)
    assert reading.hop.verified == 3
    stream.event()
    stream.mark()
    with pytest.raises(NotProven):
        reading.read([stream.records[-2]._replace(value=b"x"), stream.records[-1]])


def test_what_is_missing_of_what_compaction_leaves_alone_was_taken() -> None:
    stream, reading = province(events=False)
    stream.event()
    stream.mark()
    stream.event()
    stream.mark()
    with pytest.raises(NotProven, match="compaction cannot"):
        reading.read([each for each in stream.records if each.offset != 2])


# ---- through a link ------------------------------------------------------------------------------


def linked() -> tuple[Stream, Stream, Reading]:
    """The province's view, the city's received topic, and the city's window."""
    above, here = Signs("37"), Signs("3701")
    view = Stream(above)
    copy = Stream(here, "resident.v2.from.37", maker=False)
    copy.stream = "c"
    trust = {"37": (above.public,), "3701": (here.public,)}
    return view, copy, Reading(trust, "3701", events=True, giver="37", topic=copy.topic)


def pass_on(view: Stream, copy: Stream, values: list[bytes], **other: Any) -> None:
    for value in values:
        view.event(value)
        copy.event(value)
        # A copy has the same events at other offsets.
        copy.records[-1] = view.records[-1]._replace(offset=len(copy.records) - 1)
    copy.mark(carries=view.mark().seal, **other)


def test_the_word_of_who_made_the_events_holds_through_a_link() -> None:
    view, copy, window = linked()
    pass_on(view, copy, [b"1", b"2"])
    copy.mark()
    copy.fence()
    pass_on(view, copy, [b"3"])
    window.read(copy.records)
    assert window.said
    assert window.said.startswith("37 (key ")


def test_what_a_link_altered_is_found_at_the_window() -> None:
    view, copy, window = linked()
    pass_on(view, copy, [b"1", b"2"])
    pass_on(view, copy, [b"3", b"4"])
    copy.records[3] = copy.records[3]._replace(value=b"5")
    with pytest.raises(NotProven, match=r"not those that were signed.*by=37"):
        window.read(copy.records)


def test_what_a_link_left_out_it_says_and_everybody_is_told() -> None:
    view, copy, window = linked()
    pass_on(view, copy, [b"1"])
    view.event(b"too large")
    pass_on(view, copy, [b"2"], apart=f"{LEFT_OUT}: an event")
    window.read(copy.records)
    assert any("not all that 37 signed" in each for each in window.hop.warnings.values())
    at = len(copy.records)
    pass_on(view, copy, [b"3"])
    window.read(copy.records[at:])
    assert not window.hop.warnings


def test_an_older_statement_carried_again_stops() -> None:
    view, copy, window = linked()
    pass_on(view, copy, [b"1"])
    first = copy.records[-1]
    pass_on(view, copy, [b"2"])
    copy.mark(carries=msgspec.json.decode(first.value or b"", type=Watermark).carries)
    with pytest.raises(NotProven, match="carries an older one"):
        window.read(copy.records)


def test_the_word_of_somebody_else_does_not_count_for_it() -> None:
    view, copy, window = linked()
    pass_on(view, copy, [b"1"])
    view.signs = Signs("3702")
    pass_on(view, copy, [b"2"])
    with pytest.raises(NotProven, match="another key"):
        window.read(copy.records)


def test_a_link_cannot_keep_silent_about_who_made_the_events() -> None:
    _view, copy, window = linked()
    for _ in range(MOST_WITHOUT + 1):
        copy.event()
        copy.mark()
    with pytest.raises(NotProven, match="do not carry"):
        window.read(copy.records)
