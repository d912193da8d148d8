"""What waits in the outbox as a source: in order, the same when told again, dropped when it stands."""

import contextlib
from pathlib import Path

from agents.base.outgoing import Outgoing
from agents.capture.outgoing import OutgoingSource
from agents.capture.source import Change

NAME = "report.v1"


def changes(told: object) -> list[tuple[str, str, str]]:
    assert all(type(each) is Change for each in told.changes)  # type: ignore[attr-defined]
    return [(each.id, each.sequence, each.key) for each in told.changes]  # type: ignore[attr-defined]


async def test_it_tells_in_order_and_the_same_again_until_it_is_confirmed(tmp_path: Path) -> None:
    with contextlib.closing(Outgoing(tmp_path / "o.sqlite")) as outgoing:
        outgoing.put(NAME, [("a", b'{"n":1}'), ("b", None)])
        outgoing.put("other.v1", [("x", b"{}")])
        outgoing.put(NAME, [("a", b'{"n":2}')])
        async with OutgoingSource(outgoing, NAME) as source:
            await source.open(None, frozenset())
            first = await source.read()
        assert [each[2] for each in changes(first)] == ["a", "b", "a"]
        assert [each.fields for each in first.changes] == [{"n": 1}, None, {"n": 2}]  # type: ignore[union-attr]
        sequences = [each[1] for each in changes(first)]
        assert sequences == sorted(set(sequences))
        async with OutgoingSource(outgoing, NAME) as source:
            held = {each[0] for each in changes(first)[:2]} | {"some-letter.resolved"}
            await source.open(None, frozenset(held))
            again = await source.read()
            assert changes(again) == changes(first)
            assert again.passed
            await source.confirm(again.position)
        assert outgoing.waiting(NAME) == 0
        assert outgoing.waiting("other.v1") == 1


async def test_what_the_copy_holds_is_passed_once_it_was_told_again(tmp_path: Path) -> None:
    with contextlib.closing(Outgoing(tmp_path / "o.sqlite")) as outgoing:
        numbers = outgoing.put(NAME, [(f"k{n}", b"{}") for n in range(1_500)])
        source = OutgoingSource(outgoing, NAME)
        await source.open(None, frozenset({f"{outgoing.id}-{numbers[1_200]}"}))
        assert not (await source.read()).passed
        assert (await source.read()).passed


async def test_sequences_go_on_where_the_outbox_was_lost(tmp_path: Path) -> None:
    far = 9_000_000_000_000_000
    with contextlib.closing(Outgoing(tmp_path / "o.sqlite")) as outgoing:
        outgoing.put(NAME, [("a", b"{}")])
        source = OutgoingSource(outgoing, NAME)
        lost = {"store": "another", "seq": 70, "sequence": far}
        await source.open(lost, frozenset({"another-71"}))
        told = await source.read()
        ((name, sequence, _),) = changes(told)
        assert name.startswith(outgoing.id)
        assert int(sequence) > far
        assert told.passed
        await source.confirm(lost)
        assert outgoing.waiting(NAME) == 1, "what another outbox told says nothing of this one"


async def test_it_is_complete_up_to_what_still_waits(tmp_path: Path) -> None:
    with contextlib.closing(Outgoing(tmp_path / "o.sqlite")) as outgoing:
        outgoing.put(NAME, [(f"k{n}", b"{}") for n in range(1_001)])
        source = OutgoingSource(outgoing, NAME)
        await source.open(None, frozenset())
        first, last = await source.read(), await source.read()
        assert first.complete == outgoing.after(NAME, 0, 1)[0].time
        assert last.complete > first.complete
