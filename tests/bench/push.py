"""What comes to levelsync by itself, as cases of the capture bench without a peer.

- ``mqtt``: devices publish 5,000 messages a second with QoS 1 to a Mosquitto, which is started anew in
  the middle. Counted is from the first message to the last one in Kafka.
- ``intake``: one request of NDJSON, sent by curl; the agent is held to one core. Counted is the request.

Both end in a comparison of everything sent with everything in the topic, where each stands once.
"""

import asyncio
import json
import os
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from agents.base.stream import Record
from agents.demo.servers import NotStarted, Server, free_ports
from agents.kafka.batches import records_of
from agents.kafka.cluster import Cluster
from agents.kafka.wire import Connection
from contracts.envelope import header
from contracts.subjects import CONTRACTS
from tests.bench.levelsync import Agent
from tests.bench.records import OWN, parts_of
from tests.bench.residents import CONTRACT, FIELDS, Sum, line_of, row
from tests.bench.usage import cpu_s, peak_rss_mb
from tests.live.mosquitto import Mosquitto

if TYPE_CHECKING:
    from tests.bench.capture import Servers

#: Messages a second, and for how many seconds: in full and for ``--quick``.
RATE, SECONDS = 5_000, (20, 6)
#: Events of the one request.
EVENTS = (300_000, 40_000)
_TOKEN = "a-token-for-the-bench"
_DIVISION = CONTRACTS["division.v1"]


class _Devices(Server):
    def __init__(self, folder: Path, port: int, count: int) -> None:
        super().__init__("devices", folder)
        self.out = folder / "devices.json"
        self._arguments = [str(port), str(RATE), str(count), str(self.out)]

    def start(self) -> None:
        self._spawn([sys.executable, "-m", "tests.bench.devices", *self._arguments])


async def mqtt(servers: "Servers", quick: bool, _peer_first: bool) -> dict[str, Any]:
    """A flood of messages over a restart of their broker."""
    folder = servers.folder / "mqtt"
    count = RATE * SECONDS[quick]
    broker = Mosquitto(folder / "broker", free_ports(1)[0])
    agent = Agent(
        folder / "agent",
        servers.bootstrap,
        _DIVISION.name,
        f'kind = "mqtt"\nurl = "mqtt://127.0.0.1:{broker.port}"\ntopic = "divisions/{{code}}"\n'
        'id_field = "n"\nextra = "drop"',
    )
    publisher = _Devices(folder, broker.port, count)
    try:
        await broker.start()
        agent.start()
        await agent.ready()
        cpu, began = cpu_s(agent.pid), time.monotonic()
        publisher.start()
        await asyncio.sleep(SECONDS[quick] / 2)
        await broker.stop()
        await broker.start()
        seen = await _until(servers.cluster, _DIVISION.name, count, agent)
        seconds, used = time.monotonic() - began - seen, cpu_s(agent.pid) - cpu
        names: Counter[str] = Counter()
        async for record in _events(servers.cluster, _DIVISION.name):
            names[msgspec.json.decode(record.value or b"{}")["name"].strip()] += 1
        equal = names == Counter(f"v{number}" for number in range(count))
        told = json.loads(publisher.out.read_text()) if publisher.out.exists() else {}
        rss = peak_rss_mb(agent.pid)
    finally:
        await publisher.kill()
        await agent.stop()
        await broker.kill()
    await servers.clear()
    return _answer("mqtt", "messages", count, seconds, used, rss, equal) | {
        "note": f"at {RATE} a second the devices had every message answered for after"
        f" {told.get('seconds', 0):.1f} s; for {told.get('away', 0):.1f} s of these the broker was away",
    }


async def intake(servers: "Servers", quick: bool, _peer_first: bool) -> dict[str, Any]:
    """One long request of lines, with an Idempotency-Key; and the same once more."""
    folder, count = servers.folder / "intake", EVENTS[quick]
    door = f"127.0.0.1:{free_ports(1)[0]}"
    agent = Agent(
        folder,
        servers.bootstrap,
        CONTRACT.name,
        f'kind = "http"\n\n[intake]\nlisten = "{door}"\n\n[[intake.sender]]\nname = "bench"\n'
        f'token = "{_TOKEN}"\ncontracts = ["{CONTRACT.name}"]\nrate = 0',
    )
    file, wanted = folder / "records.ndjson", Sum()
    with file.open("wb") as out:
        for number in range(count):
            record = _record(number)
            out.write(msgspec.json.encode(record) + b"\n")
            wanted.add(line_of(record))
    try:
        agent.start()
        os.sched_setaffinity(agent.pid, {min(os.sched_getaffinity(0))})
        await agent.ready()
        url = f"http://{door}/v1/intake/{CONTRACT.name}"
        cpu, began = cpu_s(agent.pid), time.monotonic()
        first = await _post(url, file)
        seconds, used = time.monotonic() - began, cpu_s(agent.pid) - cpu
        began = time.monotonic()
        again = await _post(url, file)
        repeated_s = time.monotonic() - began
        found = Sum()
        async for event in _events(servers.cluster, CONTRACT.name):
            found.add(line_of(msgspec.json.decode(event.value or b"{}")))
        equal = (
            found.value == wanted.value
            and (first["accepted"], again["repeated"]) == (count, count)
            and first["positions"] == again["positions"]
        )
        rss = peak_rss_mb(agent.pid)
    finally:
        await agent.stop()
    await servers.clear()
    return _answer("intake", "events", count, seconds, used, rss, equal) | {
        "note": f"the same request again was answered in {repeated_s:.1f} s: {again['repeated']} repeated",
    }


def _record(number: int) -> dict[str, Any]:
    record: dict[str, Any] = dict(zip(FIELDS, row(number), strict=True))
    moment = record["registered_at"]
    record["registered_at"] = f"{moment[:10]}T{moment[11:19]}Z"
    return record


async def _post(url: str, file: Path) -> dict[str, Any]:
    curl = await asyncio.create_subprocess_exec(
        "curl", "-sS", "-X", "POST", "-T", str(file), "-H", f"Authorization: Bearer {_TOKEN}",
        "-H", "Content-Type: application/x-ndjson", "-H", "Idempotency-Key: bench", url,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    said, wrong = await curl.communicate()
    if curl.returncode:
        raise NotStarted(f"curl: {wrong.decode()}")
    found: dict[str, Any] = json.loads(said)
    return found


def _answer(
    case: str, what: str, count: int, seconds: float, used: float, rss: float, equal: bool
) -> dict[str, Any]:
    return {
        "case": case,
        "equal": equal,
        "levelsync": {
            f"{what}_per_s": round(count / seconds),
            f"{what}_per_cpu_s": round(count / used),
            what: count,
            "seconds": round(seconds, 3),
            "cpu_s": round(used, 3),
            "rss_mb": round(rss, 1),
            "equal": equal,
        },
    }


async def _until(cluster: Cluster, topic: str, count: int, agent: Agent) -> float:
    """Wait until so many events are in the topic, or no more come for a while; the seconds that this
    look is late."""
    async with Connection(cluster) as connection:
        parts, last, total, at = parts_of(topic, _DIVISION.partitions), -1, 0, time.monotonic()
        while total < count and time.monotonic() - at < 30:
            if not agent.alive:
                raise NotStarted(f"the agent ended:\n{agent.tail()}")
            ends = sum(end for _, end in (await connection.ends(parts)).values())
            if ends >= count and ends > last:
                # Watermarks are among them: count events once it could be all.
                began = time.monotonic()
                total = len([None async for _ in _events(cluster, topic)])
                late = time.monotonic() - began
            if ends - last > len(parts):
                at = time.monotonic()
            last = ends
            await asyncio.sleep(0.2)
    return late if total >= count else 0.0


async def _events(cluster: Cluster, topic: str) -> AsyncIterator[Record]:
    """Every event of the topic, partition by partition."""
    async with Connection(cluster) as connection:
        parts = parts_of(topic, CONTRACTS[topic].partitions)
        ends = await connection.ends(parts)
        ((node, _),) = (await connection.leaders(parts)).items()
        for part in parts:
            start = 0
            while start < ends[part][1]:
                (answer,) = await connection.fetch(node, {part: start})
                records, start = records_of(answer.buffer, start, answer.aborted)
                for record in _rows(records):
                    yield record


def _rows(records: list[Record]) -> Iterator[Record]:
    return (record for record in records if header(record.headers, "ce_type") not in OWN)
