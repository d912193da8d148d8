"""The node file: one TOML file says everything about one agent.

Unknown fields are refused, defaults stand beside their field, and a wrong file is answered with the
file, the dotted path, what was expected and what was found. Secrets stand elsewhere
(:mod:`agents.base.secret`) and never print.
"""

import datetime
import functools
import operator
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import msgspec

from agents.base import leaf, window
from agents.base.errors import ConfigError
from agents.base.kafka_access import Reach, beside, check_reach
from agents.base.secret import filled
from agents.base.table import (
    Table,
    Wrong,
    check_address,
    check_contract,
    check_token,
    sealed_token,
)
from agents.base.window import Corrections, Window
from contracts.expression import Expression, WrongExpression
from contracts.identifiers import level_of, within
from contracts.model import Contract, Level, Mask
from contracts.signed import public_key

#: Bytes of a record that fit a topic of ours with their headers.
_LARGEST_RECORD = 7 * 1024 * 1024
_SECRET = "[masking] secret, which hashes are keyed by"
CHINA = datetime.timezone(datetime.timedelta(hours=8), "CST")


class Node(Table, frozen=True):
    #: Division code prefix, ``370102``; a department adds its name, ``3701-housing``.
    id: str
    name: str
    level: Level

    @property
    def scope(self) -> str:
        """The division code whose records belong here."""
        return scope_of(self.id)


class Agent(Table, frozen=True):
    #: Where /healthz, /readyz, /status and /metrics answer.
    listen: str = "127.0.0.1:8600"
    #: Folder for what the agent may lose but would rather keep.
    state: Path = Path("state")
    #: The private key this node signs contracts with, a PEM file; ``signing.key`` in ``state`` unless
    #: said otherwise.
    key: Path = Path()
    #: Python files with the bureau's own steps between majors, ``STEPS``; for ``also`` of a source.
    steps: tuple[Path, ...] = ()
    #: ``1/2`` and ``2/2``: two agents of this node on two cores, each with its share of the contracts.
    share: str = "1/1"


class Kafka(Reach, frozen=True):
    """The node's own cluster."""


class Parent(Reach, frozen=True, kw_only=True):
    """The parent, and its cluster as this node reaches it."""

    id: str
    #: Contracts to pull down from the parent, and to push up to it.
    pull: tuple[str, ...] = ()
    push: tuple[str, ...] = ()

    @property
    def kafka(self) -> Kafka:
        return Kafka(
            bootstrap=self.bootstrap, replicas=self.replicas, tls=self.tls, sasl=self.sasl,
            principal=self.principal,
        )  # fmt: skip


class SourceTable(Table, frozen=True, tag_field="kind"):
    """What every ``[[source]]`` has; the kinds there are say more in :mod:`agents.capture`."""

    contract: str
    #: Contract field = what the source calls it, where the two names differ.
    columns: dict[str, str] = {}
    #: Other majors of the subject that are filled from this one, each until the end of the last day it
    #: was published with, China Standard Time.
    also: tuple[str, ...] = ()
    #: The node that published the contract here before this one took it over.
    took_over_from: str = ""

    @property
    def collects(self) -> str:
        """What it reads, in a few words for a person."""
        raise NotImplementedError

    @property
    def implied(self) -> bool:
        """Does it follow from another table, and reads what this very agent keeps?"""
        return False

    @property
    def needs(self) -> str:
        """The table of the node file without which it cannot work, if there is one."""
        return ""

    def beside(self, folder: Path) -> "SourceTable":
        """The same, with what is relative in it seen from ``folder``, where the node file is."""
        return self

    def validate(self) -> None:
        """Raise :class:`Wrong` for the first setting that cannot be, with its path in this table."""

    def fits(self, contract: Contract) -> None:
        """Raise :class:`Wrong` for the first setting that does not fit ``contract``, in the same way."""


class Grant(Table, frozen=True):
    contract: str
    to: str
    #: Why the child may have it: shown to the child, and in every report.
    purpose: str
    #: Rows: whose scope begins with this; the child's own unless said otherwise, ``0`` for every row.
    scope: str = ""
    #: Rows: for which this CEL expression over the record's fields is true.
    where: str = ""
    #: Only these fields; all when left out.
    fields: tuple[str, ...] = ()
    mask: dict[str, Mask] = {}
    #: The last day on which it holds, China Standard Time.
    until: datetime.date | None = None

    def ended(self, now: float) -> bool:
        """Is it over at ``now``, seconds since 1970 UTC?"""
        return self.until is not None and is_over(self.until, now)


def is_over(day: datetime.date, now: float) -> bool:
    """Has ``day`` ended in China by ``now``, seconds since 1970 UTC?"""
    after = datetime.datetime.combine(day + datetime.timedelta(days=1), datetime.time(), CHINA)
    return now >= after.timestamp()


class Masking(Table, frozen=True):
    #: What ``hash`` masks are keyed by: without it nobody can find out what a hash stands for.
    secret: str

    def __repr__(self) -> str:
        return "Masking(secret=…)"


class Sender(Table, frozen=True):
    """A program that may send records, and which; :func:`load` keeps a hash of its token alone."""

    name: str
    #: Its bearer token, at least 16 characters; or ``sha256:`` and the hash of it in hexadecimal.
    token: str
    contracts: tuple[str, ...]
    #: Events a second in the long run; 0 for as many as come.
    rate: int = 2_000

    def __repr__(self) -> str:
        return f"Sender(name={self.name!r}, token=…, contracts={self.contracts!r})"


class IntakeTable(Table, frozen=True):
    """Where programs send records over HTTP, for the sources of kind ``http``."""

    listen: str = "127.0.0.1:8690"
    #: PEM files; with them it speaks TLS alone.
    certificate: Path = Path()
    key: Path = Path()
    sender: tuple[Sender, ...] = ()
    #: Bytes of one record, and of a request's body that is not a stream of lines.
    record_bytes: int = 1024 * 1024
    body_bytes: int = 16 * 1024 * 1024


class NodeFile(Table, frozen=True):
    node: Node
    #: None at a leaf, which has no Kafka of its own.
    kafka: Kafka | None = None
    agent: Agent = Agent()
    parent: Parent | None = None
    source: tuple[SourceTable, ...] = ()
    grant: tuple[Grant, ...] = ()
    masking: Masking | None = None
    window: Window | None = None
    intake: IntakeTable | None = None
    corrections: Corrections | None = None
    #: Public keys of publishers of contracts, by node; see ``levelsync contract publish``.
    trust: dict[str, tuple[str, ...]] = {}
    #: Whose word counts first where several contracts collect the same: a subject or a field of a
    #: person, and the contracts in their order.
    precedence: dict[str, tuple[str, ...]] = {}

    @property
    def nearest(self) -> Kafka:
        """The Kafka this node works with: its own, or at a leaf its parent's."""
        found = self.kafka or (self.parent and self.parent.kafka)
        assert found, "checked when the file was read"
        return found

    @property
    def owned(self) -> frozenset[str]:
        """The contracts that sources here fill."""
        return frozenset(name for source in self.source for name in (source.contract, *source.also))

    @property
    def derived(self) -> frozenset[str]:
        """Those of them that are made from another major."""
        return frozenset(name for source in self.source for name in source.also)

    @property
    def written(self) -> frozenset[str]:
        """Every contract that the file itself names."""
        passing = (*self.parent.pull, *self.parent.push) if self.parent else ()
        sources = [source for source in self.source if not source.implied]
        filled = {name for source in sources for name in (source.contract, *source.also)}
        return frozenset(filled.union(passing, (grant.contract for grant in self.grant)))

    @property
    def named(self) -> frozenset[str]:
        """Every contract the file speaks of."""
        return self.expected | {grant.contract for grant in self.grant}

    @property
    def expected(self) -> frozenset[str]:
        """The contracts this node owns, pulls or pushes."""
        passing = (*self.parent.pull, *self.parent.push) if self.parent else ()
        return self.owned.union(passing)

    def takes(self, contract: str) -> bool:
        """Is ``contract`` in this agent's share? They take turns in the list of all the file names;
        what is not named is the first one's."""
        mine, of = map(int, self.agent.share.split("/"))
        named = self.written
        return (sorted(named).index(contract) if contract in named else 0) % of == mine - 1


def scope_of(node: str) -> str:
    """``3701-housing`` → ``3701``."""
    return node.partition("-")[0]


def department_of(node: str) -> str:
    """``3701-housing`` → ``housing``; empty for the node of the level itself."""
    return node.partition("-")[2]


def load(
    path: Path,
    contracts: Mapping[str, Contract],
    kinds: tuple[type[SourceTable], ...],
    *,
    secrets: bool = True,
) -> NodeFile:
    """Read and check a node file. Raises :class:`ConfigError` with file, path and what is wrong.

    Without ``secrets`` something stands in for those that are not at hand, and what sources say of
    servers and files is not looked at: that is for a file of another's machine.

    ``kinds`` are the kinds of source there are: see :mod:`agents.sources`. What the file says about
    contracts that are not among ``contracts`` is looked at when they are published.
    """
    raw = parsed(path)
    try:
        whole = filled(raw, path, stand_in=not secrets)
        config = msgspec.convert(whole, _with_sources(kinds), dec_hook=_path)
        _validate(config, elsewhere=not secrets)
        if misfit := next(_misfits(config, contracts), None):
            raise misfit
    except (msgspec.ValidationError, Wrong) as wrong:
        raise ConfigError(f"{path}: {_dotted(str(wrong))}") from None
    agent = config.agent
    state = path.parent / agent.state
    key = path.parent / agent.key if agent.key != Path() else state / "signing.key"
    steps = tuple(path.parent / each for each in agent.steps)
    agent = msgspec.structs.replace(agent, state=state, key=key, steps=steps)
    intake = config.intake and _sealed(config.intake, path.parent)
    shown = config.window and window.sealed(config.window, path.parent)
    source = tuple(each.beside(path.parent) for each in config.source)
    kafka = config.kafka and beside(config.kafka, path.parent)
    parent = config.parent and beside(config.parent, path.parent)
    return msgspec.structs.replace(
        config, agent=agent, intake=intake, window=shown, source=source, kafka=kafka, parent=parent
    )


def load_kafka(path: Path) -> Kafka:
    """The table ``[kafka]`` of a file that need have nothing else: an admin's way in. Raises
    ConfigError."""
    raw = parsed(path)
    try:
        if not isinstance(raw.get("kafka"), dict):
            raise Wrong("a table [kafka]", "none", "kafka")
        whole = filled({"kafka": raw["kafka"]}, path)["kafka"]
        found = msgspec.convert(whole, Kafka, dec_hook=_path)
        check_address(found.bootstrap, "kafka.bootstrap", several=True)
        check_reach(found, "kafka")
    except (msgspec.ValidationError, Wrong) as wrong:
        raise ConfigError(f"{path}: {_dotted(str(wrong))}") from None
    return beside(found, path.parent)


def parsed(path: Path) -> dict[str, Any]:
    """The tables of a node file as they are written. Raises :class:`ConfigError`."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as wrong:
        raise ConfigError(f"{path}: expected a readable node file in UTF-8, got {wrong}") from None
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as wrong:
        raise ConfigError(f"{path}: expected TOML, got {wrong}") from None


def structured(raw: Mapping[str, Any], kinds: tuple[type[SourceTable], ...]) -> NodeFile:
    """The tables ``raw`` as they are, without looking at what they say. Raises :class:`ConfigError`."""
    try:
        return msgspec.convert(raw, _with_sources(kinds), dec_hook=_path)
    except msgspec.ValidationError as wrong:
        raise ConfigError(_dotted(str(wrong))) from None


def _sealed(intake: IntakeTable, folder: Path) -> IntakeTable:
    """``intake`` with its files found, and a hash in the place of each token."""
    senders = tuple(
        msgspec.structs.replace(each, token=sealed_token(each.token)) for each in intake.sender
    )
    files = {
        name: folder / file
        for name in ("certificate", "key")
        if (file := getattr(intake, name)) != Path()
    }
    return msgspec.structs.replace(intake, sender=senders, **files)


@functools.cache
def _with_sources(kinds: tuple[type[SourceTable], ...]) -> type[NodeFile]:
    """The node file where each source is one of ``kinds``."""
    one: Any = functools.reduce(operator.or_, kinds)
    made: Any = msgspec.defstruct(
        "NodeFile", [("source", tuple[one, ...], ())],
        bases=(NodeFile,), frozen=True, kw_only=True, forbid_unknown_fields=True,
    )  # fmt: skip
    return cast("type[NodeFile]", made)


def misfits(config: NodeFile, contracts: Mapping[str, Contract]) -> dict[str, str]:
    """What the node file says wrongly about contracts that are known by now, by their names."""
    return {wrong.contract: _dotted(str(wrong)) for wrong in _misfits(config, contracts)}


def _path(kind: type, value: Any) -> Path:
    if kind is not Path or not isinstance(value, str):
        raise TypeError(f"Expected `str`, got `{type(value).__name__}`")
    return Path(value)


def _validate(config: NodeFile, *, elsewhere: bool) -> None:
    node = config.node
    try:
        level = level_of(node.scope)
    except ValueError:
        raise Wrong("a division code such as `370102`", f"`{node.id}`", "node.id") from None
    if level != node.level:
        raise Wrong(f"`{level}`, the level of `{node.scope}`", f"`{node.level}`", "node.level")
    if config.kafka:
        check_address(config.kafka.bootstrap, "kafka.bootstrap", several=True)
        check_reach(config.kafka, "kafka")
    check_address(config.agent.listen, "agent.listen")
    if config.window:
        window.check(config.window, config.agent.listen, node.scope)
        if config.masking is None and (path := next(window.hashed(config.window), None)):
            raise Wrong(_SECRET, "none", path)
    if config.corrections:
        window.check_corrections(config.corrections)
    if config.parent:
        _parent(config.parent, node)
    if config.intake:
        _intake(config.intake, config)
    owned: dict[str, str] = {}
    for index, source in enumerate(config.source):
        path = f"source[{index}]"
        check_contract(source.contract, f"{path}.contract")
        for name in (source.contract, *source.also):
            if name in owned:
                raise Wrong(
                    f"one source for `{name}`, which {owned[name]} fills already",
                    f"another, {source.collects}",
                    path,
                )
            owned[name] = source.collects
        subject = source.contract.rpartition(".v")[0]
        for name in source.also:
            check_contract(name, f"{path}.also")
            if name.rpartition(".v")[0] != subject:
                raise Wrong(f"another major of `{subject}`", f"`{name}`", f"{path}.also")
        if source.needs and getattr(config, source.needs) is None:
            raise Wrong(f"a table [{source.needs}] beside it", "none", path)
        try:
            if not elsewhere:
                source.validate()
        except Wrong as wrong:
            raise Wrong(wrong.expected, wrong.found, f"{path}.{wrong.path}") from None
    granted: set[tuple[str, str]] = set()
    for index, grant in enumerate(config.grant):
        path = f"grant[{index}]"
        _grant(grant, config, path)
        if (grant.contract, grant.to) in granted:
            raise Wrong("one grant a contract and child", "the same again", path)
        granted.add((grant.contract, grant.to))
    for publisher, keys in config.trust.items():
        for key in keys:
            try:
                public_key(key)
            except ValueError:
                raise Wrong(
                    "a public key as `levelsync contract publish` prints it",
                    f"`{key}`",
                    f"trust.{publisher}",
                ) from None
    for what, order in config.precedence.items():
        for name in order:
            check_contract(name, f"precedence.{what}")
    share = re.fullmatch(r"([1-9]\d?)/([1-9]\d?)", config.agent.share)
    if share is None or int(share[1]) > int(share[2]):
        raise Wrong("a share such as `1/2`", f"`{config.agent.share}`", "agent.share")
    if config.kafka is None:
        leaf.check(config)


def _intake(intake: IntakeTable, config: NodeFile) -> None:
    check_address(intake.listen, "intake.listen")
    taken = {config.agent.listen, config.window.listen if config.window else ""}
    if intake.listen in taken:
        raise Wrong("an address of its own", f"`{intake.listen}`", "intake.listen")
    for one, other in (("certificate", "key"), ("key", "certificate")):
        if getattr(intake, one) != Path() and getattr(intake, other) == Path():
            raise Wrong(f"`{other}` beside `{one}`", "none", f"intake.{other}")
    for name, least in (("record_bytes", 1_000), ("body_bytes", 1_000)):
        if not least <= getattr(intake, name) <= 1024**3:
            raise Wrong(
                f"{least} bytes to a gibibyte", f"{getattr(intake, name)}", f"intake.{name}"
            )
    if intake.record_bytes > _LARGEST_RECORD:
        raise Wrong(
            f"at most {_LARGEST_RECORD}, what a topic takes with its headers",
            f"{intake.record_bytes}",
            "intake.record_bytes",
        )
    filled = {source.contract for source in config.source}
    tokens: dict[str, str] = {}
    for index, sender in enumerate(intake.sender):
        path = f"intake.sender[{index}]"
        check_token(sender.name, sender.token, tokens, path)
        if sender.rate < 0:
            raise Wrong("0 or more events a second", f"{sender.rate}", f"{path}.rate")
        for name in sender.contracts:
            check_contract(name, f"{path}.contracts")
            if name not in filled:
                raise Wrong(
                    "a contract that a [[source]] here fills", f"`{name}`", f"{path}.contracts"
                )


def _grant(grant: Grant, config: NodeFile, path: str) -> None:
    node = config.node
    check_contract(grant.contract, f"{path}.contract")
    try:
        level_of(scope_of(grant.to))
    except ValueError:
        raise Wrong("a node such as `370102`", f"`{grant.to}`", f"{path}.to") from None
    if not is_below(grant.to, node.id) and not is_beside(grant.to, node.id):
        raise Wrong(
            f"a node below `{node.id}`, or a department beside it", f"`{grant.to}`", f"{path}.to"
        )
    if not grant.purpose.strip():
        raise Wrong("what the data is for", "nothing", f"{path}.purpose")
    if grant.scope not in ("", "0") and not within(grant.scope, node.scope):
        raise Wrong(
            f"a division within `{node.scope}`, or `0` for every row",
            f"`{grant.scope}`",
            f"{path}.scope",
        )
    if "hash" in grant.mask.values() and config.masking is None:
        raise Wrong(_SECRET, "none", f"{path}.mask")


# ---- what only a contract can say ------------------------------------------------------------


def _misfits(config: NodeFile, contracts: Mapping[str, Contract]) -> Iterator[Wrong]:
    """The first thing wrong with each source and grant whose contract is known."""
    parts = [("source", index, part.contract) for index, part in enumerate(config.source)]
    parts += [("grant", index, part.contract) for index, part in enumerate(config.grant)]
    for kind, index, name in parts:
        if name not in contracts:
            continue
        try:
            if kind == "source":
                _source_fits(config.source[index], contracts[name], config, f"source[{index}]")
            else:
                _grant_fits(config.grant[index], contracts[name], f"grant[{index}]")
        except Wrong as wrong:
            wrong.contract = name
            yield wrong
    if config.window:
        for name, contract in contracts.items():
            for found in window.misfits(config.window, contract):
                found.contract = name
                yield found


def _source_fits(source: SourceTable, contract: Contract, config: NodeFile, path: str) -> None:
    if contract.level not in (config.node.level, "every"):
        raise Wrong(
            f"a node of level `{contract.level}`, which owns `{contract.name}`",
            f"`{config.node.level}`",
            f"{path}.contract",
        )
    fields = contract.field_names
    for field in source.columns:
        if field not in fields:
            raise Wrong(
                f"a field of `{contract.name}` ({', '.join(fields)})",
                f"`{field}`",
                f"{path}.columns",
            )
    try:
        source.fits(contract)
    except Wrong as wrong:
        raise Wrong(wrong.expected, wrong.found, f"{path}.{wrong.path}") from None


def _grant_fits(grant: Grant, contract: Contract, path: str) -> None:
    fields = contract.field_names
    listed = f"a field of `{contract.name}` ({', '.join(fields)})"
    for field in (*grant.fields, *grant.mask):
        if field not in fields:
            where = "fields" if field in grant.fields else "mask"
            raise Wrong(listed, f"`{field}`", f"{path}.{where}")
    for field in (contract.key, contract.scope):
        if grant.fields and field not in grant.fields:
            raise Wrong(
                f"`{field}` too, by which records are found and divided",
                f"{list(grant.fields)}",
                f"{path}.fields",
            )
        if field in grant.mask:
            raise Wrong(
                "no mask on the field by which records are found or divided",
                f"`{field}`",
                f"{path}.mask",
            )
    if grant.where:
        _rule(grant.where, fields, f"{path}.where")


def _rule(expression: str, fields: tuple[str, ...], path: str) -> None:
    try:
        Expression(expression, fields)
    except WrongExpression as wrong:
        raise Wrong(wrong.expected, wrong.found, path) from None


def _parent(parent: Parent, node: Node) -> None:
    if not is_below(node.id, parent.id):
        of = " of the same department as" if department_of(node.id) else ""
        raise Wrong(f"a node above{of} `{node.id}`", f"`{parent.id}`", "parent.id")
    check_address(parent.bootstrap, "parent.bootstrap", several=True)
    check_reach(parent, "parent")
    for way in ("pull", "push"):
        names: tuple[str, ...] = getattr(parent, way)
        for index, name in enumerate(names):
            check_contract(name, f"parent.{way}[{index}]")
        if len(set(names)) != len(names):
            raise Wrong("each contract once", f"{list(names)}", f"parent.{way}")
    both = sorted(set(parent.pull) & set(parent.push))
    if both:
        raise Wrong("a contract to go one way", f"`{both[0]}` in pull and push", "parent.push")


def is_below(node: str, above: str) -> bool:
    """Is ``node`` a node under ``above``, of the same department if of any?"""
    inner, outer = scope_of(node), scope_of(above)
    return (
        department_of(node) == department_of(above)
        and inner != outer
        and (outer == "0" or inner.startswith(outer))
    )


def is_beside(node: str, other: str) -> bool:
    """Are these two nodes of one place, sharing its Kafka?"""
    return node != other and scope_of(node) == scope_of(other)


def is_above_or_at(node: str, other: str) -> bool:
    """Is ``node`` at the place of ``other`` or one above it, of whatever department?"""
    return within(scope_of(other), scope_of(node))


def _dotted(message: str) -> str:
    return message.replace("`$.", "`").replace(" - at ", ", at ")
