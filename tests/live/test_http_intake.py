"""From a program over HTTP to a real topic: answered after Kafka has it, and taken once."""

import asyncio
import json
import random
import shutil
import ssl
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from agents.base.health import listening
from agents.capture import http_desk, http_gate
from agents.demo.servers import KafkaServer, free_ports
from agents.kafka.cluster import Cluster
from agents.kafka.letters import read_letters
from contracts.envelope import header
from tests.live.http_intake import TOKEN, capture, desk_for, opened
from tests.live.streams import ids, read_all, until_true
from tests.live.test_mqtt import authority

pytestmark = [pytest.mark.live, pytest.mark.slow]

JSON = {"Content-Type": "application/json"}
LINES = {"Content-Type": "application/x-ndjson"}


def record(number: int, **more: Any) -> dict[str, Any]:
    code = f"{370_102_000 + number % 900}"
    return {"code": code, "name": f"v{number}", "level": "township", "parent": "370102"} | more


def lines(*records: object) -> bytes:
    return b"".join(msgspec.json.encode(each) + b"\n" for each in records)


class Client:
    """A sender of one contract."""

    def __init__(self, session: aiohttp.ClientSession, port: int, contract: str) -> None:
        self.session = session
        self.url = f"http://127.0.0.1:{port}/v1/intake/{contract}"

    async def post(
        self, body: Any, headers: dict[str, str] | None = None, token: str | None = TOKEN
    ) -> tuple[int, dict[str, Any], Any]:
        """Status, body and headers of the answer."""
        given = {"Authorization": f"Bearer {token}"} if token else {}
        async with self.session.post(
            self.url, data=body, headers=given | (headers or {})
        ) as answer:
            return answer.status, await answer.json(content_type=None), answer.headers

    async def delete(self, key: str, headers: dict[str, str] | None = None) -> tuple[int, Any]:
        """Status and body of the answer."""
        given = {"Authorization": f"Bearer {TOKEN}"} | (headers or {})
        async with self.session.delete(f"{self.url}/{key}", headers=given) as answer:
            return answer.status, await answer.json()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


async def told(kafka: KafkaServer, contract: str) -> list[tuple[str, str | None]]:
    """Key and name of every event, None for deletions, in the order of their sequence."""
    records, _ = await read_all(Cluster(kafka.bootstrap), contract)
    records.sort(key=lambda each: header(each.headers, "ce_sequence") or b"")
    return [
        (
            (each.key or b"").decode(),
            None if each.value is None else json.loads(each.value)["name"],
        )
        for each in records
    ]


async def test_every_way_of_sending_is_answered_with_where_it_stands(
    kafka: KafkaServer, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    (port,) = free_ports(1)
    desk = desk_for(["http_ways.v1"], port)
    event = {
        "specversion": "1.0",
        "id": "1",
        "source": "/office/7",
        "type": "division.changed",
        "time": "2026-01-02T03:04:05.5+08:00",
    }
    async with opened(capture(kafka.bootstrap, desk, "http_ways", tmp_path), desk) as part:
        client = Client(session, port, part.hop.contract)
        one = await client.post(msgspec.json.encode(record(1)), JSON)
        assert one[0] == 200
        assert one[1]["accepted"] == 1
        ((partition, offset),) = one[1]["positions"].items()
        several = await client.post(lines(record(2), record(3), {"$delete": "370102001"}), LINES)
        assert several[1]["accepted"] == 3
        structured = {"Content-Type": "application/cloudevents+json"}
        said = await client.post(json.dumps(event | {"data": record(4)}), structured)
        assert said[1]["accepted"] == 1
        assert (await client.post(json.dumps(event | {"data": record(4)}), structured))[1] == {
            **said[1],
            "accepted": 0,
            "repeated": 1,
        }
        batch = {"Content-Type": "application/cloudevents-batch+json"}
        gone = event | {"id": "2", "type": "division.deleted", "subject": "370102002"}
        both = await client.post(json.dumps([event | {"data": record(4)}, gone]), batch)
        assert (both[1]["accepted"], both[1]["repeated"]) == (1, 1)
        headers = {f"ce-{name}": value for name, value in event.items()} | {"ce-id": "%33"}
        binary = await client.post(json.dumps(record(5)), JSON | headers)
        assert binary[1]["accepted"] == 1
        assert (await client.delete("370102003"))[1]["accepted"] == 1
        assert part.hop.events == 8
    records, _ = await read_all(Cluster(kafka.bootstrap), part.hop.contract)
    first = next(each for each in records if json.loads(each.value or b"{}").get("name") == "v1")
    assert first.offset == offset
    assert partition.isdigit()
    assert await told(kafka, part.hop.contract) == [
        ("370102001", "v1"), ("370102002", "v2"), ("370102003", "v3"), ("370102001", None),
        ("370102004", "v4"), ("370102002", None), ("370102005", "v5"), ("370102003", None),
    ]  # fmt: skip
    fourth = next(each for each in records if json.loads(each.value or b"{}").get("name") == "v4")
    assert header(fourth.headers, "ce_id") == b"bureau/e /office/7 1"
    assert header(fourth.headers, "ce_time") == b"2026-01-01T19:04:05.500000Z"


async def test_what_is_refused_is_told_by_line_path_and_rule_and_the_rest_stands(
    kafka: KafkaServer, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    (port,) = free_ports(1)
    desk = desk_for(["http_wrong.v1"], port, record_bytes=2_000)
    async with opened(capture(kafka.bootstrap, desk, "http_wrong", tmp_path), desk) as part:
        client = Client(session, port, part.hop.contract)
        body = lines(record(1), record(2, level="moon"), record(3, colour="red"))
        body += b"{broken\n\n" + lines(record(6), record(7, name="x" * 3_000), {"$delete": ""})
        status, said, _ = await client.post(body + b'{"code":', LINES)
        assert status == 422
        assert (said["accepted"], said["rejected"]) == (2, 6)
        assert [(each["line"], each["path"], each["rule"]) for each in said["refused"]] == [
            (2, "$.level", "enum"),
            (3, "$.colour", "unknown-field"),
            (4, "$", "json"),
            (7, "$", "too-large"),
            (8, "$['$delete']", "no-key"),
            (9, "$", "json"),
        ]
        structured = {"Content-Type": "application/cloudevents+json"}
        for event, path in (
            ({"id": "1"}, "$.specversion"),
            ({"specversion": "1.0", "id": "1", "source": "a", "type": "t"}, "$.data"),
            ({"specversion": "1.0", "id": "1", "source": "a", "type": "t.deleted"}, "$.subject"),
            ({"specversion": "1.0", "id": "", "source": "a", "type": "t"}, "$.id"),
            ({"specversion": "0.3", "id": "1", "source": "a", "type": "t"}, "$.specversion"),
        ):
            status, said, _ = await client.post(json.dumps(event), structured)
            assert (status, said["refused"][0]["path"]) == (422, path)
        wrong = {"specversion": "1.0", "id": "9", "source": "a", "type": "t", "subject": "1"}
        status, said, _ = await client.post(json.dumps(wrong | {"data": record(1)}), structured)
        assert said["refused"] == [
            {
                "line": 1,
                "id": "9",
                "path": "$.subject",
                "rule": "key-mismatch",
                "message": "Expected the record's key, got another",
            }
        ]
        assert part.hop.rejected == 12
    assert await read_letters(Cluster(kafka.bootstrap), [part.hop.contract]) == []
    assert await told(kafka, part.hop.contract) == [("370102001", "v1"), ("370102006", "v6")]


async def test_each_request_that_cannot_be_has_its_answer(
    kafka: KafkaServer,
    session: aiohttp.ClientSession,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (port,) = free_ports(1)
    desk = desk_for(["http_door.v1"], port, record_bytes=2_000, body_bytes=4_000)
    good = msgspec.json.encode(record(1))
    part = capture(kafka.bootstrap, desk, "http_door", tmp_path)
    async with opened(part, desk):
        client = Client(session, port, part.hop.contract)
        answers = {
            "no token": (await client.post(good, JSON, None), 401),
            "wrong token": (await client.post(good, JSON, "wrong"), 401),
            "not allowed": (await client.post(good, JSON, TOKEN[::-1]), 403),
            "too large": (await client.post(b"x" * 2_001, JSON), 413),
            "kind": (await client.post(good, {"Content-Type": "text/csv"}), 415),
            "key": (await client.post(good, JSON | {"Idempotency-Key": '"'}), 400),
        }
        batch = {"Content-Type": "application/cloudevents-batch+json"}
        answers["no batch"] = (await client.post(b"{}", batch), 400)
        answers["large batch"] = (await client.post(b"[" + b" " * 30_000, batch), 413)

        async def endless() -> AsyncIterator[bytes]:
            for _ in range(100):
                yield b"x" * 1_000

        answers["large stream"] = (await client.post(endless(), JSON), 413)
        other = Client(session, port, "division.v1")
        answers["no such"] = (await other.post(good, JSON), 404)
        for name, ((status, said, headers), expected) in answers.items():
            assert status == expected, name
            assert said["status"] == expected, name
            assert said["title"], name
            assert headers["Content-Type"] == "application/problem+json", name
        assert "WWW-Authenticate" in answers["no token"][0][2]
        async with session.get(client.url) as answer:
            assert answer.status == 405
            assert answer.headers["Allow"] == "POST"
        assert await raw(port, "Content-Type: application/json\r\n", b"") == 411
        chunked = "Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n"
        assert await raw(port, chunked, b"zz\r\n") == 400
        # Nothing of all that was taken, and one that is right is.
        assert (await client.post(good, JSON))[0] == 200
        monkeypatch.setattr(http_desk, "MOST_REQUESTS", 0)
        status, _, headers = await client.post(good, JSON)
        assert (status, headers["Retry-After"]) == (429, "1")
        monkeypatch.undo()
    async with listening(http_gate.intake_app(desk), desk.table.listen, "listen"):
        status, said, headers = await Client(session, port, part.hop.contract).post(good, JSON)
        assert (status, headers["Retry-After"]) == (503, "2")
    assert await told(kafka, part.hop.contract) == [("370102001", "v1")]


async def raw(port: int, headers: str, body: bytes) -> int:
    """The status of the answer to a request as no library would write it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"POST /v1/intake/http_door.v1 HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\n"
    writer.write(f"{head}{headers}\r\n".encode() + body)
    async with asyncio.timeout(10):
        status = (await reader.readline()).split()[1]
    writer.close()
    return int(status)


async def test_the_same_request_again_is_the_same_answer_over_restarts_and_without_the_state(
    kafka: KafkaServer, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """Red when ``Ledger.complete`` does nothing: tried."""
    (port,) = free_ports(1)
    desk = desk_for(["http_again.v1"], port)
    body = lines(*(record(number) for number in range(500)), {"$delete": "370102001"})
    keyed = LINES | {"Idempotency-Key": '"first"'}
    state = tmp_path / "state"
    async with opened(capture(kafka.bootstrap, desk, "http_again", state), desk) as part:
        client = Client(session, port, part.hop.contract)
        # Two at once: the later waits for the outcome of the earlier.
        one, other = await asyncio.gather(client.post(body, keyed), client.post(body, keyed))
        assert one[1]["accepted"] + other[1]["accepted"] == 501
        assert one[1]["repeated"] + other[1]["repeated"] == 501
        assert one[1]["positions"] == other[1]["positions"]
        # The same key with another record is a mistake, and said.
        status, said, _ = await client.post(lines(record(0), record(777)), keyed)
        assert status == 422
        assert [(each["line"], each["rule"]) for each in said["refused"]] == [(2, "id-reused")]
        # Without an id there is no again.
        assert (await client.post(lines(record(8)), LINES))[1]["accepted"] == 1
    for lost in (False, True):
        if lost:
            shutil.rmtree(state)
        async with opened(capture(kafka.bootstrap, desk, "http_again", state), desk):
            again = await client.post(body, keyed)
            assert again[0] == 200
            assert (again[1]["accepted"], again[1]["repeated"]) == (0, 501)
            assert again[1]["positions"] == one[1]["positions"]
    assert len(await told(kafka, part.hop.contract)) == 502


async def test_senders_who_repeat_until_answered_are_taken_once_over_kills(
    kafka: KafkaServer, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """Red when ``HttpSource._known`` finds nothing in the ledger: tried."""
    (port,) = free_ports(1)
    chance, stop = random.Random(3), False
    answered: dict[int, dict[str, int]] = {}

    async def send(first: int) -> None:
        number = first
        while not stop:
            headers = JSON | {"Idempotency-Key": f"n{number}"}
            body = msgspec.json.encode(record(number))
            while number not in answered:
                try:
                    async with asyncio.timeout(5):
                        status, said, _ = await client.post(body, headers)
                except (aiohttp.ClientError, OSError, TimeoutError):
                    status = 0
                if status == 200:
                    answered[number] = said["positions"]
                else:
                    await asyncio.sleep(0.05)
            number += 4

    client = Client(session, port, "http_killed.v1")
    senders = [asyncio.create_task(send(first), name=f"sender-{first}") for first in range(4)]
    for turn in range(5):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.live.http_intake",
            kafka.bootstrap, str(port), "http_killed", str(tmp_path / f"state-{turn // 2}"),
        )  # fmt: skip
        # In the middle of it, however long the start takes.
        before = len(answered)
        await until_true(lambda: len(answered) > before + 40, 40)  # noqa: B023
        await asyncio.sleep(chance.uniform(0, 0.3))
        process.kill()
        await process.wait()
    stop = True
    desk = desk_for(["http_killed.v1"], port)
    part = capture(kafka.bootstrap, desk, "http_killed", tmp_path / "last")
    async with opened(part, desk):
        await asyncio.gather(*senders)
    assert len(answered) > 100
    records, _ = await read_all(Cluster(kafka.bootstrap), part.hop.contract)
    assert sorted(ids(records)) == sorted(f"bureau/k n{number} 1" for number in answered)
    places = {name: each.offset for name, each in zip(ids(records), records, strict=True)}
    for number, positions in answered.items():
        assert list(positions.values()) == [places[f"bureau/k n{number} 1"]]


async def test_while_kafka_is_away_senders_are_told_so_and_nothing_hangs(
    province: KafkaServer, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    (port,) = free_ports(1)
    desk = desk_for(["http_away.v1"], port)
    part = capture(province.bootstrap, desk, "http_away", tmp_path)
    async with opened(part, desk):
        client = Client(session, port, part.hop.contract)
        keyed = JSON | {"Idempotency-Key": "k"}
        await province.kill()
        try:
            async with asyncio.timeout(http_gate.COMMIT + 10):
                status, said, headers = await client.post(msgspec.json.encode(record(1)), keyed)
            assert status == 503
            assert headers["Retry-After"]
            assert "not taken twice" in said["detail"]
        finally:
            await province.start()
        await until_true(lambda: part.hop.state == "running", 40)
        async with asyncio.timeout(30):
            while (await client.post(msgspec.json.encode(record(1)), keyed))[0] != 200:
                await asyncio.sleep(0.3)
    assert await told(province, part.hop.contract) == [("370102001", "v1")]


async def test_a_sender_is_held_to_its_rate(
    kafka: KafkaServer, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """A stream is slowed, what comes after it is told when to come again; metrics count by sender."""
    (port,) = free_ports(1)
    desk = desk_for(["http_rate.v1"], port, rate=400)
    async with opened(capture(kafka.bootstrap, desk, "http_rate", tmp_path), desk) as part:
        client = Client(session, port, part.hop.contract)
        body = lines(*(record(number) for number in range(1_000)))
        assert (await client.post(body, LINES))[1]["accepted"] == 1_000
        batch = {"Content-Type": "application/cloudevents-batch+json"}
        event = {"specversion": "1.0", "source": "s", "type": "division.changed"}
        events = [event | {"id": str(number), "data": record(number)} for number in range(900)]
        assert (await client.post(msgspec.json.encode(events), batch))[1]["accepted"] == 900
        status, _, headers = await client.post(msgspec.json.encode(record(1)), JSON)
        assert status == 429
        assert 1 <= int(headers["Retry-After"]) <= 3
    samples = {
        (sample.name, tuple(sample.labels.values())): sample.value
        for metric in desk.metrics()
        for sample in metric.samples
    }
    assert samples["levelsync_intake_events_total", ("bureau", "http_rate.v1")] == 1_900
    assert samples["levelsync_intake_requests", ("bureau",)] == 0


async def test_a_change_that_waits_behind_a_dead_letter_is_told_so(
    kafka: KafkaServer, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """By a contract whose later changes wait, even a right one may be kept; its sender hears it."""
    (port,) = free_ports(1)
    desk = desk_for(["http_waits.v1"], port)
    part = capture(kafka.bootstrap, desk, "http_waits", tmp_path, on_refusal="wait")
    async with opened(part, desk):
        assert part._entry.waiting is not None
        part._entry.waiting.add("370102001")
        client = Client(session, port, part.hop.contract)
        for rule in ("waits", "kept"):
            status, said, _ = await client.post(
                msgspec.json.encode(record(1)), JSON | {"Idempotency-Key": "k"}
            )
            assert status == 422
            assert said["refused"][0]["rule"] == rule
    letters = await read_letters(Cluster(kafka.bootstrap), [part.hop.contract])
    assert [letter["rule"] for letter in letters] == ["waits"]


async def test_the_door_speaks_tls(kafka: KafkaServer, tmp_path: Path) -> None:
    authority(tmp_path)
    (port,) = free_ports(1)
    files: dict[str, Any] = {"certificate": tmp_path / "server.pem", "key": tmp_path / "server.key"}
    desk = desk_for(["http_tls.v1"], port, **files)
    context = ssl.create_default_context(cafile=tmp_path / "ca.pem")
    async with (
        opened(capture(kafka.bootstrap, desk, "http_tls", tmp_path / "state"), desk) as part,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session,
    ):
        client = Client(session, port, part.hop.contract)
        client.url = client.url.replace("http://127.0.0.1", "https://localhost")
        assert (await client.post(msgspec.json.encode(record(1)), JSON))[0] == 200


async def test_a_senders_trace_context_goes_with_its_record(
    kafka: KafkaServer, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """That of a request with its one record, that of a CloudEvent with that event alone."""
    (port,) = free_ports(1)
    desk = desk_for(["http_traced.v1"], port)
    mine, other = (f"00-{digit * 32}-00f067aa0ba902b7-01" for digit in "12")
    asked = {"traceparent": mine}
    event = {"specversion": "1.0", "source": "s", "type": "division.changed", "traceparent": other}
    async with opened(capture(kafka.bootstrap, desk, "http_traced", tmp_path), desk) as part:
        client = Client(session, port, part.hop.contract)
        await client.post(msgspec.json.encode(record(1)), JSON | asked)
        await client.post(lines(record(2), record(3)), LINES | asked)
        structured = {"Content-Type": "application/cloudevents+json"}
        sent = json.dumps(event | {"id": "4", "data": record(4)})
        assert (await client.post(sent, structured | asked))[1]["accepted"] == 1
        await client.delete(record(1)["code"], asked)
    records, _ = await read_all(Cluster(kafka.bootstrap), part.hop.contract)
    found = {
        (each.key or b"", each.value is None): header(each.headers, "ce_traceparent")
        for each in records
    }
    keys = [record(number)["code"].encode() for number in range(1, 5)]
    assert found == {
        (keys[0], False): mine.encode(),
        (keys[1], False): None,
        (keys[2], False): None,
        (keys[3], False): other.encode(),
        (keys[0], True): mine.encode(),
    }
