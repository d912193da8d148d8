"""A real Mosquitto retains what the window's store holds, and is told every change, whatever dies."""

import asyncio
import contextlib
import os
import random
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import aiomqtt
import msgspec
import pytest

from agents.base.window import MqttOut, Window
from agents.demo.servers import free_ports
from agents.window import mqtt_publisher
from agents.window.mqtt_out import level_of
from tests.live.mosquitto import OPEN, Mosquitto, started
from tests.live.out import NAME, Desk, delivered, delivering, killed, permit
from tests.live.streams import until_true

pytestmark = [pytest.mark.live, pytest.mark.slow]


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Mosquitto]:
    server = Mosquitto(tmp_path / "mosquitto", free_ports(1)[0])
    await started(server)
    yield server
    await server.stop()


def to(broker: Mosquitto, **more: Any) -> Window:
    settings = {"purpose": "screens", "contracts": (NAME,), **more}
    return Window(mqtt=MqttOut(url=f"mqtt://127.0.0.1:{broker.port}", **settings))


class Screen:
    """Whoever listens: what is retained by key, and every change."""

    def __init__(self, broker: Mosquitto, prefix: str = "levelsync") -> None:
        self._client = aiomqtt.Client(
            "127.0.0.1", broker.port, protocol=aiomqtt.ProtocolVersion.V5
        )  # fmt: skip
        self._prefix = prefix
        self.state: dict[str, Any] = {}
        self.changes: list[dict[str, Any]] = []
        self.status: list[str] = []
        self.mark: dict[str, Any] = {}  # of our contract

    async def __aenter__(self) -> "Screen":
        await self._client.__aenter__()
        await self._client.subscribe(f"{self._prefix}/#", qos=1)
        self._task = asyncio.create_task(self._listen(), name="screen")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        with contextlib.suppress(aiomqtt.MqttError):
            await self._client.__aexit__(None, None, None)

    async def _listen(self) -> None:
        async for message in self._client.messages:
            _, name, *rest = str(message.topic).split("/")
            payload = bytes(message.payload)
            if name == "status":
                self.status.append(payload.decode())
            elif rest[0] == "state":
                assert len(rest) == 2
                self.state[unquote(rest[1])] = msgspec.json.decode(payload) if payload else None
            elif rest[0] == "changes":
                assert not message.retain
                self.changes.append(msgspec.json.decode(payload))
            elif name == NAME:
                self.mark = msgspec.json.decode(payload) if payload else {}

    @property
    def records(self) -> dict[str, Any]:
        return {key: each["record"] for key, each in self.state.items() if each}


async def retained(broker: Mosquitto, desk: Desk, *scopes: str) -> None:
    """What stands there now is what the store holds."""
    async with Screen(broker) as screen:
        await until_true(lambda: screen.records == desk.records(*scopes))
        await asyncio.sleep(0.2)
        assert screen.records == desk.records(*scopes)


@pytest.mark.parametrize(
    ("key", "level"),
    [
        ("370102200001170000", "370102200001170000"),
        ("a/b+c#d%e", "a%2Fb%2Bc%23d%25e"),
        ("鲁A\x00\x1f\x85\ufffe", "鲁A%00%1F%C2%85%EF%BF%BE"),
        ("$SYS é", "$SYS é"),
    ],
)
def test_a_key_is_one_level_of_a_topic(key: str, level: str) -> None:
    assert level_of(key) == level
    assert unquote(level) == key


async def test_state_is_retained_changes_are_told_and_the_watermark_says_how_complete(
    broker: Mosquitto, tmp_path: Path
) -> None:
    desk = Desk(tmp_path)
    desk.change(700)
    async with Screen(broker) as screen:
        async with delivering(desk, to(broker)) as (hop,):
            await until_true(lambda: delivered(desk, hop) and screen.mark.get("complete_as_of"))
            assert screen.status == ["online"]
            await until_true(lambda: screen.records == desk.records())
            assert screen.changes == []
            last = desk.store.last
            desk.change(300)
            await until_true(lambda: delivered(desk, hop) and len(screen.changes) == 300)
            told = desk.store.changes_after(last, 300)
            assert [each["id"] for each in screen.changes] == [each.id for each in told]
            assert [each["sequence"] for each in screen.changes] == [e.sequence for e in told]
            assert {each["op"] for each in screen.changes} == {"put", "delete"}
            await until_true(lambda: screen.records == desk.records())
            await until_true(lambda: screen.mark["token"] == f"{desk.store.id}.{desk.store.last}")
        await until_true(lambda: screen.status == ["online", "offline"])
    one = next(each for each in screen.state.values() if each)
    assert one.keys() == {
        "contract", "key", "record", "scope", "time", "sequence", "id", "source", "dataschema",
    }  # fmt: skip
    assert desk.journal.lines == [("mqtt", "follow", NAME, f"levelsync/{NAME}/#")]
    await retained(broker, desk)


async def test_only_what_may_be_seen_goes_out_and_what_may_not_any_more_is_cleared(
    broker: Mosquitto, tmp_path: Path
) -> None:
    desk = Desk(tmp_path)
    desk.change(300)
    seen = to(
        broker, scopes=("370102",), fields={NAME: ("number", "division_code", "holder")},
        mask={NAME: {"holder": "null"}},
    )  # fmt: skip
    async with Screen(broker) as screen:
        async with delivering(desk, seen) as (hop,):
            await until_true(lambda: delivered(desk, hop))
            desk.change(300)
            await until_true(lambda: delivered(desk, hop))
            keys = desk.records("370102").keys()
            await until_true(lambda: screen.records.keys() == keys)
            assert all(each["holder"] is None for each in screen.records.values())
            assert {each["scope"][:6] for each in screen.changes} == {"370102", ""}
            assert all(each["record"] is None or each["record"].keys() == {"number", "division_code", "holder"} for each in screen.changes)  # fmt: skip
        async with delivering(desk, to(broker, contracts=("other.v1",))) as (hop,):
            await until_true(lambda: not screen.records and not screen.mark)


async def test_kill_9_of_the_agent_leaves_the_state_exact_and_no_change_out(
    broker: Mosquitto, tmp_path: Path
) -> None:
    async with Screen(broker) as screen:
        await killed(tmp_path, to(broker), 2_000, seed=5, kills=5)
        desk = Desk(tmp_path)
        await until_true(lambda: screen.records == desk.records())
        # What was there before the first telling is told as state alone.
        await until_true(lambda: screen.changes[-1]["id"] == "e2000")
        told = {int(each["id"][1:]) for each in screen.changes}
        assert told == set(range(min(told), 2_001))
        assert "offline" in screen.status
    await retained(broker, desk)


async def test_a_broker_that_comes_back_with_an_older_memory_is_told_from_there(
    broker: Mosquitto, tmp_path: Path
) -> None:
    """Red without the look at the retained watermark: tried."""
    # It saves when it is told to, as one does whose half hour is not over.
    broker._settings = (*OPEN, "autosave_interval 0")
    await broker.stop()
    await broker.start()
    desk = Desk(tmp_path)
    async with delivering(desk, to(broker)) as (hop,):
        desk.change(300)
        await until_true(lambda: delivered(desk, hop))
        await asyncio.sleep(1.2)
        os.kill(broker.pid, signal.SIGUSR1)
        await asyncio.sleep(0.3)
        desk.change(300)
        await until_true(lambda: delivered(desk, hop))
        await broker.kill()
        desk.change(50)
        await until_true(lambda: hop.state == "retrying")
        assert "does not answer" in str(hop.error) or "ended the connection" in str(hop.error)
        await broker.start()
        await until_true(lambda: delivered(desk, hop))
        await retained(broker, desk)
        # And one that forgot everything.
        await broker.stop()
        for file in broker.folder.glob("*.db"):
            file.unlink()
        await broker.start()
        await until_true(lambda: delivered(desk, hop))
        await retained(broker, desk)


async def test_a_position_too_old_has_the_state_told_and_what_is_gone_cleared(
    broker: Mosquitto, tmp_path: Path
) -> None:
    desk = Desk(tmp_path)
    desk.change(900)
    async with delivering(desk, to(broker)) as (hop,):
        await until_true(lambda: delivered(desk, hop))
    before = desk.records().keys()
    desk.write([(key, None, "") for key in sorted(before)[:40]])
    desk.change(100)
    desk.store._base.execute("DELETE FROM change WHERE seq <= 970")
    assert before - desk.records().keys()
    async with delivering(desk, to(broker)) as (hop,):
        await until_true(lambda: delivered(desk, hop))
    await retained(broker, desk)


async def test_what_the_broker_does_not_take_stops_its_own_key_alone(tmp_path: Path) -> None:
    server = Mosquitto(tmp_path / "m", free_ports(1)[0], (*OPEN, "max_packet_size 2000"))
    await started(server)
    desk = Desk(tmp_path)
    try:
        async with delivering(desk, to(server)) as (hop,):
            await until_true(lambda: delivered(desk, hop))
            desk.put("big", permit("big", 1, "370102001").replace("王".encode(), b"w" * 3_000))
            desk.put("small", permit("small", 1, "370102001"))
            async with Screen(server) as screen:
                await until_true(lambda: screen.records.keys() == {"small"})
            assert hop.rejected == 2  # its state and its change
            assert "refused by the broker" in hop.warnings["refused"]
            assert hop.state == "running"
    finally:
        await server.stop()


async def test_logins_rights_and_retention_that_are_missing_are_said(tmp_path: Path) -> None:
    port = free_ports(1)[0]
    (tmp_path / "acl").write_text("user window\ntopic readwrite other/#\n")
    (tmp_path / "users").write_text("")
    server = Mosquitto(tmp_path / "m", port, (*OPEN, f"acl_file {tmp_path}/acl"))
    await started(server)
    desk = Desk(tmp_path)
    desk.change(20)
    settings = to(server, username="window", password="secret-word")
    async with delivering(desk, settings) as (hop,):
        await until_true(lambda: hop.state == "retrying")
        assert "does not let us publish" in str(hop.error)
        assert "secret-word" not in str(hop.error)
        await server.stop()
        server._settings = (*OPEN, "retain_available false")
        await server.start()
        await until_true(lambda: "keeps no retained messages" in str(hop.error))
        await server.stop()
        server._settings = ("allow_anonymous false",)
        await server.start()
        await until_true(lambda: hop.state == "stopped")
        assert "does not let us in" in str(hop.error)
        assert "secret-word" not in str(hop.error)
    await server.stop()


async def test_a_broker_that_acknowledges_nothing_is_left_and_memory_stays_bounded(
    broker: Mosquitto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt_publisher, "PATIENCE", 0.5)
    desk = Desk(tmp_path)
    desk.change(100)
    async with delivering(desk, to(broker)) as (hop,):
        await until_true(lambda: delivered(desk, hop))
        os.kill(broker.pid, signal.SIGSTOP)
        try:
            desk.change(2_000)
            await until_true(lambda: hop.state == "retrying")
        finally:
            os.kill(broker.pid, signal.SIGCONT)
        await until_true(lambda: delivered(desk, hop))
    await retained(broker, desk)


async def test_random_restarts_of_the_broker_leave_the_state_exact(
    broker: Mosquitto, tmp_path: Path
) -> None:
    chance, desk = random.Random(6), Desk(tmp_path)
    async with delivering(desk, to(broker)) as (hop,):
        for _ in range(4):
            for _ in range(chance.randrange(5, 30)):
                desk.change(chance.randrange(1, 40))
                await asyncio.sleep(0.01)
            await (broker.kill() if chance.random() < 0.5 else broker.stop())
            desk.change(20)
            await broker.start()
        await until_true(lambda: delivered(desk, hop), 30)
    await retained(broker, desk)
