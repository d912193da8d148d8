"""Imports run one way; one module knows every adapter."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ORDER = {
    "contracts": set(),
    "agents.base": {"contracts"},
    "agents.kafka": {"contracts", "agents.base"},
    "agents.capture": {"contracts", "agents.base", "agents.kafka"},
    "agents.relay": {"contracts", "agents.base", "agents.kafka"},
    "agents.window": {"contracts", "agents.base", "agents.kafka"},
    # What window systems import: it knows a window only by its HTTP.
    "agents.client.testing": {
        "contracts", "agents.base", "agents.kafka", "agents.window", "agents.client",
    },
    "agents.client": {"contracts"},
    "agents.demo": {"contracts", "agents.base", "agents.kafka"},
    "agents.report": {"contracts", "agents.base", "agents.kafka"},
    "agents.sources": {"contracts", "agents.base", "agents.capture"},
    "agents.wiring": {
        "contracts", "agents.base", "agents.kafka", "agents.capture", "agents.relay",
        "agents.window",
    },
    "agents.wiring_kafka": {
        "contracts", "agents.base", "agents.kafka", "agents.relay", "agents.wiring",
    },
    "agents.wiring_leaf": {
        "contracts", "agents.base", "agents.kafka", "agents.capture", "agents.window",
        "agents.wiring",
    },
    "agents.agent": {
        "agents.base", "agents.sources", "agents.wiring", "agents.wiring_kafka",
        "agents.wiring_leaf",
    },
    "agents.plan": {
        "contracts", "agents.base", "agents.kafka", "agents.sources", "agents.wiring",
        "agents.wiring_kafka", "agents.agent",
    },
    "agents.cli": {
        "contracts", "agents.base", "agents.kafka", "agents.capture", "agents.window",
        "agents.sources", "agents.agent", "agents.demo", "agents.report",
        "agents.plan",
    },
}  # fmt: skip
#: Libraries by the one layer that may know them.
OUTSIDE = {
    "aiokafka": {"agents.kafka", "agents.capture", "agents.demo"},
    "psycopg": {"agents.capture", "agents.window", "agents.demo"},
    "aiomqtt": {"agents.base", "agents.capture", "agents.window"},
    "sqlite3": {
        "agents.base",
        "agents.capture",
        "agents.relay",
        "agents.window",
        "agents.cli",
        "agents.report",
    },
    "aiohttp": {
        "agents.base",
        "agents.capture",
        "agents.window",
        "agents.client",
        "agents.client.testing",
        "agents.demo",
    },
    "asyncio": set(ORDER) - {"contracts"},
    "socket": {"agents.base", "agents.kafka", "agents.window", "agents.demo"},
    "faker": {"agents.demo"},
    "opentelemetry": {"agents.base"},
}
#: In these, aiokafka is only the partitioner and an independent client.
AIOKAFKA_OUTSIDE_KAFKA = {"agents/capture/entry.py", "agents/demo/proof.py"}


def layer_of(module: str) -> str | None:
    return next(
        (layer for layer in ORDER if module == layer or module.startswith(layer + ".")), None
    )


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module or "")
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


SOURCES = [
    path.relative_to(ROOT)
    for package in ("contracts", "agents")
    for path in sorted((ROOT / package).rglob("*.py"))
]


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_a_module_imports_only_what_lies_before_it(path: Path) -> None:
    layer = layer_of(".".join(path.with_suffix("").parts))
    if layer is None:
        assert path.name == "__init__.py"
        return
    for name in imports(ROOT / path):
        other = layer_of(name)
        assert other in (None, layer) or other in ORDER[layer], f"{path} imports {name}"
        package = name.partition(".")[0]
        assert package not in OUTSIDE or layer in OUTSIDE[package], f"{path} imports {name}"
        if package == "aiokafka" and layer != "agents.kafka":
            assert path.as_posix() in AIOKAFKA_OUTSIDE_KAFKA, f"{path} imports {name}"


def test_only_these_modules_reach_inside_aiokafka() -> None:
    inside = [
        path.as_posix()
        for path in SOURCES
        if any(
            name.startswith(("aiokafka.client", "aiokafka.protocol", "aiokafka.producer"))
            for name in imports(ROOT / path)
        )
    ]
    # What the client has no calls for: rights, what is said about data, and the line it goes over.
    assert inside == [
        "agents/kafka/acls.py",
        "agents/kafka/messages.py",
        "agents/kafka/wire.py",
    ]
