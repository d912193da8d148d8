"""A window with records of real contracts, to be asked over HTTP: systems, clerks, or open."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web
from aiohttp.test_utils import TestServer

from agents.base.status import Status
from agents.base.table import sealed_token
from agents.base.window import Clerks, Login, System, Window
from agents.kafka.cluster import Cluster
from agents.window.feed import Feed
from agents.window.follow import Follow
from agents.window.gateway import window_app
from agents.window.office import Office
from agents.window.rights import Visitor
from agents.window.store import Store
from contracts.subjects import CONTRACTS
from tests.agents.window.scripted import Script, start
from tests.contracts.examples import example

#: Tokens: of a system that sees all of both contracts, and of one that sees little of one.
ENOUGH, LITTLE = "enough-token-enough-token", "little-token-little-token"
HERE = ("resident.v2", "business_licence.v1")

SYSTEMS = (
    System(
        name="counter",
        token=sealed_token(ENOUGH),
        purpose="over-the-counter services",
        contracts=HERE,
        rate=100_000,
    ),
    System(
        name="screen",
        token=sealed_token(LITTLE),
        purpose="numbers in the hall",
        contracts=("business_licence.v1",),
        scopes=("370102001",),
        fields={
            "business_licence.v1": (
                "credit_code", "division_code", "company_name", "legal_person_id"
            )
        },
        mask={"business_licence.v1": {"legal_person_id": "last4"}},
        corrections=False,
        rate=100_000,
        subscribers=2,
    ),
)  # fmt: skip
GUARDED = Window(system=SYSTEMS)


class Told:
    """A journal that can be read."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, str, str]] = []

    def tell(self, visitor: Visitor, action: str, contract: str, what: str) -> None:
        self.lines.append((visitor.name, action, contract, what))


class House:
    """A window over the examples of two contracts, twenty records each and one more change of each."""

    def __init__(self, folder: Path, table: Window = GUARDED, records: int = 20) -> None:
        self.store = Store(folder / "window.sqlite")
        self.status = Status("370102", "test")
        self.status.planned = True
        self.journal = Told()
        self.follows: dict[str, Follow] = {}
        self.records: dict[str, dict[str, dict[str, Any]]] = {}
        feed = Feed(self.store)
        for name in HERE:
            topic = f"{name}.from.3701"
            follow = self.follows[name] = Follow(
                self.status,
                contract=CONTRACTS[name],
                cluster=Cluster("127.0.0.1:1"),
                store=self.store,
                feed=feed,
                sources=lambda topic=topic: frozenset({topic}),  # type: ignore[misc]
            )
            self.status.show(follow.hop)
            follow.hop.running()
            follow.hop.complete = time.time_ns() // 1000
            self._fill(name, Script(topic), records, feed)
            self.store.index(name, CONTRACTS[name].searchable)
        self.office = Office(
            name="历下区",
            node="370102",
            store=self.store,
            feed=feed,
            follows=self.follows,
            status=self.status,
            table=table,
            secret="what hashes are keyed by",
            journal=self.journal,
            sessions=folder / "sessions.sqlite",
        )
        self.app = window_app(self.office)

    def _fill(self, name: str, script: Script, records: int, feed: Feed) -> None:
        contract = CONTRACTS[name]
        self.records[name] = {}
        for number in (*range(records), *range(records)):
            record = example(name, number)
            key, scope = record[contract.key], record[contract.scope]
            self.records[name][key] = record
            script.put(key, scope, json.dumps(record, ensure_ascii=False).encode())
        script.mark()
        feed.publish(self.store.apply(name, script.slice(), start()).changes)

    def key(self, name: str, scope: str = "") -> str:
        """The key of some record of ``name`` in a division."""
        contract = CONTRACTS[name]
        return next(
            key
            for key, record in self.records[name].items()
            if record[contract.scope].startswith(scope)
        )

    def use(self, **changes: Any) -> None:
        """The node file was read again."""
        self.office.table = msgspec.structs.replace(self.office.table, **changes)


def login_at(issuer: str, clerks: Sequence[Clerks], **more: Any) -> Window:
    """A window whose clerks come by the provider ``issuer``."""
    login = Login(issuer=issuer, client="window", **{"url": "http://127.0.0.1", **more})
    return Window(login=login, clerks=tuple(clerks))


async def served(app: web.Application) -> TestServer:
    """``app`` listening on loopback."""
    server = TestServer(app)
    await server.start_server()
    return server


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}
