"""MirrorMaker 2 as a process of ours: dedicated mode, exactly once, one topic."""

import string
from collections.abc import Sequence
from pathlib import Path

from agents.demo.servers import Server, free_ports
from tests.bench.jars import fetched

_TEMPLATE = Path(__file__).with_name("mirror.properties")

HEAP_MB = 1024
#: As Kafka's own scripts start it, bin/kafka-run-class.sh.
JAVA: Sequence[str] = (
    "java",
    f"-Xmx{HEAP_MB}m",
    "-server",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
    "-Djava.awt.headless=true",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
)


def libs() -> Path:
    """MirrorMaker 2's jars. Raises NotInstalled."""
    return fetched("mirror", "MirrorMaker 2")


class MirrorMaker(Server):
    """Copies ``topic`` from cluster ``up`` to ``target`` on cluster ``down``."""

    name = "mirrormaker2"

    def __init__(
        self, folder: Path, up: str, down: str, topic: str, partitions: int, compression: str
    ) -> None:
        super().__init__("mirrormaker2", folder)
        self._values = {
            "up": up,
            "down": down,
            "topic_name": topic,
            "topic": topic.replace(".", "\\\\."),
            "partitions": str(partitions),
            "compression": compression,
        }

    @staticmethod
    def target(topic: str) -> str:
        """What MirrorMaker 2 calls the copy."""
        return f"up.{topic}"

    def start(self) -> None:
        """Begin; what it copies shows that it has started."""
        (port,) = free_ports(1)
        self.folder.mkdir(parents=True, exist_ok=True)
        settings = self.folder / "mirror.properties"
        template = string.Template(_TEMPLATE.read_text())
        settings.write_text(template.safe_substitute(self._values, port=port))
        self._spawn(
            [*JAVA, "-cp", f"{libs()}/*", "org.apache.kafka.connect.mirror.MirrorMaker",
             str(settings)]
        )  # fmt: skip

    async def stop(self, seconds: float = 0.0) -> None:
        """End it at once: its last transaction is committed, and an orderly end takes seconds."""
        await self.kill()
