"""What a node file may say of where a window delivers to."""

from typing import Any

import pytest

from agents.base.table import Wrong
from agents.base.window import MqttOut, SqlOut, Window, check, misfits
from contracts.subjects import CONTRACTS

MQTT: dict[str, Any] = {
    "url": "mqtt://broker:1883",
    "contracts": ("division.v1",),
    "purpose": "screens",
}
SQL: dict[str, Any] = {
    "dsn": "host=db password=secret-word", "contract": "division.v1", "table": "app.division",
    "purpose": "counter",
}  # fmt: skip


def checked(**window: Any) -> None:
    check(Window(**window), "127.0.0.1:8600", "370102")


def test_what_can_be_is_taken() -> None:
    tls = {"url": "mqtts://broker", "ca": "ca.pem", "username": "u", "password": "p"}
    checked(mqtt=MqttOut(**{**MQTT, **tls}), sql=(SqlOut(**SQL), SqlOut(**{**SQL, "table": "b.c"})))


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"url": "http://broker"}, "window.mqtt.url"),
        ({"url": "mqtt://u:secret-word@broker"}, "window.mqtt.url"),
        ({"url": "mqtt://broker:0"}, "window.mqtt.url"),
        ({"url": "mqtt://broker/x"}, "window.mqtt.url"),
        ({"contracts": ()}, "window.mqtt.contracts"),
        ({"contracts": ("Division",)}, "window.mqtt.contracts"),
        ({"ca": "ca.pem"}, "window.mqtt.url"),
        ({"url": "mqtts://broker", "key": "key.pem"}, "window.mqtt.certificate"),
        ({"password": "secret-word"}, "window.mqtt.username"),
        ({"prefix": ""}, "window.mqtt.prefix"),
        ({"prefix": "a/#"}, "window.mqtt.prefix"),
        ({"prefix": "$SYS"}, "window.mqtt.prefix"),
        ({"prefix": "a/"}, "window.mqtt.prefix"),
        ({"purpose": " "}, "window.mqtt.purpose"),
        ({"scopes": ("3702",)}, "window.mqtt.scopes"),
    ],
)
def test_a_broker_that_cannot_be_is_refused(change: dict[str, Any], path: str) -> None:
    with pytest.raises(Wrong) as wrong:
        checked(mqtt=MqttOut(**{**MQTT, **change}))
    assert wrong.value.path == path
    assert "secret-word" not in str(wrong.value)


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"dsn": " "}, "window.sql[0].dsn"),
        ({"table": "division"}, "window.sql[0].table"),
        ({"table": "a.b.c"}, "window.sql[0].table"),
        ({"table": "a."}, "window.sql[0].table"),
        ({"table": "a.levelsync_position"}, "window.sql[0].table"),
        ({"table": f"a.{'区' * 22}"}, "window.sql[0].table"),
        ({"columns": {"name": ""}}, "window.sql[0].columns"),
        ({"contract": "division"}, "window.sql[0].contract"),
    ],
)
def test_a_table_that_cannot_be_is_refused(change: dict[str, Any], path: str) -> None:
    with pytest.raises(Wrong) as wrong:
        checked(sql=(SqlOut(**{**SQL, **change}),))
    assert wrong.value.path == path
    assert "secret-word" not in str(wrong.value)


def test_a_table_is_filled_once() -> None:
    with pytest.raises(Wrong, match="each table once"):
        checked(sql=(SqlOut(**SQL), SqlOut(**SQL)))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"columns": {"title": "t"}}, "a field of the table"),
        ({"columns": {"name": "code"}}, "a column of its own"),
        ({"fields": ("code", "name"), "columns": {"level": "l"}}, "a field of the table"),
        ({"mask": {"code": "last4"}}, "no mask on what records are found by"),
    ],
)
def test_a_table_that_does_not_fit_its_contract_is_refused(
    change: dict[str, Any], expected: str
) -> None:
    window = Window(sql=(SqlOut(**{**SQL, **change}),))
    assert expected in str(next(misfits(window, CONTRACTS["division.v1"])))


def test_no_secret_is_shown() -> None:
    shown = repr(SqlOut(**SQL)) + repr(
        MqttOut(**{**MQTT, "username": "u", "password": "secret-word"})
    )
    assert "secret-word" not in shown
