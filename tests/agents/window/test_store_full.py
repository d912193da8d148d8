"""A disk that is really full: nothing is lost or repeated, look-ups go on, and so does the rest later."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents.window.store import Store, StoreFull
from tests.agents.window.scripted import TOPIC, Script, start

CONTRACT = "resident.v2"


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)],
        check=False,
        capture_output=True,
    )
    if mounted.returncode:
        pytest.skip("mounting is not ours to do here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("more", [False, True])
def test_a_full_disk_loses_and_repeats_nothing(small: Path, tmp_path: Path, more: bool) -> None:
    filler = small / "filler"
    filler.write_bytes(b"x" * 15_300_000)
    script = Script()
    pieces = []
    for turn in range(30):
        for number in range(20):
            script.put(f"k{turn * 11 + number}", value=b'"' + b"%05d" % turn * 200 + b'"')
        script.mark()
        pieces.append(script.slice())
    store, state, at, full = Store(small / "w.sqlite", feed=100), start(), 0, 0
    while at < len(pieces):
        try:
            store.apply(CONTRACT, pieces[at], state, more=more)
            if more:
                store.save()
            at += 1
        except StoreFull:
            full += 1
            assert full < 5
            assert store.get(CONTRACT, "k0") is not None, "look-ups go on"
            ((_, (following, state)),) = store.positions([TOPIC]).items()
            assert following == pieces[at].records[0].offset, "nothing of it was applied"
            assert store.total(CONTRACT) == len(store.page(CONTRACT, (), "", 10**6))
            filler.write_bytes(b"")
            store._checkpoint()
    fresh, again = Store(tmp_path / "fresh.sqlite", feed=100), start()
    for piece in pieces:
        fresh.apply(CONTRACT, piece, again)
    assert full
    assert store.page(CONTRACT, (), "", 10**6) == fresh.page(CONTRACT, (), "", 10**6)
    assert store.changes_after(store.first - 1, 999) == fresh.changes_after(fresh.first - 1, 999)
    assert (store.last, state) == (fresh.last, again)
    store.close()


def test_a_window_that_starts_on_a_full_disk_says_so(small: Path) -> None:
    store = Store(small / "window.sqlite")
    filler = small / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))

    def begin_again() -> None:
        for _ in range(200):
            store.begin_run()

    with pytest.raises(StoreFull):
        begin_again()
    filler.unlink()
    assert store.begin_run()
    store.close()
