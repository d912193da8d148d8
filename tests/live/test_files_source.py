"""From real files to a real topic: killed in the middle of them, and still exactly once."""

import asyncio
import contextlib
import random
import shutil
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agents.base.run import supervise
from agents.capture.files_report import Report, read_report
from agents.capture.intake import Intake
from agents.capture.published import Published
from agents.demo.servers import KafkaServer
from agents.kafka.cluster import Cluster
from agents.kafka.letters import read_letters
from agents.kafka.topics import dead
from tests.bench.usage import cpu_s, peak_rss_mb
from tests.live.files import capture, captures, contract_of
from tests.live.streams import ids, read_all, until_true
from tests.live.test_intake import folded

pytestmark = [pytest.mark.live, pytest.mark.slow]

HEADER = "code,name,level,parent\n"


def lines(rows: dict[str, str]) -> str:
    return HEADER + "".join(f"{code},{name},township,\n" for code, name in rows.items())


def drop(folder: Path, name: str, text: str, encoding: str = "utf-8") -> None:
    made = folder / "in" / f".{name}"
    made.write_text(text, encoding=encoding)
    made.rename(folder / "in" / name)


def report(folder: Path, name: str, where: str = "done") -> Report:
    found = read_report(folder / "in" / where / f"{name}.report.json")
    assert found
    return found


async def test_files_killed_in_the_middle_are_told_once(kafka: KafkaServer, tmp_path: Path) -> None:
    """Snapshots in one folder, deltas in another, one process that is killed again and again, once with
    all of its state lost.

    Red when ``change_of`` makes ids anew in each process: tried.
    """
    chance = random.Random(6)
    expected: dict[str, dict[str, str]] = {}
    for mode in ("snapshot", "delta"):
        rows: dict[str, str] = {}
        expected[mode] = rows
        (tmp_path / mode / "in").mkdir(parents=True)
        for day in range(2):
            rows = {f"37{n:07}": f"v{chance.randrange(3)}" for n in range(day * 200, 8_000)}
            rows["379999999"] = ""
            drop(tmp_path / mode, f"{day}.csv", lines(rows), "gb18030" if day else "utf-8")
            expected[mode] = rows if mode == "snapshot" else expected[mode] | rows
        del expected[mode]["379999999"]
    for life in range(5):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.live.files", kafka.bootstrap, str(tmp_path), "killed",
            f"{chance.randrange(1, 6_000)}",
        )  # fmt: skip
        async with asyncio.timeout(40):
            assert await process.wait() == -signal.SIGKILL
        if life == 2:
            for mode in expected:
                shutil.rmtree(tmp_path / mode / "state", ignore_errors=True)
    async with running(*captures(kafka.bootstrap, str(tmp_path), "killed")):
        for mode in expected:
            await until_true((tmp_path / mode / "in" / "done" / "1.csv").exists, 40.0)

    cluster = Cluster(kafka.bootstrap)
    for mode, state in expected.items():
        contract = contract_of(f"killed_{mode}")
        records, _ = await read_all(cluster, contract.name)
        assert len(ids(records)) == len(set(ids(records))), "repeated"
        assert folded(records) == state
        if mode == "delta":
            assert len(records) == 8_000 + 7_800
        letters = await read_letters(cluster, [contract.name])
        assert [letter["key"] for letter in letters] == ["379999999"] * (1 + (mode == "delta"))
        await read_all(cluster, dead(contract.name))  # its counts are verified on the way


@contextlib.asynccontextmanager
async def running(*parts: Intake) -> AsyncIterator[None]:
    """Captures that run while the block lasts."""
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for part in parts:
            group.create_task(supervise(part, stop), name=part.hop.contract)
        try:
            yield
        finally:
            stop.set()


async def test_what_the_topic_holds_is_what_a_snapshot_is_compared_with(
    kafka: KafkaServer, tmp_path: Path
) -> None:
    """Also after the agent moved to another machine, with nothing but the node file."""
    (tmp_path / "in").mkdir()
    rows = {f"37{n:07}": "old" for n in range(300)}
    for day in range(2):
        drop(tmp_path, f"{day}.csv", lines(rows))
        async with running(capture(kafka.bootstrap, tmp_path, "compared", "snapshot")):
            await until_true((tmp_path / "in" / "done" / f"{day}.csv").exists)
        shutil.rmtree(tmp_path / "state")
        if day == 0:
            rows = {code: "new" if int(code) % 10 == 0 else "old" for code in list(rows)[5:]}
    told = report(tmp_path, "1.csv")
    assert (told.updates, told.deletes, told.unchanged, told.records) == (29, 5, 266, 300)
    live = Published(Cluster(kafka.bootstrap), contract_of("compared")).live()
    assert {each.key async for each in live} == set(rows)


async def test_a_million_rows_pass_in_bounded_memory(kafka: KafkaServer, tmp_path: Path) -> None:
    """A first snapshot, then one with a hundredth of it changed. Prints what it took."""
    count = 1_000_000
    folder = tmp_path / "snapshot"
    for mode in ("snapshot", "delta"):
        (tmp_path / mode / "in").mkdir(parents=True)

    def write(day: int) -> None:
        with (folder / "in" / f".{day}.csv").open("w", encoding="gb18030") as file:
            file.write(HEADER)
            for n in range(count):
                name = "变更" if day and n % 100 == 0 else "某某街道办事处"
                file.write(f"37{n:07},{name}{n},township,3701\n")
        (folder / "in" / f".{day}.csv").rename(folder / "in" / f"{day}.csv")

    write(0)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.live.files", kafka.bootstrap, str(tmp_path), "million"
    )
    try:
        for day in range(2):
            began, used = time.monotonic(), cpu_s(process.pid)
            while not (folder / "in" / "done" / f"{day}.csv").exists():
                assert process.returncode is None
                assert time.monotonic() - began < 900
                await asyncio.sleep(0.2)
            took, spent = time.monotonic() - began, cpu_s(process.pid) - used
            largest = peak_rss_mb(process.pid)
            print(
                f"day {day}: {took:.0f} s, {count / took:.0f} rows/s, {spent:.0f} CPU-s,"
                f" {largest:.0f} MiB at most"
            )
            if day == 0:
                await asyncio.to_thread(write, 1)
    finally:
        process.kill()
        await process.wait()
    told = report(folder, "1.csv")
    assert (told.updates, told.unchanged, told.deletes) == (count // 100, count - count // 100, 0)
    assert largest < 250
