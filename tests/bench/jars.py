"""The peers' jars, fetched by Maven the first time."""

import subprocess
from pathlib import Path

from agents.demo.servers import NotInstalled

ROOT = Path(__file__).parents[2]


def fetched(peer: str, what: str) -> Path:
    """The folder with the jars of ``deploy/kafka/PEER/pom.xml``. Raises NotInstalled."""
    pom = ROOT / "deploy" / "kafka" / peer / "pom.xml"
    libs = ROOT / ".cache" / peer / "libs"
    stamp = libs.with_name("pom.xml")
    wanted = pom.read_text()
    if not stamp.exists() or stamp.read_text() != wanted:
        libs.mkdir(parents=True, exist_ok=True)
        for jar in libs.glob("*.jar"):
            jar.unlink()
        try:
            subprocess.run(
                [
                    "mvn", "-q", "-B", "-f", str(pom), "dependency:copy-dependencies",
                    f"-DoutputDirectory={libs}",
                ],
                stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True, timeout=900,
            )  # fmt: skip
        except FileNotFoundError:
            raise NotInstalled(
                "Expected `mvn` on the path, found none.", do="deploy/setup"
            ) from None
        except subprocess.CalledProcessError as error:
            raise NotInstalled(f"Maven cannot fetch {what}:\n{error.stdout}") from None
        stamp.write_text(wanted)
    return libs
