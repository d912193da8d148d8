"""The node file: one TOML file says everything about one agent.

Unknown fields are refused, defaults stand beside their field, and a wrong file is answered with the
file, the dotted path, what was expected and what was found. Secrets come from the environment
(``${NAME}``) or from a file (``${file:/path}``) and never print.
"""

import os
import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec

from agents.base.errors import ConfigError
from contracts.identifiers import level_of
from contracts.model import Contract, Level
from contracts.subjects import CONTRACTS


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class Node(_Table, frozen=True):
    #: Division code prefix, ``370102``; a department adds its name, ``3701-housing``.
    id: str
    name: str
    level: Level

    @property
    def scope(self) -> str:
        """The division code whose records belong here."""
        return scope_of(self.id)


class Agent(_Table, frozen=True):
    #: Where /healthz, /readyz, /status and /metrics answer.
    listen: str = "127.0.0.1:8600"
    #: Folder for what the agent may lose but would rather keep.
    state: Path = Path("state")


class Kafka(_Table, frozen=True):
    bootstrap: str
    #: Copies of each partition; three in production.
    replicas: int = 1


class Parent(_Table, frozen=True):
    id: str
    bootstrap: str
    replicas: int = 1
    #: Contracts to pull down from the parent, and to push up to it.
    pull: tuple[str, ...] = ()
    push: tuple[str, ...] = ()

    @property
    def kafka(self) -> Kafka:
        return Kafka(bootstrap=self.bootstrap, replicas=self.replicas)


class PostgresTable(_Table, frozen=True, tag="postgres", tag_field="kind"):
    contract: str
    dsn: str
    table: str
    #: Contract field = column, where the two names differ.
    columns: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"PostgresTable(contract={self.contract!r}, table={self.table!r}, dsn=…)"


class Grant(_Table, frozen=True):
    contract: str
    to: str
    purpose: str


class Window(_Table, frozen=True):
    listen: str = "127.0.0.1:8700"


class NodeFile(_Table, frozen=True):
    node: Node
    kafka: Kafka
    agent: Agent = Agent()
    parent: Parent | None = None
    source: tuple[PostgresTable, ...] = ()
    grant: tuple[Grant, ...] = ()
    window: Window | None = None


def scope_of(node: str) -> str:
    """``3701-housing`` → ``3701``."""
    return node.partition("-")[0]


def load(path: Path) -> NodeFile:
    """Read and check a node file. Raises :class:`ConfigError` with file, path and what is wrong."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as wrong:
        raise ConfigError(f"{path}: expected a readable node file in UTF-8, got {wrong}") from None
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as wrong:
        raise ConfigError(f"{path}: expected TOML, got {wrong}") from None
    try:
        config = msgspec.convert(_filled(raw, "$"), NodeFile, dec_hook=_path)
        _validate(config)
    except (msgspec.ValidationError, _Wrong) as wrong:
        raise ConfigError(f"{path}: {_dotted(str(wrong))}") from None
    if not config.agent.state.is_absolute():
        agent = msgspec.structs.replace(config.agent, state=path.parent / config.agent.state)
        config = msgspec.structs.replace(config, agent=agent)
    return config


def _path(kind: type, value: Any) -> Path:
    if kind is not Path or not isinstance(value, str):
        raise TypeError(f"Expected `str`, got `{type(value).__name__}`")
    return Path(value)


class _Wrong(ValueError):
    def __init__(self, expected: str, found: str, path: str) -> None:
        super().__init__(f"Expected {expected}, got {found} - at `$.{path}`")


def _validate(config: NodeFile) -> None:
    node = config.node
    try:
        level = level_of(node.scope)
    except ValueError:
        raise _Wrong("a division code such as `370102`", f"`{node.id}`", "node.id") from None
    if level != node.level:
        raise _Wrong(f"`{level}`, the level of `{node.scope}`", f"`{node.level}`", "node.level")
    _address(config.kafka.bootstrap, "kafka.bootstrap", several=True)
    _address(config.agent.listen, "agent.listen")
    if config.window:
        _address(config.window.listen, "window.listen")
        if config.window.listen == config.agent.listen:
            raise _Wrong("an address of its own", f"`{config.window.listen}`", "window.listen")
    if config.parent:
        _parent(config.parent, node)
    owned: set[str] = set()
    for index, source in enumerate(config.source):
        path = f"source[{index}]"
        contract = _contract(source.contract, f"{path}.contract")
        if contract.level != node.level:
            raise _Wrong(
                f"a node of level `{contract.level}`, which owns `{contract.name}`",
                f"`{node.level}`",
                f"{path}.contract",
            )
        if source.contract in owned:
            raise _Wrong("one source a contract", f"another for `{contract.name}`", path)
        owned.add(source.contract)
        if source.table.count(".") != 1:
            raise _Wrong("`schema.table`", f"`{source.table}`", f"{path}.table")
        fields = contract.record.__struct_fields__
        for field in source.columns:
            if field not in fields:
                raise _Wrong(
                    f"a field of `{contract.name}` ({', '.join(fields)})",
                    f"`{field}`",
                    f"{path}.columns",
                )
    granted: set[tuple[str, str]] = set()
    for index, grant in enumerate(config.grant):
        path = f"grant[{index}]"
        _contract(grant.contract, f"{path}.contract")
        if not is_below(grant.to, node.id):
            raise _Wrong(f"a node below `{node.id}`", f"`{grant.to}`", f"{path}.to")
        if (grant.contract, grant.to) in granted:
            raise _Wrong("one grant a contract and child", "the same again", path)
        granted.add((grant.contract, grant.to))


def _parent(parent: Parent, node: Node) -> None:
    if not is_below(node.id, parent.id):
        raise _Wrong(f"a node above `{node.id}`", f"`{parent.id}`", "parent.id")
    _address(parent.bootstrap, "parent.bootstrap", several=True)
    for way in ("pull", "push"):
        names: tuple[str, ...] = getattr(parent, way)
        for index, name in enumerate(names):
            _contract(name, f"parent.{way}[{index}]")
        if len(set(names)) != len(names):
            raise _Wrong("each contract once", f"{list(names)}", f"parent.{way}")
    both = sorted(set(parent.pull) & set(parent.push))
    if both:
        raise _Wrong("a contract to go one way", f"`{both[0]}` in pull and push", "parent.push")


def is_below(node: str, above: str) -> bool:
    """Is ``node`` a node under ``above``?"""
    inner, outer = scope_of(node), scope_of(above)
    return inner != outer and (outer == "0" or inner.startswith(outer))


def _contract(name: str, path: str) -> Contract:
    try:
        return CONTRACTS[name]
    except KeyError:
        raise _Wrong(f"one of {', '.join(CONTRACTS)}", f"`{name}`", path) from None


def _address(text: str, path: str, *, several: bool = False) -> None:
    for part in text.split(",") if several else [text]:
        host, _, port = part.strip().rpartition(":")
        if not host or not port.isdigit() or not 0 < int(port) < 65536:
            raise _Wrong("`host:port`", f"`{text}`", path)


_REFERENCE = re.compile(r"\$\{([^}]*)\}")


def _filled(value: Any, path: str) -> Any:
    """``value`` with every ``${…}`` replaced."""
    if isinstance(value, dict):
        return {key: _filled(inner, f"{path}.{key}") for key, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, f"{path}[{index}]") for index, inner in enumerate(value)]
    if isinstance(value, str):
        return _REFERENCE.sub(lambda match: _secret(match[1], path.removeprefix("$.")), value)
    return value


def _secret(name: str, path: str) -> str:
    if name.startswith("file:"):
        try:
            return Path(name.removeprefix("file:")).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as wrong:
            raise _Wrong(f"a readable file for `${{{name}}}`", str(wrong), path) from None
    try:
        return os.environ[name]
    except KeyError:
        raise _Wrong(f"the environment variable `{name}`", "none", path) from None


def _dotted(message: str) -> str:
    return message.replace("`$.", "`").replace(" - at ", ", at ")
