"""Who is let in at a broker with TLS and logins, and what those are told who are not."""

import asyncio
import contextlib
import http.server
import json
import ssl
import threading
from pathlib import Path

import pytest

from agents.base.errors import Unavailable
from agents.base.kafka_access import Sasl, Tls
from agents.demo.levels import fetch_json
from agents.demo.servers import AgentProcess, free_ports
from agents.kafka.cluster import Cluster, NotLetIn
from agents.kafka.topics import DATA, Topic, ensure
from agents.kafka.wire import Connection
from tests.certificates import Authority
from tests.live.secure import SecureKafka
from tests.live.streams import Writer, event, ids, read_all

pytestmark = pytest.mark.live


@pytest.fixture
def broker(secure: SecureKafka) -> SecureKafka:
    return secure


async def topics(cluster: Cluster) -> dict[str, int]:
    async with asyncio.timeout(60), Connection(cluster) as connection:
        return await connection.topics()


async def refused(cluster: Cluster) -> str:
    """What is said to whom who is not let in."""
    with pytest.raises(NotLetIn) as caught:
        await topics(cluster)
    return str(caught.value)


def scram(**other: str) -> Sasl:
    return Sasl(
        mechanism=other.get("mechanism", "SCRAM-SHA-512"),  # type: ignore[arg-type]
        user=other.get("user", "admin"),
        password=other.get("password", "admin-secret"),
    )


async def test_events_flow_over_tls_and_a_login(broker: SecureKafka) -> None:
    cluster = broker.as_user("admin")
    async with Writer(cluster, "flow.v1") as writer:
        await writer.write([event(n) for n in range(500)])
    records, marks = await read_all(cluster, "flow.v1")
    assert sorted(ids(records)) == sorted(f"id-{n}" for n in range(500))
    assert marks


async def test_a_wrong_login_is_told_with_the_field_and_what_to_do(broker: SecureKafka) -> None:
    """Red when the reason of a failed connection is not remembered: tried."""
    ca = Tls(ca=broker.ca)
    said = await refused(broker.at(broker.login, ca, scram(password="wrong")))
    assert "expected brokers to know the user admin by this password, got a refusal" in said
    assert "at `kafka.sasl.password`" in said
    assert "wrong" not in said.replace("wrong ", "")
    said = await refused(broker.at(broker.login, ca, scram(mechanism="SCRAM-SHA-256")))
    assert "a listener that offers SCRAM-SHA-256" in said
    said = await refused(broker.at(broker.login, ca))
    assert "ends connections without" in said
    assert "Add [kafka.sasl]" in said
    said = await refused(broker.at(broker.port, None, scram()))
    assert "a listener that asks for a login, got one that does not" in said


async def test_tls_where_there_is_none_and_none_where_there_is_are_told(
    broker: SecureKafka,
) -> None:
    said = await refused(broker.at(broker.login))
    assert "a listener without TLS" in said
    assert f"got one with TLS at 127.0.0.1:{broker.login}" in said
    assert "Add [kafka.tls]" in said
    said = await refused(broker.at(broker.port, Tls(ca=broker.ca)))
    assert "expected a listener with TLS, got one without" in said


async def test_certificates_that_do_not_fit_are_told_apart(
    broker: SecureKafka, tmp_path: Path
) -> None:
    other = Authority(tmp_path, "other")
    said = await refused(broker.at(broker.mutual, Tls(ca=other.ca)))
    assert f"an authority in {other.ca}" in said
    assert "at `kafka.tls.ca`" in said
    assert "asks for one" in await refused(broker.at(broker.mutual, Tls(ca=broker.ca)))
    for signed, why in (
        (other.issue("foreign", "37"), "of an authority that the brokers trust"),
        (broker.authority.issue("old", "37", days=(-9, -1)), "it has expired"),
    ):
        certificate, key = signed
        mine = Tls(ca=broker.ca, certificate=certificate, key=key)
        said = await refused(broker.at(broker.mutual, mine))
        assert "expected brokers to take our certificate" in said
        assert why in said
    certificate, key = broker.authority.issue("good", "37")
    await topics(broker.at(broker.mutual, Tls(ca=broker.ca, certificate=certificate, key=key)))


async def test_a_brokers_own_certificate_is_looked_at(broker: SecureKafka, tmp_path: Path) -> None:
    """That of a broker of ours is played by a listener of our own: restarting one takes long."""
    authority = Authority(tmp_path)
    for terms, said in (
        ({"days": (-9, -1)}, "one that has expired"),
        ({"days": (1, 9)}, "one that is not valid yet"),
        ({"address": "127.0.0.2"}, "not valid for '127.0.0.1'"),
    ):
        server = authority.issue("server", "server", **terms)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*server)
        (port,) = free_ports(1)
        listening = await asyncio.start_server(lambda *_: None, "127.0.0.1", port, ssl=context)
        async with listening:
            assert said in await refused(broker.at(port, Tls(ca=authority.ca)))


async def test_a_broker_that_is_away_is_away_and_not_a_refusal(broker: SecureKafka) -> None:
    (nobody,) = free_ports(1)
    with pytest.raises(Unavailable) as caught:
        await topics(broker.at(nobody, Tls(ca=broker.ca), scram()))
    assert not isinstance(caught.value, NotLetIn)


# ---- renewal -------------------------------------------------------------------------------------


async def test_a_renewed_certificate_is_taken_by_the_next_connection(
    broker: SecureKafka, tmp_path: Path
) -> None:
    """Red when the context keeps the files it was made from: tried."""
    certificate, key = broker.authority.issue("turning", "37", days=(-9, -1))
    cluster = broker.at(broker.mutual, Tls(ca=broker.ca, certificate=certificate, key=key))
    assert "it has expired" in await refused(cluster)
    # Halfway: the old certificate with a new key. The old pair counts on.
    old = certificate.read_bytes()
    broker.authority.issue("turning", "37")
    new = certificate.read_bytes()
    certificate.write_bytes(old)
    assert "it has expired" in await refused(cluster)
    certificate.write_bytes(new)
    await topics(cluster)
    # So is a list of authorities: one that knows too few is not added to, it is replaced.
    good = broker.ca.read_bytes()
    mine = tmp_path / "ca.pem"
    mine.write_bytes(Authority(tmp_path, "other").ca.read_bytes())
    cluster = broker.at(broker.mutual, Tls(ca=mine, certificate=certificate, key=key))
    assert "at `kafka.tls.ca`" in await refused(cluster)
    mine.write_bytes(good)
    assert await topics(cluster) is not None


# ---- tokens --------------------------------------------------------------------------------------


async def test_a_token_file_is_read_anew_for_each_connection(
    broker: SecureKafka, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    login = Sasl(mechanism="OAUTHBEARER", token=token)
    cluster = broker.at(broker.login, Tls(ca=broker.ca), login)
    assert f"a bearer token in {token}" in await refused(cluster)
    token.write_text(broker.token("admin") + "\n")
    await ensure(cluster, [Topic("token.v1", 1, DATA)])
    assert "token.v1" in await topics(cluster)
    for wrong in (broker.token("admin", seconds=-60), broker.token("admin", audience="other")):
        token.write_text(wrong)
        said = await refused(cluster)
        assert "expected brokers to take our token, got a refusal" in said
        assert wrong not in said
    token.write_text(broker.token("admin"))
    assert await topics(cluster)


class Grants(http.server.BaseHTTPRequestHandler):
    """An OAuth 2 server's token endpoint."""

    token = ""
    asked: list[tuple[str, str]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.asked.append((self.headers["Authorization"], body))
        right = self.headers["Authorization"] == "Basic YWdlbnQ6c2UlM0FjcmV0"  # agent:se%3Acret
        told = (
            {"access_token": self.token, "expires_in": 300}
            if right
            else {"error": "invalid_client"}
        )
        answer = json.dumps(told).encode()
        self.send_response(200 if right else 401)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        pass


async def test_a_token_is_granted_by_an_oauth_server_and_kept(broker: SecureKafka) -> None:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", free_ports(1)[0]), Grants)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/token"
        Grants.token = broker.token("admin")

        def login(secret: str) -> Cluster:
            asked = Sasl(
                mechanism="OAUTHBEARER", url=url, client="agent", secret=secret, scope="kafka"
            )
            return broker.at(broker.login, Tls(ca=broker.ca), asked)

        cluster = login("se:cret")
        for _ in range(3):
            await topics(cluster)
        assert len(Grants.asked) == 1
        assert Grants.asked[0][1] == "grant_type=client_credentials&scope=kafka"
        said = await refused(login("se-wrong"))
        assert f"a token from {url}, got 401 invalid_client" in said
        assert "se-wrong" not in said
    finally:
        server.shutdown()
        server.server_close()
    assert "at `kafka.sasl.url`" in await refused(login("se:cret"))


# ---- an agent ------------------------------------------------------------------------------------

NODE = """
[node]
id = "37"
name = "山东省"
level = "province"

[agent]
listen = "127.0.0.1:{listen}"
state = "state"

[kafka]
bootstrap = "127.0.0.1:{port}"

[kafka.tls]
ca = "{ca}"

[kafka.sasl]
{sasl}
"""
PASSWORD = 'mechanism = "SCRAM-SHA-512"\nuser = "admin"\npassword = "{}"'


async def test_an_agent_goes_on_with_a_mended_login_and_over_the_end_of_its_token(
    broker: SecureKafka, tmp_path: Path
) -> None:
    """Without a restart, and no secret is ever said. Red when a changed login needs one: tried."""
    (listen,) = free_ports(1)
    node, token = tmp_path / "node.toml", tmp_path / "token"

    def write(sasl: str) -> None:
        text = NODE.format(listen=listen, port=broker.login, ca=broker.ca, sasl=sasl)
        node.write_text(text)

    async def trouble(name: str) -> str:
        with contextlib.suppress(OSError):
            found = await asyncio.to_thread(fetch_json, f"http://127.0.0.1:{listen}/status")
            if name == "ready":
                return "yes" if found["ready"] else ""
            return str(found["troubles"].get(name, ""))
        return ""

    async def until(name: str, words: str) -> None:
        async with asyncio.timeout(60):
            while words not in await trouble(name):
                await asyncio.sleep(0.1)

    write(PASSWORD.format("not-the-password"))
    agent = AgentProcess(node, tmp_path, f"127.0.0.1:{listen}")
    agent.start()
    try:
        await until("levelsync.grants", "expected brokers to know the user admin")
        # By a token now, which ends while the agent runs: brokers end its connections then.
        token.write_text(broker.token("admin", seconds=10))
        write(f'mechanism = "OAUTHBEARER"\ntoken = "{token}"')
        await until("ready", "yes")
        token.unlink()
        await until("levelsync.grants", "expected a bearer token in")
        token.write_text(broker.token("admin", seconds=300))
        async with asyncio.timeout(60):
            while await trouble("levelsync.grants"):
                await asyncio.sleep(0.1)
        await until("ready", "yes")
        assert agent.alive
    finally:
        await agent.stop(5.0)
    logged = agent.log.read_text()
    for secret in ("not-the-password", token.read_text()):
        assert secret not in logged
