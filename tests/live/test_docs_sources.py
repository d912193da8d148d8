"""The guide to writing sources: its source, as it stands on the page, on a real database and a real Kafka."""

import asyncio
import contextlib
import importlib.util
import sqlite3
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import ModuleType

import msgspec
import pytest

from agents.base.errors import ConfigError
from agents.base.requests import Requests
from agents.base.run import supervise
from agents.base.status import Hop
from agents.capture.intake import Intake
from agents.capture.published import Published
from agents.capture.source import Place, SourceSettings
from agents.demo.servers import KafkaServer
from agents.kafka.cluster import Cluster
from agents.sources import KINDS, load
from contracts.subjects import CONTRACTS
from tests.guide import ROOT, File, steps
from tests.live.streams import ids, read_all, until_true
from tests.live.test_intake import folded

pytestmark = [pytest.mark.live, pytest.mark.slow]

TEXT = (ROOT / "docs" / "sources.md").read_text(encoding="utf-8")
NODE = """
[node]
id = "37"
name = "山东省"
level = "province"

[kafka]
bootstrap = "127.0.0.1:9092"

[[source]]
kind = "sql-polling"
contract = "division.v1"
database = "{database}"
table = "{table}"
columns = {{ name = "title" }}
"""


@pytest.fixture
def page(tmp_path: Path) -> Iterator[ModuleType]:
    """The module that stands on the page."""
    (found,) = (step for step in steps(TEXT) if isinstance(step, File))
    path = tmp_path / found.name
    path.write_text(found.text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("sql_polling", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["sql_polling"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["sql_polling"]


def test_the_source_on_the_page_is_as_short_as_it_says() -> None:
    (found,) = (step for step in steps(TEXT) if isinstance(step, File))
    assert sum(bool(line.strip()) for line in found.text.splitlines()) <= 60
    assert max(map(len, found.text.splitlines())) <= 100


async def test_the_source_on_the_page_keeps_its_promises(
    kafka: KafkaServer, tmp_path: Path, page: ModuleType
) -> None:
    """Red when the page's position is the number read before: tried."""
    path = tmp_path / "office.sqlite"
    database = sqlite3.connect(path, isolation_level=None)
    database.execute(
        "CREATE TABLE division (changed INTEGER UNIQUE, deleted INTEGER NOT NULL DEFAULT 0,"
        " code TEXT PRIMARY KEY, title TEXT, level TEXT, parent TEXT)"
    )
    number = iter(range(1, 100_000))

    def put(code: str, title: str, *, deleted: bool = False) -> None:
        database.execute(
            "INSERT INTO division VALUES (?, ?, ?, ?, 'township', NULL) ON CONFLICT (code) DO UPDATE"
            " SET changed = excluded.changed, deleted = excluded.deleted, title = excluded.title",
            (next(number), deleted, code, title),
        )

    node = tmp_path / "37.toml"
    node.write_text(NODE.format(database=path, table="no table"), encoding="utf-8")
    kinds = (*KINDS, page.SqlPolling)
    with pytest.raises(ConfigError, match=r"source\[0\]\.table"):
        load(node, kinds=kinds)
    node.write_text(NODE.format(database=path, table="division"), encoding="utf-8")
    (settings,) = load(node, kinds=kinds).source
    contract = msgspec.structs.replace(CONTRACTS["division.v1"], subject="polled", rules=())
    cluster = Cluster(kafka.bootstrap)
    hop = Hop("capture", contract.name, settings.collects, contract.name)
    requests = Requests(tmp_path / "requests")
    place = Place(contract, "37", tmp_path / "state", requests, Published(cluster, contract), hop)

    @contextlib.asynccontextmanager
    async def running() -> AsyncIterator[None]:
        assert isinstance(settings, SourceSettings)
        intake = Intake(
            hop, contract=contract, cluster=cluster, node="37",
            source=lambda: settings.source(place), requests=requests,
        )  # fmt: skip
        stop = asyncio.Event()
        task = asyncio.create_task(supervise(intake, stop), name="capture")
        yield
        stop.set()
        await task

    for each in range(2_500):
        put(f"37{each:07}", "一")
    put("wrong", "x")
    async with running():
        await until_true(lambda: hop.events == 2_500 and hop.complete)
        put("370000001", "二")
        put("370000002", "", deleted=True)
        await until_true(lambda: hop.events == 2_502)
    put("370000003", "三")
    put("370000001", "", deleted=True)
    async with running():
        await until_true(lambda: hop.events == 2_504)
        before = hop.complete
        await until_true(lambda: hop.complete > before)
    records, _ = await read_all(cluster, contract.name)
    assert len(records) == len(set(ids(records))) == 2_504
    query = "SELECT code, title FROM division WHERE NOT deleted AND code <> 'wrong'"
    assert folded(records) == dict(database.execute(query).fetchall())
    assert hop.rejected == 1
    database.close()
