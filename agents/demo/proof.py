"""``levelsync demo --check``: the bounded proof that all arrives, once, in order, and nowhere else.

Rows are written at the province while the agents of city and county are killed and the city's broker
is restarted. Then the county's window is compared with the province's table row by row, what a
subscriber saw with what it should have seen, and every topic is read from end to end by a plain
client. Nothing is computed from anything but what was really sent and received.
"""

import asyncio
import json
import sys
import time
from typing import Any

import aiohttp
import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from agents.base.status import percentile
from agents.base.watermark import FENCE, TYPE
from agents.demo.levels import Levels, fetch_json
from agents.demo.office import RESIDENT, resident_columns
from agents.demo.people import COUNTY
from agents.demo.verdict import (
    Seen,
    expected_in,
    judge,
    judge_topic,
    leaked,
)
from contracts.check import Checker
from contracts.envelope import parse_time
from contracts.subjects import CONTRACTS

WRITES, RATE, WRONG = 8_000, 260.0, 12
LICENCES, LICENCE_RATE = 150, 8.0
#: Seconds after the last write within which everything must have arrived.
DRAIN = 20.0
#: Milliseconds: a change this quick says that a disturbance is over.
CALM = 250.0


class Disturbances:
    """When something was killed, until changes were quick again; latencies inside are left out."""

    def __init__(self) -> None:
        self.spans: list[list[float]] = []
        self._recovering = False
        self._latest = 0.0

    def begin(self) -> None:
        if self.spans and self.spans[-1][1] == float("inf"):
            return
        # What was committed just before was still on its way.
        self.spans.append([time.time() - 0.5, float("inf")])
        self._recovering = False

    def restarted(self) -> None:
        """What was killed runs again; the next quick change ends the disturbance."""
        self._recovering = True
        self._latest = time.time() + 5.0

    def arrived(self, milliseconds: float) -> None:
        if self._recovering and (milliseconds < CALM or time.time() > self._latest):
            self.spans[-1][1] = time.time()
            self._recovering = False

    def covers(self, moment: float) -> bool:
        return any(begin <= moment <= end for begin, end in self.spans)


class Subscriber:
    """A window system: reads the county's feed, is cut, comes back with its last id."""

    def __init__(self, url: str, disturbances: Disturbances) -> None:
        self._url = url
        self._disturbances = disturbances
        self.seen: list[Seen] = []
        #: (commit time in seconds, milliseconds to here)
        self.latencies: list[tuple[float, float]] = []
        self.live = asyncio.Event()
        self.reconnects = 0
        self.refused: str | None = None
        self._token = ""
        self._response: aiohttp.ClientResponse | None = None

    async def run(self) -> None:
        """Until cancelled."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=2.0, sock_read=10.0)
        async with aiohttp.ClientSession(timeout=timeout, read_bufsize=2**22) as session:
            while True:
                headers = {"Last-Event-ID": self._token} if self._token else {}
                try:
                    async with session.get(self._url, headers=headers) as response:
                        if response.status == 410:
                            self.refused = await response.text()
                            return
                        response.raise_for_status()
                        self._response = response
                        await self._read(response)
                except (aiohttp.ClientError, TimeoutError, OSError):
                    pass
                self.reconnects += 1
                await asyncio.sleep(0.1)

    async def _read(self, response: aiohttp.ClientResponse) -> None:
        name, token, data = "", "", b""
        async for raw in response.content:
            line = raw.rstrip(b"\n")
            if line.startswith(b"event: "):
                name = line[7:].decode()
            elif line.startswith(b"id: "):
                token = line[4:].decode()
            elif line.startswith(b"data: "):
                data = line[6:]
            elif not line:
                self._enter(name, token, data)
                name, token, data = "", "", b""

    def _enter(self, name: str, token: str, data: bytes) -> None:
        # The token counts only with the whole message, as in a browser.
        self._token = token or self._token
        if name == "live":
            self.live.set()
        elif name == "change":
            change = msgspec.json.decode(data)
            if change.get("state"):
                return
            record = change["record"]
            self.seen.append(
                Seen(
                    change["key"],
                    record["phone"] if record else "",
                    change["id"],
                    change["sequence"],
                )
            )
            committed = parse_time(change["time"]) / 1e6
            milliseconds = (time.time() - committed) * 1000
            self.latencies.append((committed, milliseconds))
            self._disturbances.arrived(milliseconds)

    def cut(self) -> None:
        """End the connection in the middle of whatever it does."""
        if self._response is not None:
            self._response.close()


async def prove(*, as_json: bool) -> int:
    """Run the proof, print its result; 0 only if every promise held."""

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    async with Levels(say, residents=3_000, licences=50) as levels:
        result = await _prove(levels, say)
    result["ok"] = held = holds(result)
    if as_json:
        print(json.dumps(result, ensure_ascii=False))
    else:
        for name, value in result.items():
            print(f"{name:24} {value}")
    return 0 if held else 1


def holds(result: dict[str, Any]) -> bool:
    """Is every promise kept in what :func:`compared` found?"""
    wrong = ("missing", "repeated", "out_of_order", "leaked")
    return not any(result[name] for name in wrong) and bool(result["rejected_as_meant"])


async def _prove(levels: Levels, say: Any) -> dict[str, Any]:
    began = time.monotonic()
    clerks = levels.clerks
    was_here = {key for key, street in clerks.residents.items() if street.startswith(COUNTY)}
    disturbances = Disturbances()
    subscriber = Subscriber(levels.url(COUNTY, "/v1/resident.v2/events?from=state"), disturbances)
    memory: dict[str, float] = {}
    reading = asyncio.create_task(subscriber.run(), name="subscriber")
    async with asyncio.timeout(10):
        await subscriber.live.wait()
    say("writing, while agents are killed and a broker is restarted")
    rss = asyncio.create_task(_watch_memory(levels, memory), name="memory")
    disturb = asyncio.create_task(_disturb(levels, subscriber, disturbances, say), name="disturb")
    async with asyncio.TaskGroup() as group:
        writing = time.monotonic()
        group.create_task(clerks.write_residents(RATE, WRITES, WRONG), name="residents")
        group.create_task(clerks.write_licences(LICENCE_RATE, LICENCES), name="licences")
    seconds = time.monotonic() - writing
    await disturb
    expected = expected_in(COUNTY, clerks.journal)
    say("draining")
    await drained(levels, subscriber, sum(map(len, expected.values())))
    rss.cancel()
    reading.cancel()
    await asyncio.gather(rss, reading, return_exceptions=True)

    say("comparing")
    calm = [value for moment, value in subscriber.latencies if not disturbances.covers(moment)]
    found = await compared(levels, subscriber, was_here)
    return found | {
        "p50_ms": round(percentile(calm, 0.5), 1) if calm else None,
        "p99_ms": round(percentile(calm, 0.99), 1) if calm else None,
        "agent_rss_mb": round(max(memory.values(), default=0.0), 1),
        "agents_rss_mb": {node: round(value, 1) for node, value in memory.items()},
        "latencies": {"counted": len(calm), "left_out": len(subscriber.latencies) - len(calm)},
        "writes_per_s": round(len(clerks.journal) / seconds, 1),
        "seconds": round(time.monotonic() - began, 1),
    }


async def compared(levels: Levels, subscriber: Subscriber, was_here: set[str]) -> dict[str, Any]:
    """How far what was received is from what was written since the county had the residents
    ``was_here``: see :class:`agents.demo.verdict.Verdict`."""
    clerks = levels.clerks
    expected = expected_in(COUNTY, clerks.journal)
    here = judge(expected, subscriber.seen)
    rows = await _compare_rows(levels)
    topics = await _read_topics(levels)
    came = was_here | {key for key, _ in expected.items()}
    journal_keys = {write.key for write in clerks.journal} | set(clerks.residents)
    stray = leaked(came, topics.county_keys)
    letters = {(key, rule) for key, rule in topics.letters}
    meant = {(write.key, write.rule) for write in clerks.journal if write.kind == "wrong"}
    licences = judge(expected_in(COUNTY, clerks.licence_journal), topics.licences)
    return {
        "sent": len(clerks.journal),
        "expected": here.expected,
        "arrived": here.arrived,
        "missing": here.missing + rows["missing"] + licences.missing,
        "repeated": here.repeated + licences.repeated + topics.repeated,
        "out_of_order": here.out_of_order + licences.out_of_order + topics.out_of_order,
        "leaked": stray + here.unexpected + rows["unexpected"] + licences.unexpected,
        "rejected": len(topics.letters),
        "rejected_as_meant": letters == meant and len(topics.letters) == len(meant),
        "rows_compared": rows["compared"],
        "licences": {"sent": licences.expected, "arrived": licences.arrived},
        "other_keys_at_the_province": len(journal_keys - came),
        "topics_read": topics.counts,
        "reconnects": subscriber.reconnects,
        "refused": subscriber.refused,
    }


async def _disturb(
    levels: Levels, subscriber: Subscriber, disturbances: Disturbances, say: Any
) -> None:
    """kill -9 of the city's and the county's agent, a restart of the city's broker, cut readers."""
    for node in ("3701", COUNTY):
        await asyncio.sleep(3.0)
        subscriber.cut()
        await asyncio.sleep(0.5)
        agent = levels.agents[node]
        say(f"kill -9 of the agent of {node}")
        disturbances.begin()
        await agent.kill()
        agent.start()
        await agent.ready()
        disturbances.restarted()
    await asyncio.sleep(2.5)
    say("restart of the city's broker")
    disturbances.begin()
    await levels.brokers["3701"].stop()
    await levels.brokers["3701"].start()
    for agent in levels.agents.values():
        await agent.ready(60.0)
    disturbances.restarted()
    await asyncio.sleep(1.0)
    subscriber.cut()


async def _watch_memory(levels: Levels, memory: dict[str, float]) -> None:
    while True:
        for node, agent in levels.agents.items():
            if agent.alive:
                memory[node] = max(memory.get(node, 0.0), agent.rss_mb())
        await asyncio.sleep(0.5)


async def drained(
    levels: Levels, subscriber: Subscriber, expected: int, patience: float = DRAIN
) -> None:
    """Wait until as much as expected has arrived and everything is complete as of now."""
    end = time.time()
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        arrived = len({event.id for event in subscriber.seen})
        ages = [
            parse_time(row["complete_as_of"]) / 1e6 if row["complete_as_of"] else 0.0
            for node in levels.windows
            for row in await levels.contracts(node)
        ]
        if arrived >= expected and ages and min(ages) >= end:
            return
        await asyncio.sleep(0.2)


async def _compare_rows(levels: Levels) -> dict[str, int]:
    """The county window's records against the province's table, field by field."""
    checker = Checker(CONTRACTS["resident.v2"])
    wanted: dict[str, Any] = {}
    wrong = {write.key for write in levels.clerks.journal if write.kind == "wrong"}
    columns = resident_columns()
    for row in await levels.clerks.rows(RESIDENT, COUNTY):
        if row["citizen_no"] in wrong:
            continue
        found = checker.check({field: row[column] for field, column in columns.items()})
        wanted[found.key] = msgspec.json.decode(found.value)
    got: dict[str, Any] = {}
    after = ""
    while True:
        path = f"/v1/resident.v2/records?scope={COUNTY}&limit=1000&after={after}"
        page = await asyncio.to_thread(fetch_json, levels.url(COUNTY, path))
        got.update({entry["key"]: entry["record"] for entry in page["records"]})
        if page["next"] is None:
            break
        after = page["next"]
    return {
        "compared": len(wanted),
        "missing": sum(
            1 for key, record in wanted.items() if _plain(got.get(key)) != _plain(record)
        ),
        "unexpected": len(got.keys() - wanted.keys()),
    }


def _plain(record: dict[str, Any] | None) -> dict[str, Any] | None:
    """A record with its time as a number: two texts may tell the same moment."""
    if record is None:
        return None
    moment = record["registered_at"].replace("Z", "+00:00").replace(" ", "T")
    return {**record, "registered_at": parse_time(moment)}


class Topics(msgspec.Struct):
    """What a plain client found in every topic of the three clusters."""

    repeated: int = 0
    out_of_order: int = 0
    county_keys: set[str] = msgspec.field(default_factory=set)
    letters: list[tuple[str, str]] = msgspec.field(default_factory=list)
    licences: list[Seen] = msgspec.field(default_factory=list)
    counts: dict[str, int] = msgspec.field(default_factory=dict)


async def _read_topics(levels: Levels) -> Topics:
    found = Topics()
    for node, broker in levels.brokers.items():
        for topic, records in (await _read_cluster(broker.bootstrap)).items():
            events = [record for record in records if _kind(record) not in (TYPE, FENCE)]
            found.counts[f"{node}/{topic}"] = len(events)
            if topic.endswith(".dead"):
                for record in events:
                    letter = msgspec.json.decode(record.value)
                    found.letters.append((letter["key"], letter["rule"]))
            seen = [_seen(record) for record in events]
            verdict = judge_topic(seen)
            found.repeated += verdict.repeated
            found.out_of_order += verdict.out_of_order
            if node == COUNTY and topic.startswith("resident."):
                found.county_keys |= {event.key for event in seen}
            if node == "37" and topic == "business_licence.v1.from.3701":
                # What was there before the proof began has no entry in the journal.
                capital = {write.version for write in levels.clerks.licence_journal}
                found.licences = [event for event in seen if event.version in capital]
    return found


async def _read_cluster(bootstrap: str) -> dict[str, list[Any]]:
    """Every record of every contract's topics, by aiokafka's own consumer."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        found: dict[str, list[Any]] = {}
        for topic in sorted(await consumer.topics()):
            if topic.startswith(("__", "levelsync.")):
                continue
            contract = CONTRACTS[".".join(topic.split(".")[:2])]
            parts = [TopicPartition(topic, number) for number in range(contract.partitions)]
            consumer.assign(parts)
            ends = await consumer.end_offsets(parts)
            await consumer.seek_to_beginning(*parts)
            records: list[Any] = []
            while any([await consumer.position(part) < ends[part] for part in parts]):
                for batch in (await consumer.getmany(timeout_ms=500)).values():
                    records += batch
            found[topic] = records
        return found
    finally:
        await consumer.stop()


def _kind(record: Any) -> bytes:
    kind: bytes = dict(record.headers)["ce_type"]
    return kind


def _seen(record: Any) -> Seen:
    headers = dict(record.headers)
    value = msgspec.json.decode(record.value) if record.value else {}
    version = value.get("phone") or value.get("registered_capital") or ""
    return Seen(
        record.key.decode(), version, headers["ce_id"].decode(), headers["ce_sequence"].decode()
    )
