"""levelsync's agent as a process of ours: `levelsync run` over a node file with one source."""

from pathlib import Path

from agents.demo.servers import AgentProcess, free_ports
from tests.bench.residents import CONTRACT, TABLE

_NODE = """\
[node]
id = "37"
name = "bench"
level = "province"

[agent]
listen = "{listen}"
state = "{state}"

[kafka]
bootstrap = "{bootstrap}"

[[source]]
kind = "postgres"
contract = "{contract}"
dsn = "${{BENCH_DSN}}"
table = "{table}"
"""


class Levelsync(AgentProcess):
    """Captures the table at ``dsn``, as any agent does: nothing is set for the bench."""

    topic = CONTRACT.name

    def __init__(self, folder: Path, bootstrap: str, dsn: str) -> None:
        (port,) = free_ports(1)
        listen = f"127.0.0.1:{port}"
        folder.mkdir(parents=True, exist_ok=True)
        node = folder / "node.toml"
        node.write_text(
            _NODE.format(
                listen=listen,
                state=folder / "state",
                bootstrap=bootstrap,
                contract=CONTRACT.name,
                table=TABLE,
            )
        )
        super().__init__(node, folder, listen, {"BENCH_DSN": dsn})
        self.name = "levelsync"
