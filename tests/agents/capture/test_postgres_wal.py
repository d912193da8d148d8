"""How bad it is that a slot holds back log."""

import pytest

from agents.capture.postgres_wal import Retained, judge, parse_size, told_size

MB, GB = 1 << 20, 1 << 30


@pytest.mark.parametrize(
    ("held", "status", "limit", "level", "says"),
    [
        (4 * GB, "reserved", None, "", ""),
        (5 * GB, "reserved", None, "warning", "50% of the wal_budget of 10 GB"),
        (9 * GB, "extended", None, "alarm", "90% of the wal_budget of 10 GB"),
        (
            1 * GB,
            "extended",
            2 * GB,
            "warning",
            "50% of the server's max_slot_wal_keep_size of 2.0 GB",
        ),
        (1 * GB, "unreserved", 2 * GB, "alarm", "will give it up at the next checkpoint"),
        (0, "lost", None, "alarm", "has given it up"),
    ],
)
def test_what_is_held_back_is_judged_by_the_nearer_bound(
    held: int, status: str, limit: int | None, level: str, says: str
) -> None:
    found = judge(Retained("slot", held, status, None, limit, 0), 10 * GB)
    assert found[0] == level
    assert says in found[1]


def test_without_a_bound_nothing_is_too_much() -> None:
    assert judge(Retained("slot", 900 * GB, "extended", None, None, 0), 0) == ("", "")


def test_sizes_are_read_and_told_as_postgresql_writes_them() -> None:
    assert [parse_size(text) for text in ("0", "10GB", "512 MB", "8kB")] == [
        0,
        10 * GB,
        512 * MB,
        8192,
    ]
    for text in ("10 gigabytes", "-1GB", "1.5GB"):
        with pytest.raises(ValueError, match=text):
            parse_size(text)
    assert [told_size(size) for size in (17, 8192, 1.5 * GB, 12 * GB)] == [
        "17 B",
        "8.0 kB",
        "1.5 GB",
        "12 GB",
    ]
