"""Topics and payloads of MQTT as records; settings that cannot be."""

from typing import Any

import msgspec
import pytest

from agents.base.table import Wrong
from agents.capture.mqtt import MqttTopics
from agents.capture.mqtt_payload import Reading, Said
from agents.capture.mqtt_source import _parsed
from agents.capture.mqtt_template import Template
from agents.capture.sequence import Arrivals
from contracts.rejected import Rejected
from contracts.subjects import CONTRACTS

DIVISION = CONTRACTS["division.v1"]


def reading(topic: str = "gates/{parent}/{_}/{key}", **more: Any) -> Reading:
    settings: dict[str, Any] = {
        "columns": {},
        "payload": "json",
        "empty_deletes": True,
        "drop": False,
        "id_field": "",
        "time_field": "",
    }
    return Reading(DIVISION, Template(topic), **settings | more)


def test_a_template_is_a_subscription_and_reads_its_topics() -> None:
    template = Template("devices/{scope}/gate/{_}/{device_id}")
    assert template.filter == "devices/+/gate/+/+"
    assert template.names == ["scope", "device_id"]
    assert template.read("devices/370102/gate/x/7") == {"scope": "370102", "device_id": "7"}
    assert template.read("devices/370102/gate/7") is None
    assert template.read("devices/370102/door/x/7") is None


@pytest.mark.parametrize(
    "topic", ["$share/a/b/{key}", "a//b", "a/#", "a/+/b", "a/{key", "a/x{key}", "{key}/{key}", ""]
)
def test_a_template_that_cannot_be_is_named(topic: str) -> None:
    with pytest.raises(Wrong) as wrong:
        Template(topic)
    assert wrong.value.path == "topic"


def test_topic_and_payload_make_one_record() -> None:
    said = reading(columns={"name": "title"}).read("gates/3701/x/370102", b'{"title":"n"}')
    fields = {"name": "n", "parent": "3701", "code": "370102"}
    assert said == Said("370102", fields, None, None)


def test_an_empty_payload_deletes_the_key_of_its_topic() -> None:
    assert reading().read("gates/3701/x/370102", b"").fields is None
    with pytest.raises(Rejected) as rejected:
        reading(empty_deletes=False).read("gates/3701/x/370102", b"")
    assert rejected.value.rule == "empty"
    with pytest.raises(Rejected) as rejected:
        reading("gates/{parent}").read("gates/3701", b"")
    assert rejected.value.rule == "no-key"


@pytest.mark.parametrize(
    ("value", "micros"),
    [
        (1_700_000_000_000, 1_700_000_000_000_000),
        (1_700_000_000_000.5, 1_700_000_000_000_500),
        ("2023-11-15T06:13:20+08:00", 1_700_000_000_000_000),
        ("2023-11-14T22:13:20.25Z", 1_700_000_000_250_000),
    ],
)
def test_an_events_own_time_is_taken(value: object, micros: int) -> None:
    payload = msgspec.json.encode({"at": value, "id": 9})
    said = reading(time_field="at", id_field="id").read("gates/3701/x/370102", payload)
    assert said.time == micros
    assert said.id == "9"
    assert said.fields == {"parent": "3701", "code": "370102"}


@pytest.mark.parametrize(
    ("payload", "path", "rule"),
    [
        (b'{"at":"yesterday","id":1}', "$.at", "time"),
        (b'{"at":"2023-11-14T22:13:20","id":1}', "$.at", "time"),
        (b'{"at":-1,"id":1}', "$.at", "time"),
        (b'{"at":1}', "$.id", "id"),
        (b'{"at":1,"id":true}', "$.id", "id"),
        (b"{", "$", "json"),
        (b"\xff", "$", "json"),
        (b"7", "$", "type"),
        (b'{"id":1,"code":"370103"}', "$.code", "topic-mismatch"),
    ],
)
def test_what_is_wrong_with_a_payload_is_said(payload: bytes, path: str, rule: str) -> None:
    with pytest.raises(Rejected) as rejected:
        reading(time_field="at", id_field="id").read("gates/3701/x/370102", payload)
    assert (rejected.value.path, rejected.value.rule) == (path, rule)


def test_messagepack_is_read_and_its_faults_are_named() -> None:
    said = reading(payload="msgpack").read(
        "gates/3701/x/370102", msgspec.msgpack.encode({"name": "n"})
    )
    assert said.fields == {"name": "n", "parent": "3701", "code": "370102"}
    with pytest.raises(Rejected) as rejected:
        reading(payload="msgpack").read("gates/3701/x/370102", b"\xc1")
    assert rejected.value.rule == "msgpack"


@pytest.mark.parametrize(
    ("changed", "path"),
    [
        ({"url": "http://a"}, "url"),
        ({"url": "mqtt://u:p@a"}, "url"),
        ({"url": "mqtt://a:99999"}, "url"),
        ({"ca": "/nowhere.pem", "url": "mqtts://a"}, "ca"),
        ({"ca": "/nowhere.pem"}, "url"),
        ({"password": "p"}, "username"),
        ({"inflight": 0}, "inflight"),
        ({"session_hours": 0}, "session_hours"),
        ({"topic": "#"}, "topic"),
    ],
)
def test_a_setting_that_cannot_be_is_named(changed: dict[str, Any], path: str) -> None:
    right: dict[str, Any] = {"contract": "division.v1", "url": "mqtt://a", "topic": "d/{code}"}
    MqttTopics(**right).validate()
    with pytest.raises(Wrong) as wrong:
        MqttTopics(**right | changed).validate()
    assert wrong.value.path == path


def test_a_topic_that_names_no_field_does_not_fit_the_contract() -> None:
    settings = MqttTopics(contract="division.v1", url="mqtt://a", topic="d/{colour}")
    with pytest.raises(Wrong) as wrong:
        settings.fits(DIVISION)
    assert wrong.value.path == "topic"


def test_no_secret_is_printed() -> None:
    settings = MqttTopics(
        contract="c.v1", url="mqtt://a", topic="d", username="u", password="secret"
    )
    assert "secret" not in repr(settings)


def test_arrivals_are_in_order_though_the_clock_goes_back() -> None:
    """Red when ``Arrivals.next`` is the clock alone: tried."""
    clock = iter([100, 100, 50, 300])
    order = Arrivals([90, 40], lambda: next(clock))
    assert [int(order.next()) for _ in range(4)] == [100, 101, 102, 300]
    assert int(Arrivals([500], lambda: 3).next()) == 501


def test_a_name_gives_its_packet_back() -> None:
    assert _parsed("a.b.17.ab12.1700", "a.b") == (17, "17.ab12", 1700)
    assert _parsed("other.17.ab12.1700", "a.b") is None
    assert _parsed("a.b:own", "a.b") is None
