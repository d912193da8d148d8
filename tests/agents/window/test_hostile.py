"""What no browser would send: it is refused, and never is it the window's own fault."""

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agents.base.health import listening
from agents.demo.servers import free_ports
from agents.window.openapi import addresses
from tests.agents.window.house import ENOUGH, House

#: What stands in the place of a parameter.
ODD = [
    "%FF", "%C3%28", "%00", "%ED%A0%80", "..%2F..%2Fetc", "%2e%2e", "'%20OR%201=1--", "%F0%9F%92%A9",
    "%", "%%", "a" * 3_000, "%E2%80%AE", "*", "$.name", "%0d%0aSet-Cookie:x=1", "\\", "{key}",
]  # fmt: skip
QUERIES = [
    "limit=%FF", "limit=999999999999999999999999", "limit=-1", "limit=1.0", "limit=%C2%B2", "limit=",
    "scope=%C2%B2", "scope=%FF", "scope=" + "3" * 500, "after=%FF", "after=%ED%A0%80", "after=%00",
    "field=name&value=x", "field=%FF&value=%FF", "field=household_no", "value=x",
    "field=household_no&value=%FF", "field=household_no&value=%ED%A0%80", "field=household_no'&value=1",
    "field=household_no&value=" + "x" * 5_000, "where=", "where=%FF", "where=%ED%A0%80", "where=1",
    "where=name", "where=name%2B1", "where=" + "(" * 900, "where=" + "-" * 900 + "1==1",
    "where=" + "%5B" * 900, "where=nobody==1", "where=name.matches('(a*)*b')",
    "where=%5B1%5D.all(a,%5B1%5D.all(b,true))", "where=name.map(a,a).size()%3E0", "where=%00",
    "where=" + "x" * 1_001, "where='%F0%9F%92%A9'==name", "where=1/0==1", "where=name==1",
    "limit=1&limit=2", "nobody=1", "%FF=1", "=", "&&&", "from=dawn", "from=state&scope=x",
    "last_event_id=%FF", "last_event_id=x.%C2%B2", "last_event_id=.", "contracts=%FF", "contracts=,",
    "contracts=resident.v2,resident.v2,%ED%A0%80", "code=%FF&state=%FF", "error=%FF",
]  # fmt: skip
HEADERS = [
    b"Authorization: Bearer \xff\xfe", b"Authorization: \xff", b"Authorization: Bearer ",
    b"Authorization: Bearer " + b"x" * 7_000, b"Cookie: levelsync-370102=\xff\xfe",
    b"Cookie: levelsync-370102=" + b"x" * 7_000, b"Cookie: ;;;===;\x01", b"Cookie: \xff=\xff; $Version=1",
    b"Cookie: levelsync-370102-login=\xff", b'Cookie: levelsync-370102="\\377\\000"',
    b"Origin: \xff", b"Origin: http://[", b"Origin: http://a:b:c", b"Last-Event-ID: \xff",
    b"Last-Event-ID: \xc2\xb2.\xc2\xb2", b"If-None-Match: \xff", b"If-None-Match: " + b"x" * 7_000,
    b"Content-Type: \xff", b"Content-Type: application/json; charset=\xff",
    b"Content-Type: application/json; charset=utf-99", b"Content-Length: -1", b"Content-Length: 9" * 40,
    b"Content-Length: x", b"Transfer-Encoding: \xff", b"Upgrade: websocket", b"Upgrade: \xff",
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: \xff",
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 99", b"Accept: \xff",
    b"Expect: 100-continue", b"Expect: x", b"Range: bytes=0-1,\xff", b"Host: \xff", b"Host: [",
    b"Host: a\r\nHost: b", b"X: " + b"x" * 70_000, b"\r\n".join(b"X-%d: y" % n for n in range(3_000)),
    b"Sec-Fetch-Site: \xff", b"X-Http-Method-Override: DELETE",
]  # fmt: skip
BODIES = [
    b"", b"{}", b"[]", b"null", b"7", b'"x"', b"\xff", b"[" * 100_000, b'{"token":' * 5_000,
    b'{"token":"\\ud800"}', b'{"token":"' + b"x" * 100_000, b'{"field":"\\ud800","seen":1,"proposed":1}',
    b'{"field":' + b"[" * 3_000 + b"]" * 3_000 + b"}", b"x" * 2_000_000, b'{"token":1e999}',
    b'{"token":"a","token":"b"}',
]  # fmt: skip


class Line:
    """Bytes to a window, and the status it answers."""

    def __init__(self, port: int) -> None:
        self.port = port

    async def status(self, *pieces: bytes, patience: float = 20) -> int:
        """The status; 0 where the connection is closed, or more is waited for, without one."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            async with asyncio.timeout(patience):
                for piece in pieces:
                    writer.write(piece)
                head = await reader.readline()
                return int(head.split()[1]) if head else 0
        except (ConnectionError, TimeoutError):
            assert patience < 20, "an answer was to come"
            return 0
        finally:
            writer.close()

    async def ask(
        self, method: str, target: str, *headers: bytes, body: bytes | None = None
    ) -> int:
        """A request as it stands, with a right token unless the headers have another."""
        lines = [f"{method} {target} HTTP/1.1".encode("latin-1", "replace")]
        if not any(each.startswith(b"Host:") for each in headers):
            lines.append(b"Host: 127.0.0.1")
        if not any(each.startswith((b"Authorization:", b"Cookie:")) for each in headers):
            lines.append(f"Authorization: Bearer {ENOUGH}".encode())
        lines += headers
        if body is not None:
            lines.append(b"Content-Length: %d" % len(body))
        return await self.status(b"\r\n".join(lines) + b"\r\n\r\n" + (body or b""))


@pytest.fixture
async def line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Line]:
    monkeypatch.setattr("agents.window.rates.SLOWEST", 0.0)
    house = House(tmp_path)
    (port,) = free_ports(1)
    async with listening(house.app, f"127.0.0.1:{port}", "window.listen"):
        made = Line(port)
        yield made
        assert await made.ask("GET", "/v1/contracts") == 200, "it is as well as before"


@pytest.fixture
def paths(tmp_path: Path) -> list[str]:
    (tmp_path / "other").mkdir()
    return sorted({path for _, path in addresses(House(tmp_path / "other").app)})


def is_well(status: int) -> bool:
    """Its own fault begins with 5; but for what is said to be so."""
    return status < 500 or status in (501, 503, 505)


async def test_odd_paths(line: Line, paths: list[str]) -> None:
    for path in paths:
        for odd in ODD:
            for target in {
                path.replace("{key}", odd).replace("{contract}", "resident.v2"),
                path.replace("{contract}", odd).replace("{key}", odd),
                f"{path}/{odd}",
            }:
                assert is_well(await line.ask("GET", target)), target


async def test_odd_queries(line: Line, paths: list[str]) -> None:
    for path in paths:
        target = path.replace("{key}", "x").replace("{contract}", "resident.v2")
        for query in QUERIES:
            assert is_well(await line.ask("GET", f"{target}?{query}")), f"{target}?{query}"
            if target.startswith("/v1/events") and "contracts" not in query:
                found = await line.ask("GET", f"{target}?contracts=resident.v2&{query}")
                assert is_well(found), query


async def test_odd_headers(line: Line, paths: list[str]) -> None:
    for path in paths:
        target = path.replace("{key}", "x").replace("{contract}", "resident.v2")
        if target == "/v1/events":
            target += "?contracts=resident.v2"
        # Where there is no such address or method, the server itself stumbles over this one.
        if path != "/v1/{contract}/records/{key}/corrections":
            assert is_well(await line.ask("GET", target, b"Expect: \xff")), target
        for header in HEADERS:
            for method in ("GET", "POST"):
                found = await line.ask(method, target, header)
                assert is_well(found), (method, target, header[:100])


async def test_odd_bodies_and_methods(line: Line, paths: list[str]) -> None:
    for path in paths:
        target = path.replace("{key}", "x").replace("{contract}", "resident.v2")
        for body in BODIES:
            for kind in (b"application/json", b"text/plain", b"application/x-www-form-urlencoded"):
                found = await line.ask("POST", target, b"Content-Type: " + kind, body=body)
                assert is_well(found), (target, body[:50])
        for method in (
            "PUT",
            "PATCH",
            "DELETE",
            "OPTIONS",
            "TRACE",
            "HEAD",
            "CONNECT",
            "BREW",
            "get",
        ):
            found = await line.ask(method, target)
            assert is_well(found), (method, target)


async def test_what_is_no_http(line: Line) -> None:
    for said in (
        b"\x16\x03\x01\x02\x00\x01\x00", b"GET\r\n\r\n", b"\r\n" * 1_000, b"GET / HTTP/9.9\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET http://evil.example/v1/contracts HTTP/1.1\r\n\r\n",
        b"GET //evil.example/ HTTP/1.1\r\nHost: x\r\n\r\n", b"\xff" * 20_000 + b"\r\n\r\n",
        b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n",
        b"POST /v1/session HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ):  # fmt: skip
        assert is_well(await line.status(said, patience=1)), said[:60]


async def test_what_is_no_http_is_not_quoted_in_the_logs(
    line: Line, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        await line.ask("GET", "/v1/contracts", f"Authorization: Bearer {ENOUGH}\x00".encode())
        await line.ask("GET", f"/v1/resident.v2/records/{'370102' * 5_000}")
    assert ENOUGH not in caplog.text
    assert "370102370102" not in caplog.text


async def test_a_body_that_does_not_come_is_not_waited_for(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agents.window.answers.PATIENCE", 0.2)
    head = b"POST /v1/session HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    assert await line.status(head + b"Content-Length: 40\r\n\r\n{") == 408
    assert await line.status(head + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n") == 408
