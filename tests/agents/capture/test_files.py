"""Files in a folder: what becomes of them, and of the records in them."""

import asyncio
import contextlib
import errno
import gzip
import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openpyxl import Workbook

from agents.capture import files, files_folder
from agents.capture.files_doctor import examine
from agents.capture.files_folder import FolderAway
from agents.capture.files_stage import PlanAway
from tests.agents.capture.desk import CONTRACT, HEADER, Desk


@pytest.fixture(autouse=True, scope="module")
def _quick() -> Iterator[None]:
    """A source that looks at its folder all the time, and never twice in the same second."""
    seconds = itertools.count(1_700_000_000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "LOOK", 0.02)
        patch.setattr(files, "number_after", lambda last: max(last.number + 1, next(seconds)))
        yield


A, B, C, D = ("3701", "一"), ("3702", "二"), ("3703", "三"), ("3704", "四")


async def test_a_snapshot_becomes_inserts_updates_and_deletes(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.rows("1.csv", [A, B, C])
    assert await desk.work()
    desk.rows("2.csv", [A, ("3702", "貳"), D])
    assert await desk.work()
    assert {key: record["name"] for key, record in desk.topic.state.items()} == {
        "3701": "一", "3702": "貳", "3704": "四",
    }  # fmt: skip
    assert len(desk.topic.events) == 6
    report = desk.report("done", "2.csv")
    assert (report.inserts, report.updates, report.deletes, report.unchanged) == (1, 1, 1, 1)
    assert (report.rows, report.refused, report.records) == (3, 0, 3)
    assert report.contract == "division.v1/1.0"
    assert desk.names("done") == ["1.csv", "2.csv"]
    text = (desk.folder / "done" / "2.csv.report.txt").read_text(encoding="utf-8")
    assert "2.csv: done" in text
    assert "encoding utf-8" in text


async def test_a_wrong_row_is_a_dead_letter_and_its_record_stays(tmp_path: Path) -> None:
    """Red when ``_Rows.enter`` is never sure of a refused row's key: tried."""
    desk = Desk(tmp_path)
    desk.rows("1.csv", [A, B])
    assert await desk.work()
    desk.drop("2.csv", f"{HEADER}\n3701,一,township,\n3702,二,nowhere,\n3703,三,nowhere,\n")
    assert await desk.work()
    assert set(desk.topic.state) == {"3701", "3702"}
    report = desk.report("done", "2.csv")
    assert (report.refused, report.deletes, report.withheld) == (2, 0, 0)
    assert [(each.line, each.path, each.rule) for each in report.lines] == [
        (3, "$.level", "enum"), (4, "$.level", "enum"),
    ]  # fmt: skip
    (letter, _), _ = desk.topic.letters.values()
    assert letter.origin == "2.csv:3"
    assert letter.raw == "3702,二,nowhere,\n".encode()
    # What is wrong again the next night is the same letter.
    desk.drop("3.csv", f"{HEADER}\n3702,二,nowhere,\n3701,一,township,\n3703,三,nowhere,\n")
    assert await desk.work()
    assert len(desk.topic.letters) == 2


async def test_deletions_wait_while_a_key_cannot_be_read(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.rows("1.csv", [A, B])
    assert await desk.work()
    desk.rows("2.csv", [A, ("3.7E+3", "二"), D])
    assert await desk.work()
    assert set(desk.topic.state) == {"3701", "3702", "3704"}
    assert desk.report("done", "2.csv").withheld == 1
    assert "2.csv" in desk.hop.warnings["withheld"]


async def test_a_key_that_stands_twice_is_refused_and_what_stands_is_kept(tmp_path: Path) -> None:
    """Red when the last row wins in ``Plan.row``: tried."""
    desk = Desk(tmp_path)
    desk.rows("1.csv", [A, B])
    assert await desk.work()
    desk.rows("2.csv", [A, ("3702", "x"), C, C, ("3702", "y"), ("3702", "z")])
    assert await desk.work()
    assert {key: record["name"] for key, record in desk.topic.state.items()} == {
        "3701": "一", "3702": "二", "3703": "三",
    }  # fmt: skip
    report = desk.report("done", "2.csv")
    assert (report.inserts, report.updates, report.identical, report.refused) == (1, 0, 1, 3)
    assert report.rows == 6
    assert {each.rule for each in report.lines} == {"repeated-key"}
    assert [refused.message for _, refused in desk.topic.letters.values()] == [
        "Expected each key once, got it in lines 3 and 6",
        "Expected each key once, got it in lines 3 and 7",
    ]


async def test_a_file_that_would_delete_too_much_is_held_until_an_operator_lets_it_go(
    tmp_path: Path,
) -> None:
    desk = Desk(tmp_path, most_deleted=0.25)
    desk.rows("1.csv", [A, B, C, D])
    assert await desk.work()
    desk.rows("2.csv", [A, B])
    assert await desk.work()
    assert len(desk.topic.state) == 4
    assert desk.names("held") == ["2.csv"]
    assert "2 of 4 records (50.0%)" in desk.report("held", "2.csv").why
    assert "2.csv" in desk.hop.warnings["held"]
    assert await desk.work(), "it stays held over a restart"
    assert desk.names("held") == ["2.csv"]
    request = desk.requests.ask("release", CONTRACT.name, file="2.csv")
    assert await desk.work()
    assert set(desk.topic.state) == {"3701", "3702"}
    assert desk.names("held") == []
    assert not list((desk.folder / "held").iterdir())
    answer = desk.requests.answer_to(request)
    assert answer
    assert (answer.state, answer.facts["deletes"]) == ("done", 2)
    assert "held" not in desk.hop.warnings


async def test_a_held_file_can_be_refused(tmp_path: Path) -> None:
    desk = Desk(tmp_path, most_deleted=0.25)
    desk.rows("1.csv", [A, B])
    assert await desk.work()
    desk.drop("2.csv", f"{HEADER}\n")
    assert await desk.work()
    desk.requests.ask("release", CONTRACT.name, file="2.csv", refuse=True)
    unknown = desk.requests.ask("release", CONTRACT.name, file="3.csv")
    assert await desk.work()
    assert desk.names("refused") == ["2.csv"]
    assert len(desk.topic.state) == 2
    answer = desk.requests.answer_to(unknown)
    assert answer
    assert answer.state == "failed"


async def test_a_newer_whole_file_takes_the_place_of_a_held_one(tmp_path: Path) -> None:
    desk = Desk(tmp_path, most_deleted=0.25)
    desk.rows("1.csv", [A, B])
    assert await desk.work()
    desk.rows("2.csv", [A])
    assert await desk.work()
    desk.rows("3.csv", [A, B, C])
    assert await desk.work()
    assert (desk.names("held"), desk.names("refused")) == ([], ["2.csv"])
    assert "3.csv" in desk.report("refused", "2.csv").why
    assert len(desk.topic.state) == 3


async def test_a_file_of_mostly_wrong_rows_is_held(tmp_path: Path) -> None:
    desk = Desk(tmp_path, most_refused=0.5)
    desk.drop("1.csv", f"{HEADER}\n3701,一,a,\n3702,二,b,\n3703,三,township,\n")
    assert await desk.work()
    assert "2 of 3 rows" in desk.report("held", "1.csv").why
    assert not desk.topic.letters


async def test_a_workbook_and_a_packed_file_are_snapshots_too(tmp_path: Path) -> None:
    """What one form told another finds unchanged."""
    desk = Desk(tmp_path, pattern="day-*")
    book = Workbook()
    sheet = book.active
    assert sheet is not None
    for row in (HEADER.split(","), ["3701", "一", "township"], [3702, "二", "township"]):
        sheet.append(row)
    book.save(desk.folder / ".made")
    (desk.folder / ".made").rename(desk.folder / "day-1.xlsx")
    assert await desk.work()
    content = f"{HEADER}\n3701,一,township,\n3702,贰,township,\n".encode("gb18030")
    desk.drop("day-2.csv.gz", gzip.compress(content))
    assert await desk.work()
    assert {key: record["name"] for key, record in desk.topic.state.items()} == {
        "3701": "一", "3702": "贰",
    }  # fmt: skip
    report = desk.report("done", "day-2.csv.gz")
    assert (report.updates, report.unchanged) == (1, 1)
    assert report.read_as == {"format": "csv", "encoding": "gb18030", "separator": "comma"}


async def test_a_delta_is_taken_as_it_is(tmp_path: Path) -> None:
    desk = Desk(tmp_path, mode="delta", operation="操作")
    head = f"操作,{HEADER}"
    desk.drop(
        "1.csv", f"{head}\nI,3701,一,township,\n新增,3702,二,township,\nU,3701,壹,township,\n"
    )
    assert await desk.work()
    desk.drop("2.csv", f"{head}\n删除,3702,,,\n?,3701,x,township,\nD,,,,\n")
    assert await desk.work()
    assert {key: record["name"] for key, record in desk.topic.state.items()} == {"3701": "壹"}
    assert (desk.report("done", "1.csv").upserts, desk.report("done", "2.csv").deletes) == (3, 1)
    assert [(each.line, each.rule) for each in desk.report("done", "2.csv").lines] == [
        (3, "operation"), (4, "shape"),
    ]  # fmt: skip


async def test_a_delta_that_was_done_is_not_told_again(tmp_path: Path) -> None:
    desk = Desk(tmp_path, mode="delta")
    desk.rows("1.csv", [A])
    assert await desk.work()
    desk.rows("2.csv", [("3701", "壹")])
    assert await desk.work()
    desk.rows("1.csv", [A])
    assert await desk.work()
    assert desk.topic.state["3701"]["name"] == "壹"
    assert desk.names("done") == ["1.2.csv", "1.csv", "2.csv"]
    assert "done before" in desk.report("done", "1.2.csv").why


async def test_the_same_snapshot_again_is_compared_again(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    for name, rows in (("1.csv", [A]), ("2.csv", [B]), ("3.csv", [A])):
        desk.rows(name, rows)
        assert await desk.work()
    assert set(desk.topic.state) == {"3701"}
    assert len({event.id for event in desk.topic.events}) == len(desk.topic.events) == 5


async def test_files_are_taken_in_the_order_of_their_names(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    for number in (3, 1, 2):
        desk.rows(f"{number}.csv", [("3701", f"v{number}")])
    assert await desk.work()
    told = [msgspec.json.decode(event.value or b"")["name"] for event in desk.topic.events]
    assert told == ["v1", "v2", "v3"]


async def test_a_half_written_file_waits(tmp_path: Path) -> None:
    """Red when ``Folder.settled`` takes what it has just seen: tried."""
    desk = Desk(tmp_path, settle=0.5)
    path = desk.folder / "1.csv"
    with path.open("w", encoding="utf-8") as file:
        file.write(f"{HEADER}\n")
        working = asyncio.create_task(desk.work(), name="work")
        for number in range(12):
            await asyncio.sleep(0.15)
            file.write(f"37010200{number % 10},n{number},township,\n")
            file.flush()
            assert not desk.topic.events
        file.write("370102100,last,township,\n")
    assert await working
    assert "370102100" in desk.topic.state
    assert desk.names("done") == ["1.csv"]


async def test_a_file_waits_for_its_marker(tmp_path: Path) -> None:
    desk = Desk(tmp_path, marker=".ok")
    desk.rows("1.csv", [A])
    desk.rows("2.csv", [A, B])
    (desk.folder / "2.csv.ok").touch()
    async with desk.source() as source:
        while desk.names("done") != ["2.csv"]:
            told = await source.read()
            for change in told.changes:
                desk.topic.take(change)
            await source.confirm(told.position)
    assert (desk.folder / "1.csv").exists()
    assert not (desk.folder / "2.csv.ok").exists()


async def test_what_is_no_file_of_ours_is_left_alone(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    outside = tmp_path / "outside.csv"
    outside.write_text(f"{HEADER}\n3799,x,township,\n", encoding="utf-8")
    (desk.folder / "link.csv").symlink_to(outside)
    (desk.folder / "sub.csv").mkdir()
    for name in (".hidden.csv", "~$open.csv", "up.csv.part", "note.txt"):
        (desk.folder / name).write_text("x", encoding="utf-8")
    os.mkfifo(desk.folder / "pipe.csv")
    desk.rows("1.csv", [A])
    async with asyncio.timeout(10), desk.source() as source:
        while "1.csv" not in desk.names("done"):
            told = await source.read()
            for change in told.changes:
                desk.topic.take(change)
            await source.confirm(told.position)
        while "link.csv" not in desk.hop.warnings.get("files", ""):
            await source.read()
    assert set(desk.topic.state) == {"3701"}
    assert outside.exists()


async def test_a_file_is_never_written_over(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    for text in ("一", "二", "三"):
        desk.rows("day.csv", [("3701", text)])
        assert await desk.work()
    assert desk.names("done") == ["day.2.csv", "day.3.csv", "day.csv"]
    assert desk.report("done", "day.3.csv").updates == 1


async def test_a_file_nothing_can_be_made_of_is_refused_with_its_line(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.drop("1.csv", "")
    desk.drop("2.csv", "code,name\n3701,一\n")
    desk.drop("3.csv", f'{HEADER}\n3701,"一,township,\n')
    assert await desk.work()
    assert desk.names("refused") == ["1.csv", "2.csv", "3.csv"]
    assert "empty file" in desk.report("refused", "1.csv").why
    assert "`level` or `级别`" in desk.report("refused", "2.csv").why
    assert "in line 2" in desk.report("refused", "3.csv").why
    assert not desk.topic.events


async def test_a_crash_before_the_file_was_moved_moves_it(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.rows("1.csv", [A, B])
    assert await desk.work()
    shutil.copy(desk.folder / "done" / "1.csv", desk.folder / ".reading" / "1.csv")
    assert await desk.work()
    assert len(desk.topic.events) == 2
    assert not list((desk.folder / ".reading").iterdir())


async def test_a_half_told_delta_that_is_gone_is_waited_for(tmp_path: Path) -> None:
    desk = Desk(tmp_path, mode="delta")
    desk.rows("1.csv", [A, B, C])
    assert not await desk.work(crash_after=2)
    shutil.rmtree(desk.state)
    content = (desk.folder / ".reading" / "1.csv").read_bytes()
    (desk.folder / ".reading" / "1.csv").unlink()
    desk.rows("2.csv", [D])
    async with asyncio.timeout(10), desk.source() as source:
        while "file" not in desk.hop.alarms:
            await source.read()
    assert "1.csv" in desk.hop.alarms["file"]
    desk.drop("1.csv", content)
    assert await desk.work()
    assert set(desk.topic.state) == {"3701", "3702", "3703", "3704"}
    assert "file" not in desk.hop.alarms


async def test_an_operator_may_go_on_without_the_rest_of_a_file(tmp_path: Path) -> None:
    desk = Desk(tmp_path, mode="delta")
    desk.rows("1.csv", [A, B, C])
    assert not await desk.work(crash_after=2)
    shutil.rmtree(desk.state)
    (desk.folder / ".reading" / "1.csv").unlink()
    desk.rows("2.csv", [D])
    desk.requests.ask("release", CONTRACT.name, file="1.csv", refuse=True)
    assert await desk.work()
    assert set(desk.topic.state) == {"3701", "3702", "3704"}


async def test_a_file_that_cannot_be_moved_is_told_once_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full when the file is to be put away."""
    desk = Desk(tmp_path)
    desk.rows("1.csv", [A, B])
    move = files_folder._move

    def full(path: Path, target: Path) -> None:
        if target.parent.name == "done":
            raise OSError(errno.ENOSPC, "No space left on device", str(target))
        move(path, target)

    monkeypatch.setattr(files_folder, "_move", full)
    with pytest.raises(FolderAway, match="No space left on device"):
        await desk.work()
    monkeypatch.undo()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "LOOK", 0.02)
        assert await desk.work()
    assert len(desk.topic.events) == 2
    assert desk.report("done", "1.csv").inserts == 2
    assert desk.names("done") == ["1.csv"]


async def test_done_files_may_be_on_another_file_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(tmp_path, done=tmp_path / "elsewhere")
    desk.rows("1.csv", [A])
    rename = Path.rename

    def across(path: Path, target: Path) -> Path:
        if target.parent != path.parent and target.parent.name == "elsewhere":
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", across)
    assert await desk.work()
    assert (tmp_path / "elsewhere" / "1.csv").read_text(encoding="utf-8").startswith(HEADER)
    assert not list((desk.folder / ".reading").iterdir())


async def test_a_folder_that_is_not_there_is_waited_for(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.folder.rmdir()
    with pytest.raises(FolderAway, match=r"not there.*Mount it"):
        await desk.work()
    desk.folder.mkdir()
    desk.rows("1.csv", [A])
    assert await desk.work()
    async with desk.source() as source:
        shutil.rmtree(desk.folder)
        with pytest.raises(FolderAway):  # noqa: PT012
            while True:
                await source.read()


async def test_a_plan_that_is_broken_is_made_anew(tmp_path: Path) -> None:
    desk = Desk(tmp_path, mode="delta")
    desk.rows("1.csv", [A, B, C])
    assert not await desk.work(crash_after=2)
    plan = desk.state / "plan.sqlite"
    content = bytearray(plan.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    plan.write_bytes(content)
    with contextlib.suppress(PlanAway):
        await desk.work()
    assert await desk.work()
    assert set(desk.topic.state) == {"3701", "3702", "3703"}
    assert len(desk.topic.events) == 3


async def test_doctor_looks_at_the_folder(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    (desk.folder / "link.csv").symlink_to(tmp_path)
    desk.rows("1.csv", [A])
    found = examine(desk.settings)
    assert [each.judgement for each in found] == ["ok"] * 5 + ["warning"]
    assert "1 wait as *.csv" in found[4].found
    shutil.rmtree(desk.folder)
    (missing,) = examine(desk.settings)
    assert (missing.judgement, missing.found) == ("wrong", "not there, or no folder")


_ROWS = st.dictionaries(
    st.sampled_from([f"37{number:02}" for number in range(1, 15)]),
    st.sampled_from(["一", "二", "三"]),
    max_size=14,
)


@given(
    days=st.lists(
        st.tuples(_ROWS, st.none() | st.integers(0, 12), st.booleans()), min_size=1, max_size=5
    ),
    covers=st.integers(1, 4),
    mode=st.sampled_from(["snapshot", "delta"]),
)
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_random_files_with_crashes_end_in_the_same_rows_as_the_topic(
    days: list[tuple[dict[str, str], int | None, bool]], covers: int, mode: str
) -> None:
    """Each day a file, perhaps a crash in the middle of it, perhaps the state folder lost with it. The
    topic refuses a change that comes twice or out of order.

    Red when ``FilesSource._tell_all`` does not wait for its begun position: tried.
    """

    async def run(folder: Path) -> None:
        desk = Desk(folder, mode=mode)
        expected: dict[str, str] = {}
        for number, (rows, crash, lost) in enumerate(days):
            expected = rows if mode == "snapshot" else expected | rows
            desk.rows(f"{number}.csv", [*rows.items(), (f"3799{number:02}", "new")])
            expected = expected | {f"3799{number:02}": "new"}
            if crash is not None:
                await desk.work(crash_after=crash, covers=covers)
                if lost:
                    shutil.rmtree(desk.state)
            assert await desk.work()
            state = {key: record["name"] for key, record in desk.topic.state.items()}
            assert state == expected
        if mode == "delta":
            assert len(desk.topic.events) == sum(len(rows) + 1 for rows, _, _ in days)
        assert desk.names("done") == sorted(f"{number}.csv" for number in range(len(days)))

    before = files.BATCH
    files.BATCH = 3
    try:
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(run(Path(folder)))
    finally:
        files.BATCH = before


@pytest.mark.parametrize("crash", range(5))
async def test_the_report_counts_what_was_told_before_a_crash(tmp_path: Path, crash: int) -> None:
    desk = Desk(tmp_path)
    desk.rows("1.csv", [A, B])
    assert await desk.work()
    desk.rows("2.csv", [A, C, D])
    await desk.work(crash_after=crash)
    assert await desk.work()
    report = desk.report("done", "2.csv")
    assert (report.inserts, report.deletes, report.unchanged) == (2, 1, 1)
