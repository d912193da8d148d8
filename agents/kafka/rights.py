"""The least rights on one Kafka cluster of everybody who works there: this node's agent, the departments
beside it, its children, and window systems that read Kafka themselves. Worked out from node files alone.

Kafka has Read and Write imply Describe. Idempotent writing needs no right of its own since Kafka 2.8.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from agents.base.config import Grant, NodeFile, department_of, is_below, is_beside
from agents.base.tls import subject_of
from agents.kafka.audit import TOPIC as AUDIT
from agents.kafka.grants import TOPIC as GRANTS
from agents.kafka.topics import CONTRACTS_TOPIC, dead, own, received, view
from contracts.model import Contract

TOPIC, WRITER = "topic", "transactional-id"
#: Who fills a topic from a source also reads its end back, and looks what it takes.
FILLS = ("Create", "DescribeConfigs", "Read", "Write")
#: A copy grows with its upstream.
COPIES = ("Alter", *FILLS)
READS = ("Read",)


class Right(msgspec.Struct, frozen=True, order=True):
    """One access control entry: ``principal`` may do ``operation`` with the ``kind`` of resource called
    ``name``; with ``prefixed`` all whose names begin so."""

    principal: str
    kind: str
    name: str
    prefixed: bool
    operation: str


class Need(msgspec.Struct, frozen=True, order=True):
    """What ``who``, a node or a user, needs on one resource, and what for."""

    who: str
    principal: str
    kind: str
    name: str
    prefixed: bool
    operations: tuple[str, ...]
    why: str

    @property
    def rights(self) -> Iterator[Right]:
        for operation in self.operations:
            yield Right(self.principal, self.kind, self.name, self.prefixed, operation)


def principal_of(config: NodeFile, *, above: bool = False) -> str:
    """What brokers call the agent of ``config`` on its own cluster, or on its parent's, by its file: the
    user it logs in as, the subject of its certificate; without either the node's id."""
    reach = config.parent if above else config.nearest
    assert reach
    if reach.principal:
        return reach.principal
    name = ""
    if reach.sasl:
        name = reach.sasl.user or reach.sasl.client
    elif reach.tls and reach.tls.certificate.name:
        with contextlib.suppress(OSError, ValueError):
            name = subject_of(reach.tls.certificate)
    return f"User:{name or config.node.id}"


def above(
    config: NodeFile,
    principals: Mapping[str, str] | None = None,
    told: Mapping[str, str] | None = None,
) -> list["Need"]:
    """What the agent of ``config`` needs on its parent's cluster. ``told`` are the topics, by contract,
    in which the parent says that it gives what is pulled; where that is not known the views are meant."""
    assert config.parent
    name = (principals or {}).get(config.node.id) or principal_of(config, above=True)
    may = _Maker(config.node.id, name)
    found = [*may.neighbour(), *may.pushes(config)]
    found += [
        may.topic(topic, READS, f"pulls {name}")
        for name in config.parent.pull
        if (topic := view(name, config.node.id) if told is None else told.get(name, ""))
    ]
    return _merged(found)


class Cluster:
    """Everybody who works on the cluster of ``home``, as the node files tell. ``others`` are those of its
    children and of the departments beside it; ``principals`` wins over what their files say.

    ``unknown`` are children that are granted something, but whose files are not here: what they push is
    not known, and neither whether it makes a view upwards needed. With ``certain`` that one is left out.
    """

    def __init__(
        self,
        home: NodeFile,
        others: Iterable[NodeFile],
        contracts: Mapping[str, Contract],
        principals: Mapping[str, str] | None = None,
        *,
        certain: bool = False,
    ) -> None:
        self._contracts, self._certain = contracts, certain
        self._principals = dict(principals or {})
        others = list(others)
        place = home.node.id
        self._nodes = [home] + [each for each in others if is_beside(each.node.id, place)]
        names = {each.node.id for each in self._nodes}
        self._children = [
            each
            for each in others
            if each.node.id not in names and each.parent and each.parent.id in names
        ]
        #: Node files that have nothing to do with this cluster.
        self.strangers = [
            each.node.id
            for each in others
            if each not in self._nodes and each not in self._children
        ]
        known = names | {each.node.id for each in self._children}
        granted = {grant.to for each in self._nodes for grant in each.grant}
        self.unknown = sorted(granted - known)

    def needs(self, windows: Mapping[str, Sequence[str]] | None = None) -> list[Need]:
        """Every need, by who has it; ``windows`` are further users and the contracts each of them reads
        at this node."""
        found: list[Need] = []
        for each in self._nodes:
            found += self._agent(each)
        for child in self._children:
            found += self._child(child)
        for name in self.unknown:
            found += self._given(name, self._principal(name))
        for user, names in (windows or {}).items():
            principal = user if user.startswith("User:") else f"User:{user}"
            for name in names:
                for topic in sorted(self._sources(self._nodes[0], name)):
                    why = f"reads {name} itself"
                    found.append(Need(user, principal, TOPIC, topic, False, READS, why))
        return _merged(found)

    def _principal(self, node: str, config: NodeFile | None = None, *, above: bool = False) -> str:
        if node in self._principals:
            found = self._principals[node]
            return found if found.startswith("User:") else f"User:{found}"
        return principal_of(config, above=above) if config else f"User:{node}"

    # ---- this node's agent, and those of departments -------------------------------------------------

    def _agent(self, config: NodeFile) -> Iterator[Need]:
        node = config.node.id
        may = _Maker(node, self._principal(node, config))
        yield may.topic(
            CONTRACTS_TOPIC, ("Create", "Read", "Write"), "contracts that were published"
        )
        yield may.topic(GRANTS, ("Create", "Read", "Write"), "who is given what")
        yield may.topic(AUDIT.name, ("Create", "Write"), "events about promises")
        for source in config.source:
            yield from may.filled(self._own(source.contract, node), source.contract)
            for name in source.also:
                yield from may.copied(name, f"levelsync-{node}-{name}", f"{name}, by the step")
        for grant in config.grant:
            if topic := self._view(config, grant):
                yield from may.copied(topic, f"levelsync-{topic}", f"the view of {grant.to}")
        parent = config.parent
        if parent and config.kafka:
            for name in parent.pull:
                topic = received(name, parent.id)
                yield from may.copied(topic, f"levelsync-{topic}", f"the link from {parent.id}")
            for name in parent.push:
                yield from self._upward(config, name, may)
        for name in sorted(self._known()):
            for topic in sorted(self._sources(config, name)):
                yield may.topic(topic, READS, f"{name} as this node holds it")

    def _upward(self, config: NodeFile, name: str, may: "_Maker") -> Iterator[Need]:
        assert config.parent
        parent = config.parent.id
        sources = self._sources(config, name, without=parent)
        reduced = name == "correction.v1" and config.corrections and config.owned
        below = not self._certain and any(is_below(each, config.node.id) for each in self.unknown)
        if len(sources) > 1 or reduced or below:
            topic = view(name, parent)
            yield from may.copied(topic, f"levelsync-{topic}", f"the view of {parent}")
        letters = dead(received(name, config.node.id))
        yield from may.letters(letters, f"the link to {parent}")

    def _known(self) -> set[str]:
        """Every contract the files speak of."""
        return {
            name for each in (*self._nodes, *self._children) for name in each.named | each.owned
        }

    def _own(self, name: str, node: str) -> str:
        contract = self._contracts.get(name)
        return own(contract, node) if contract else name

    def _sources(self, config: NodeFile, name: str, *, without: str = "") -> set[str]:
        """The topics of a contract that a node holds here, but for what came from ``without``."""
        node, found = config.node.id, set()
        if name in config.owned:
            found.add(self._own(name, node))
        parent = config.parent
        if parent and config.kafka and name in parent.pull and parent.id != without:
            found.add(received(name, parent.id))
        for child in self._children:
            below = is_below(child.node.id, node)
            if below and child.parent and name in child.parent.push and child.node.id != without:
                found.add(received(name, child.node.id))
        contract = self._contracts.get(name)
        for other in self._nodes:
            if other.node.id in (node, without):
                continue
            every = contract is not None and contract.level == "every"
            if every and not department_of(node) and name in other.owned:
                found.add(self._own(name, other.node.id))
            for grant in other.grant:
                if grant.contract == name and grant.to == node:
                    found.add(self._given_in(other, grant))
        return found - {""}

    # ---- what is given -------------------------------------------------------------------------------

    def _view(self, config: NodeFile, grant: Grant) -> str:
        """The view that a grant is given in; empty where it needs none."""
        whole = grant.scope == "0" and not (grant.where or grant.fields or grant.mask)
        if whole and len(self._sources(config, grant.contract, without=grant.to)) <= 1:
            return ""
        return view(grant.contract, grant.to)

    def _given_in(self, config: NodeFile, grant: Grant) -> str:
        found = self._view(config, grant)
        if found:
            return found
        return next(iter(self._sources(config, grant.contract, without=grant.to)), "")

    def _given(self, to: str, principal: str) -> Iterator[Need]:
        """What a child, or a node beside us that has no file here, needs to have what it is granted."""
        may = _Maker(to, principal)
        yield from may.neighbour()
        for config in self._nodes:
            for grant in config.grant:
                if grant.to == to and (topic := self._given_in(config, grant)):
                    yield may.topic(topic, READS, f"{grant.contract}: {grant.purpose}")

    def _child(self, config: NodeFile) -> Iterator[Need]:
        node = config.node.id
        principal = self._principal(node, config, above=True)
        yield from self._given(node, principal)
        yield from _Maker(node, principal).pushes(config)


class _Maker(msgspec.Struct, frozen=True):
    who: str
    principal: str

    def topic(self, name: str, operations: tuple[str, ...], why: str) -> Need:
        return Need(self.who, self.principal, TOPIC, name, False, operations, why)

    def writer(self, name: str, why: str, *, prefixed: bool = False) -> Need:
        return Need(self.who, self.principal, WRITER, name, prefixed, ("Write",), why)

    def filled(self, topic: str, contract: str) -> Iterator[Need]:
        """A topic and its letters, by a source."""
        yield self.topic(topic, FILLS, f"publishes {contract}")
        yield self.topic(dead(topic), FILLS, f"what is refused of {contract}")
        yield self.writer(f"levelsync-{self.who}-{contract}", f"publishes {contract}")

    def copied(self, topic: str, writer: str, why: str) -> Iterator[Need]:
        """A topic and its letters, by a link, a view or a step."""
        yield self.topic(topic, COPIES, why)
        yield self.writer(writer, why)
        yield from self.letters(dead(topic), why)

    def neighbour(self) -> Iterator[Need]:
        """What everybody needs who is given something."""
        yield self.topic(GRANTS, READS, "what it is given")
        yield self.topic(CONTRACTS_TOPIC, READS, "contracts that were published")

    def pushes(self, config: NodeFile) -> Iterator[Need]:
        """What a child needs for what it pushes."""
        names = config.parent.push if config.parent else ()
        if names:
            yield self.topic(CONTRACTS_TOPIC, ("Create", "Write"), "contracts that were published")
        for name in names:
            topic = received(name, self.who)
            if config.kafka:
                yield self.topic(topic, COPIES, f"pushes {name}")
                yield self.writer(f"levelsync-{topic}", f"pushes {name}")
            else:
                yield from self.filled(topic, name)

    def letters(self, topic: str, why: str) -> Iterator[Need]:
        yield self.topic(topic, COPIES, f"{why}: what is refused")
        yield self.writer(f"levelsync-{topic}-", f"{why}: what is refused", prefixed=True)


def _merged(needs: Iterable[Need]) -> list[Need]:
    """Those of one resource together, under the first reason."""
    found: dict[tuple[str, str, str, str, bool], Need] = {}
    for need in needs:
        key = (need.who, need.principal, need.kind, need.name, need.prefixed)
        before = found.get(key)
        operations = {*need.operations, *(before.operations if before else ())}
        found[key] = msgspec.structs.replace(before or need, operations=tuple(sorted(operations)))
    return list(found.values())


# ---- as Kafka's own tool takes it ----------------------------------------------------------------


def command(need: Need, bootstrap: str, config: str = "admin.properties") -> str:
    """The call of ``kafka-acls.sh`` that gives it."""
    operations = " ".join(f"--operation {each}" for each in need.operations)
    pattern = " --resource-pattern-type prefixed" if need.prefixed else ""
    return (
        f"kafka-acls.sh --bootstrap-server {bootstrap} --command-config {config} --add"
        f" --allow-principal '{need.principal}' {operations} --{need.kind} '{need.name}'{pattern}"
    )


def covers(have: Right, need: Right) -> bool:
    """Does one entry that allows something give what is needed?"""
    named = (
        need.name.startswith(have.name)
        if have.prefixed
        else have.name == "*" or (have.name == need.name and not need.prefixed)
    )
    return (
        have.principal in (need.principal, "User:*")
        and have.kind == need.kind
        and named
        and have.operation in (need.operation, "All")
    )
