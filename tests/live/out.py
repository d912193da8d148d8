"""A window that delivers, in a process of its own to be killed: python -m tests.live.out STATE SETTINGS
COUNT, where SETTINGS are the JSON of ``[window]`` and COUNT the changes it makes altogether."""

import asyncio
import contextlib
import datetime
import random
import sys
import time
from collections.abc import AsyncIterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from agents.base.run import Part, supervise
from agents.base.status import Hop, Status
from agents.base.stream import Record, Slice
from agents.base.watermark import Continuity
from agents.base.window import Window
from agents.window.feed import Feed
from agents.window.mqtt_out import MqttDelivery, shown_at
from agents.window.office import Office
from agents.window.rights import Visitor
from agents.window.sql_out import SqlDelivery
from agents.window.store import Store
from contracts.define import about, define
from contracts.envelope import Event, headers_of
from contracts.text import Text


class PermitV1(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    number: Annotated[str, about("编号", "Number", min_length=1, max_length=400)]
    holder: Annotated[str, about("持有人", "Holder", max_length=100)]
    division_code: Annotated[str, about("区划代码", "Division", min_length=2, max_length=12)]
    floor: Annotated[int, about("楼层", "Floor", ge=-10, le=200)]
    visits: Annotated[int, about("次数", "Visits", ge=0)] = 0
    fee: Annotated[Decimal | None, about("费用", "Fee", digits=12, places=2)] = None
    paid: Annotated[bool, about("已缴", "Paid")] = False
    since: Annotated[datetime.date, about("起始日期", "Since")]
    issued_at: Annotated[datetime.datetime, about("发证时间", "Issued at", tz=True)]
    goods: Annotated[list[str], about("货物", "Goods")] = []
    status: Annotated[
        Literal["valid", "over"],
        about(
            "状态", "Status", labels={"valid": Text("有效", "Valid"), "over": Text("过期", "Over")}
        ),
    ] = "valid"


PERMIT = define(
    PermitV1,
    subject="permit",
    major=1,
    title=Text("许可证", "Permits"),
    catalogue="307010000001",
    owner=Text("市场监管局", "Market regulation"),
    level="province",
    key="number",
    scope="division_code",
    classification="general",
    sharing="unconditional",
    basis=Text("测试", "Test"),
    freshness=5.0,
)
NAME = PERMIT.name
SCOPES = ("370102001", "370102002", "370105001")


def permit(key: str, number: int, scope: str) -> bytes:
    """A record, each number another."""
    record = {
        "number": key,
        "holder": f"王'{number}\\\"; --",
        "division_code": scope,
        "floor": number % 200 - 9,
        "visits": number,
        "fee": f"{number}.{number % 100:02}" if number % 3 else None,
        "paid": bool(number % 2),
        "since": "2026-11-25",
        "issued_at": "2026-11-25T08:00:00+08:00",
        "goods": ["茶", str(number)][: number % 3],
        "status": "valid",
    }
    if not number % 7:
        del record["visits"], record["paid"], record["status"], record["fee"], record["goods"]
    return msgspec.json.encode(record)


class Reading:
    """A contract that has been read to its end."""

    def __init__(self, contract: Any = PERMIT) -> None:
        self.contract = contract
        self.hop = Hop("window", contract.name, contract.name, "window", state="running", lag=0)


class Told:
    """A journal that keeps all it is told."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, str, str]] = []

    def tell(self, visitor: Visitor, action: str, contract: str, what: str) -> None:
        self.lines.append((visitor.kind, action, contract, what))


class Desk:
    """A window's store in ``folder``, and whoever changes what is in it."""

    def __init__(self, folder: Path, seed: int = 1, keys: int = 200) -> None:
        self.store = Store(folder / "window.sqlite")
        self.feed = Feed(self.store)
        self.folder = folder
        self.reading = Reading()
        self.reading.hop.complete = time.time_ns() // 1000
        self.journal = Told()
        self._chance = random.Random(seed + self.store.last)
        self._keys = keys

    def office(self, settings: Window) -> Office:
        return Office(
            name="历下区", node="370102", store=self.store, feed=self.feed,
            follows={NAME: self.reading},  # type: ignore[dict-item]
            status=Status("370102", "test"), table=settings, secret="s", journal=self.journal,
        )  # fmt: skip

    def put(self, key: str, value: bytes | None, scope: str = SCOPES[0]) -> None:
        """One change, told to the feed."""
        self.write([(key, value, scope)])

    def write(self, changes: Sequence[tuple[str, bytes | None, str]]) -> None:
        last = self.store.last
        records = []
        for number, (key, value, scope) in enumerate(changes, last + 1):
            event = Event(
                key=key, value=value, id=f"e{number}", source="/37/permit.v1",
                type="permit.v1.changed", time=1_700_000_000_000_000 + number,
                dataschema=PERMIT.dataschema, sequence=f"{number:016}",
                scope=scope if value is not None else "",
            )  # fmt: skip
            records.append(Record(number, 0, key.encode(), value, tuple(headers_of(event))))
        end = last + 1 + len(records)
        piece = Slice(f"{NAME}.from.37", 0, records, end, end)
        state = Continuity(offset=last, thinned=False)
        self.feed.publish(self.store.apply(NAME, piece, state).changes)
        self.reading.hop.complete = time.time_ns() // 1000

    def change(self, count: int) -> None:
        """Some records come, change, move and go; each is a change."""
        chance, last = self._chance, self.store.last
        changes: list[tuple[str, bytes | None, str]] = []
        touched = set[str]()
        while len(changes) < count:
            key = f"{chance.randrange(self._keys)}/许可+#%"
            scope = chance.choice(SCOPES)
            gone = chance.random() < 0.2 and key not in touched and self.store.get(NAME, key)
            number = last + len(changes) + 1
            changes.append((key, None if gone else permit(key, number, scope), scope))
            touched.add(key)
        self.write(changes)

    def records(self, *scopes: str) -> dict[str, Any]:
        """What is to stand wherever it is delivered."""
        return {
            entry.key: msgspec.json.decode(entry.value)
            for entry in self.store.page(NAME, scopes, "", 10**6)
        }


def parts_of(desk: Desk, settings: Window) -> list[Part]:
    """What ``settings`` deliver."""
    office = desk.office(settings)
    parts: list[Part] = []
    if mqtt := settings.mqtt:
        hop = Hop("out", NAME, NAME, shown_at(mqtt))
        parts.append(MqttDelivery(office, mqtt, hop, desk.folder / "mqtt.sqlite"))
    parts += [
        SqlDelivery(office, sql, PERMIT, Hop("out", NAME, NAME, f"sql {sql.table}"))
        for sql in settings.sql
    ]
    return parts


@contextlib.asynccontextmanager
async def delivering(desk: Desk, settings: Window) -> AsyncIterator[list[Hop]]:
    """They deliver meanwhile; the answer are their hops."""
    stop = asyncio.Event()
    parts = parts_of(desk, settings)
    tasks = [
        asyncio.create_task(supervise(part, stop), name=f"out {number}")
        for number, part in enumerate(parts)
    ]
    try:
        yield [part.hop for part in parts]
    finally:
        stop.set()
        await asyncio.wait_for(asyncio.gather(*tasks), 30)


def delivered(desk: Desk, hop: Hop) -> bool:
    """Does it all stand there, as far as the hop knows?"""
    return (
        hop.state == "running" and hop.lag == 0 and not hop.warnings
        and hop.complete >= desk.reading.hop.complete
    )  # fmt: skip


async def killed(folder: Path, settings: Window, count: int, seed: int, kills: int) -> None:
    """A window makes ``count`` changes in ``folder`` and delivers them, killed so often meanwhile."""
    chance, told = random.Random(seed), msgspec.json.encode(settings, enc_hook=str).decode()
    while True:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.live.out", str(folder), told, str(count),
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stdout
        while (line := await process.stdout.readline()) != b"begun\n":
            assert line, "it ended by itself"
        if kills == 0:
            await asyncio.wait_for(process.communicate(), 60)
            assert process.returncode == 0
            return
        await asyncio.sleep(chance.uniform(0.0, 0.5))
        with contextlib.suppress(ProcessLookupError):  # it may just have ended
            process.kill()
        await process.communicate()
        kills -= 1


async def main(folder: Path, settings: Window, count: int) -> None:
    desk = Desk(folder)
    async with delivering(desk, settings) as hops:
        print("begun", flush=True)
        while (left := count - desk.store.last) > 0:
            desk.change(min(left, 20))
            await asyncio.sleep(0.01)
        desk.reading.hop.complete = time.time_ns() // 1000
        while not all(delivered(desk, hop) for hop in hops):
            await asyncio.sleep(0.05)


if __name__ == "__main__":
    asyncio.run(
        main(
            Path(sys.argv[1]),
            msgspec.json.decode(sys.argv[2], type=Window, dec_hook=lambda kind, each: kind(each)),
            int(sys.argv[3]),
        )
    )
