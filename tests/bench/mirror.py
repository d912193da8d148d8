"""MirrorMaker 2 as a process of ours: dedicated mode, exactly once, one topic."""

import string
import subprocess
from collections.abc import Sequence
from pathlib import Path

from agents.demo.servers import NotInstalled, Server, free_ports

ROOT = Path(__file__).parents[2]
_POM = ROOT / "deploy" / "kafka" / "mirror" / "pom.xml"
_LIBS = ROOT / ".cache" / "mirror" / "libs"
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
    """MirrorMaker 2's jars, fetched by Maven the first time. Raises NotInstalled."""
    stamp = _LIBS.with_name("pom.xml")
    wanted = _POM.read_text()
    if not stamp.exists() or stamp.read_text() != wanted:
        _LIBS.mkdir(parents=True, exist_ok=True)
        for jar in _LIBS.glob("*.jar"):
            jar.unlink()
        try:
            subprocess.run(
                [
                    "mvn", "-q", "-B", "-f", str(_POM), "dependency:copy-dependencies",
                    f"-DoutputDirectory={_LIBS}",
                ],
                stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True, timeout=900,
            )  # fmt: skip
        except FileNotFoundError:
            raise NotInstalled(
                "Expected `mvn` on the path, found none.", do="deploy/setup"
            ) from None
        except subprocess.CalledProcessError as error:
            raise NotInstalled(f"Maven cannot fetch MirrorMaker 2:\n{error.stdout}") from None
        stamp.write_text(wanted)
    return _LIBS


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
