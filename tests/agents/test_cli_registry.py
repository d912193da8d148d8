"""What a schema registry is asked, and what is said when it refuses; a live test covers a real one."""

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jsonschema_rs
import pytest

from agents.cli.registry import Pushed, Registry, RegistryAway, RegistryRefused
from contracts.subjects import CONTRACTS

RESIDENT = CONTRACTS["resident.v2"]


class Scripted:
    """A registry that keeps what it is given. ``wrong`` is answered to paths that end so."""

    def __init__(self) -> None:
        self.subjects: dict[str, list[str]] = {}
        self.config: dict[str, str] = {}
        self.asked: list[tuple[str, str]] = []
        self.headers: list[dict[str, str]] = []
        self.wrong: dict[str, tuple[int, bytes]] = {}

    def answer(self, method: str, path: str, body: Any) -> tuple[int, bytes]:
        self.asked.append((method, path))
        for end, wrong in self.wrong.items():
            if path.endswith(end):
                return wrong
        _, kind, subject, *rest = path.split("/")
        if kind == "config":
            if method == "PUT":
                self.config[subject] = body["compatibility"]
                return 200, json.dumps(body).encode()
            if subject not in self.config:
                return 404, b'{"error_code":40408,"message":"no rule of its own"}'
            return 200, json.dumps({"compatibilityLevel": self.config[subject]}).encode()
        standing = self.subjects.setdefault(subject, [])
        if rest:
            standing.append(body["schema"])
        elif body["schema"] not in standing:
            return 404, b'{"error_code":40403,"message":"Schema not found"}'
        return 200, json.dumps({"id": standing.index(body["schema"]) + 7}).encode()


@pytest.fixture
def scripted() -> Iterator[tuple[Scripted, str]]:
    script = Scripted()

    class Handler(BaseHTTPRequestHandler):
        def _do(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            script.headers.append(dict(self.headers))
            status, answer = script.answer(self.command, self.path, json.loads(raw or b"null"))
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = do_PUT = _do  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, name="registry")
    thread.start()
    yield script, f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_push_done_twice_writes_once(scripted: tuple[Scripted, str]) -> None:
    script, where = scripted
    registry = Registry(f"http://{where}/")
    assert registry.push(RESIDENT, "FULL") == Pushed("resident.v2-value", 7, True)
    written = len(
        [each for each in script.asked if each[0] == "PUT" or each[1].endswith("/versions")]
    )
    assert registry.push(RESIDENT, "FULL") == Pushed("resident.v2-value", 7, False)
    assert written == 2
    assert (
        len([each for each in script.asked if each[0] == "PUT" or each[1].endswith("/versions")])
        == 2
    )
    assert script.config == {"resident.v2-value": "FULL"}


def test_the_schema_is_draft_7_and_closed(scripted: tuple[Scripted, str]) -> None:
    script, where = scripted
    Registry(f"http://{where}").push(RESIDENT, "FULL")
    schema = json.loads(script.subjects["resident.v2-value"][0])
    jsonschema_rs.Draft7Validator(schema)
    assert schema["$schema"] == "http://json-schema.org/draft-07/schema#"
    assert schema["additionalProperties"] is False
    assert schema["properties"]["sex"]["enum"] == ["0", "1", "2", "9"]


def test_user_and_password_sign_in_and_are_shown_nowhere(scripted: tuple[Scripted, str]) -> None:
    script, where = scripted
    script.wrong = {"/versions": (401, b'{"message":"no"}')}
    registry = Registry(f"http://ops:s%40cret@{where}")
    with pytest.raises(RegistryRefused) as caught:
        registry.push(RESIDENT, "FULL")
    sent = base64.b64decode(script.headers[0]["Authorization"].removeprefix("Basic ")).decode()
    assert sent == "ops:s@cret"
    assert "cret" not in f"{caught.value} {registry.name}"


@pytest.mark.parametrize(
    ("end", "status", "answer", "said"),
    [
        (
            "/versions",
            409,
            b'{"error_code":409,"message":"PROPERTY_REMOVED"}',
            "409 PROPERTY_REMOVED",
        ),
        ("/versions", 502, b"<html>Bad gateway", "502 <html>Bad gateway"),
        ("/versions", 200, b'{"ident":1}', "an id"),
        ("-value", 404, b"no such page", "404 no such page"),
        ("/resident.v2-value", 500, b'{"message":7}', "500 7"),
    ],
)
def test_what_came_back_is_said(
    scripted: tuple[Scripted, str], end: str, status: int, answer: bytes, said: str
) -> None:
    script, where = scripted
    script.wrong = {end: (status, answer)}
    with pytest.raises(RegistryRefused, match=said):
        Registry(f"http://{where}").push(RESIDENT, "FULL")


def test_a_registry_that_is_away_is_told_from_one_that_refuses(
    scripted: tuple[Scripted, str],
) -> None:
    script, where = scripted
    script.wrong = {"/versions": (200, b"<html>hello")}
    with pytest.raises(RegistryAway, match="does not answer POST"):
        Registry(f"http://{where}").push(RESIDENT, "FULL")
    with pytest.raises(RegistryAway, match="refused"):
        Registry("http://127.0.0.1:1").push(RESIDENT, "FULL")


@pytest.mark.parametrize(
    "url", ["registry:8081", "ftp://u:secret@host", "http://", "//u:secret@host"]
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(RegistryRefused, match="such as https") as caught:
        Registry(url)
    assert "secret" not in str(caught.value)
