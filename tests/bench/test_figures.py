"""What the benches compute from what they measured."""

import json

import pytest

from tests.bench.__main__ import BENCHES, main
from tests.bench.figures import Pace, Sample, added_ms, pace, percentile, side
from tests.bench.records import Digest, Plain, full, short


def test_pace_counts_records_by_their_offsets_from_a_fifth_on() -> None:
    # Two partitions of five records; offsets 2 and 5 of the first are markers.
    offsets = [[0, 1, 3, 4, 6], [0, 1, 2, 3, 4]]
    samples = [
        Sample(10.0, 1.0, (0, 0)),
        Sample(11.0, 1.5, (3, 1)),
        Sample(12.0, 2.0, (6, 4)),
        Sample(13.0, 2.5, (8, 5)),
        Sample(14.0, 9.0, (8, 5)),
    ]
    assert pace(samples, offsets) == Pace(7, 2.0, 1.0, 2.5)


def test_pace_refuses_a_copy_nobody_saw_under_way() -> None:
    with pytest.raises(ValueError, match="too few"):
        pace([Sample(1.0, 1.0, (0,)), Sample(2.0, 1.5, (5,))], [[0, 1, 2, 3, 4]])


def test_percentile_is_the_nearest_rank() -> None:
    values = [float(value) for value in range(100, 0, -1)]
    assert percentile(values, 0.5) == 50.0
    assert percentile(values, 0.99) == 99.0
    assert percentile([3.0], 0.99) == 3.0


def test_added_latency_wants_every_record_on_both_sides() -> None:
    assert added_ms({1: 1.0, 2: 2.0}, {1: 1.5, 2: 2.25}) == [500.0, 250.0]
    with pytest.raises(ValueError, match="expected 2 records"):
        added_ms({1: 1.0, 2: 2.0}, {1: 1.5})


def test_every_side_has_the_same_keys() -> None:
    copied = side(Pace(100, 2.0, 1.0, 3.0), 12.34, None)
    passed = side(Pace(100, 2.0, 1.0, 3.0), 12.34, [1.0, 2.0, 3.0])
    assert copied.keys() == passed.keys()
    assert json.loads(json.dumps(passed))["p50_ms"] == 2.0
    assert (copied["records_per_s"], copied["records_per_cpu_s"]) == (50, 100)
    assert copied["p99_ms"] is None


@pytest.mark.parametrize("size", [100, 285, 10_240])
def test_records_have_the_size_they_say(size: int) -> None:
    record = short(123_456, size, 0)
    headers = sum(len(name) + len(value) for name, value in record.headers)
    assert len(record.key) + len(record.value) + headers == size
    json.loads(record.value)
    assert len(full(123_456, size, 0).value) == size


def test_a_digest_tells_order_and_every_part_of_a_record() -> None:
    one, other = Plain(b"k", b"v", [("a", b"1")], 1), Plain(b"k", b"v", [("a", b"2")], 1)

    def of(*records: Plain) -> tuple[int, str]:
        digest = Digest()
        digest.add(records)
        return digest.value

    assert of(one, other) == of(one, other)
    different = {
        of(one, other),
        of(other, one),
        of(one),
        of(one, one),
        of(one, other._replace(timestamp=2)),
        of(one, other._replace(key=b"l")),
        of(one, other._replace(value=b"")),
    }
    assert len(different) == 7


def test_a_wrong_call_names_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    for wrong in (["nothing"], ["relay", "--case", "nothing"]):
        with pytest.raises(SystemExit) as ended:
            main(wrong)
        assert ended.value.code == 2
    said = capsys.readouterr().err
    assert all(name in said for name in (*BENCHES, *BENCHES["relay"].cases))
