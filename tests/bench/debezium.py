"""Debezium in Kafka Connect's standalone mode as a process of ours: one table to one topic."""

import string
from collections.abc import Sequence
from pathlib import Path

import psycopg

from agents.demo.servers import Server, free_ports
from tests.bench.jars import fetched

_HERE = Path(__file__).parent

HEAP_MB = 1024
#: As Kafka's own scripts start Connect, bin/connect-standalone.sh.
JAVA: Sequence[str] = (
    "java",
    "-Xms256m",
    f"-Xmx{HEAP_MB}m",
    "-server",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
    "-Djava.awt.headless=true",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
)

TOPIC = "debezium.population.resident"
_SLOT = "debezium"


def libs() -> Path:
    """Debezium's and Connect's jars. Raises NotInstalled."""
    return fetched("debezium", "Debezium")


class Debezium(Server):
    """Copies the table at ``dsn`` to :data:`TOPIC`."""

    topic = TOPIC

    def __init__(self, folder: Path, bootstrap: str, dsn: str) -> None:
        super().__init__("debezium", folder)
        self._dsn = dsn
        where = psycopg.conninfo.conninfo_to_dict(dsn)
        self._values = {
            "bootstrap": bootstrap,
            "port": str(where["port"]),
            "database": str(where["dbname"]),
            "offsets": str(folder / "debezium.offsets"),
            "queue": "32768",
            "batch": "8192",
            "poll_ms": "5",
        }

    def start(self) -> None:
        """Begin; what it copies shows that it has started."""
        (rest,) = free_ports(1)
        self.folder.mkdir(parents=True, exist_ok=True)
        worker = self._settle("connect.properties", port=str(rest))
        connector = self._settle("debezium.properties")
        self._spawn(
            [*JAVA, "-cp", f"{libs()}/*", "org.apache.kafka.connect.cli.ConnectStandalone",
             str(worker), str(connector)]
        )  # fmt: skip

    def _settle(self, name: str, **more: str) -> Path:
        template = string.Template((_HERE / name).read_text())
        path = self.folder / name
        path.write_text(template.safe_substitute(self._values | more))
        return path

    async def stop(self, seconds: float = 0.0) -> None:
        """End it at once: nothing of it is looked at any more, and an orderly end takes seconds."""
        await self.kill()
