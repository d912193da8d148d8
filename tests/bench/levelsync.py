"""levelsync's agent as a process of ours: `levelsync run` over a node file with one source."""

from collections.abc import Mapping
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
contract = "{contract}"
{source}
"""


class Agent(AgentProcess):
    """Captures ``contract`` from ``source``, the rest of that table in TOML, as any agent does: nothing is
    set for the bench."""

    def __init__(
        self,
        folder: Path,
        bootstrap: str,
        contract: str,
        source: str,
        env: Mapping[str, str] | None = None,
    ) -> None:
        listen = f"127.0.0.1:{free_ports(1)[0]}"
        folder.mkdir(parents=True, exist_ok=True)
        node = folder / "node.toml"
        node.write_text(
            _NODE.format(
                listen=listen, state=folder / "state", bootstrap=bootstrap, contract=contract,
                source=source,
            )
        )  # fmt: skip
        super().__init__(node, folder, listen, env)


class Levelsync(Agent):
    """Captures the table of residents at ``dsn``."""

    topic = CONTRACT.name

    def __init__(self, folder: Path, bootstrap: str, dsn: str) -> None:
        source = f'kind = "postgres"\ndsn = "${{BENCH_DSN}}"\ntable = "{TABLE}"'
        super().__init__(folder, bootstrap, CONTRACT.name, source, {"BENCH_DSN": dsn})
        self.name = "levelsync"
