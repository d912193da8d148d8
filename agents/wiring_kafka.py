"""What an agent with Kafka of its own has beside :mod:`agents.wiring`: views, links and steps, what it
gives and is given."""

import time
from collections.abc import Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any

from agents.base.config import Grant, NodeFile, department_of, is_over, scope_of
from agents.base.errors import LevelsyncError
from agents.base.run import Job, Part
from agents.base.status import Status
from agents.kafka.audit import KafkaAudit
from agents.kafka.bulletin import Bulletin
from agents.kafka.cluster import Cluster, parent_cluster
from agents.kafka.grants import Announcement, Grants, TopicTaken
from agents.kafka.holdings import Holdings
from agents.kafka.topics import CONTRACTS_TOPIC, data_topic, own, received, view
from agents.kafka.wire import Connection
from agents.kafka.writers import Signatures, writer_of
from agents.relay.relay import Relay
from agents.relay.step import Step, StepFunction
from agents.relay.terms import Rule, Terms, fingerprint
from agents.relay.view import View
from agents.wiring import LINK, VIEW, RefusedPart, Wiring, name_of
from contracts.load import load_steps
from contracts.model import WrongContract
from contracts.subjects import EVERYWHERE, STEPS
from contracts.subjects.correction import CORRECTION


class NoStep(LevelsyncError):
    """There is no step between these two majors."""

    hint = "Write it beside the contract and list it in STEPS, or take `also` out of the source."


class KafkaWiring(Wiring):
    """A node that holds its contracts' topics itself, and gives of them to others."""

    def __init__(self, path: Path, config: NodeFile, seen: Status) -> None:
        super().__init__(path, config, seen)
        parent = config.parent
        self._holdings = Holdings(
            self._here, self._grants, config.node.id, parent.id if parent else None
        )
        self._holdings.everywhere = EVERYWHERE
        self._owns_in(config)
        self._above: Cluster | None = None
        self._published_above: Bulletin | None = None
        if parent:
            self._above = parent_cluster(config, self._here.client)
            self._granted = Grants(self._above)
            self._published_above = Bulletin(self._above, CONTRACTS_TOPIC)

    def _made_audit(self) -> KafkaAudit:
        self._kafka_audit = KafkaAudit(self._here, self.config.node.id)
        return self._kafka_audit

    def beside(self) -> dict[str, Coroutine[Any, Any, None]]:
        """See :meth:`Wiring.beside`."""
        tasks = super().beside()
        tasks["watch-topics"] = self._holdings.run()
        tasks["audit"] = self._kafka_audit.run()
        self._seen.troubles["levelsync.audit"] = lambda: self._kafka_audit.trouble.why
        if self._granted and self._published_above:
            for bulletin in (self._granted.bulletin, self._published_above):
                self._watch(bulletin, " above")
            tasks["grants-above"] = self._granted.bulletin.run()
            tasks["contracts-above"] = self._published_above.run()
        return tasks

    async def look_once(self) -> None:
        """See :meth:`Wiring.look_once`."""
        await super().look_once()
        if self._granted:
            await self._granted.bulletin.read_once()
            self._granted.bulletin.known = True
        async with Connection(self._here) as connection:
            self._holdings.see(await connection.topics())

    def sources_of(self, job: str) -> frozenset[str]:
        """The topics here that a view, named as a job, is filled from."""
        kind, contract, *to = job.split(" ")
        if kind == "step":
            return next(
                (
                    frozenset({each.contract})
                    for each in self.config.source
                    if contract in each.also
                ),
                frozenset(),
            )
        return self._holdings.held(contract, without=to[0] if to else None)

    def upstream_of(self, contract: str) -> str:
        """The topic in which the parent gives a contract; empty while it does not."""
        parent = self.config.parent
        if parent is None or self._granted is None:
            return ""
        told = self._granted.find(contract, parent.id, self.config.node.id)
        return told.topic if told else ""

    def use(self, config: NodeFile) -> None:
        """See :meth:`Wiring.use`."""
        super().use(config)
        if self._above and config.parent:
            self._above.access.use(config.parent)
        self._owns_in(config)

    def _owns_in(self, config: NodeFile) -> None:
        """Note which topics of its own the node holds. What every node tells of itself is in a topic of
        that name at the node of a level alone."""
        self._holdings.owns = config.owned - EVERYWHERE
        if not department_of(config.node.id):
            self._holdings.owns |= EVERYWHERE

    def learn(self) -> None:
        """As :meth:`Wiring.learn`, and pass on what was taken: down by publishing it here, up what this
        node and those below define of what it pushes."""
        super().learn()
        self._published.post(self._known.taken)
        if self._published_above and self.config.parent:
            pushed = self.config.parent.push
            self._published_above.post(
                {
                    key: raw
                    for key, raw in self._known.from_here_or_below.items()
                    if name_of(key) in pushed
                }
            )

    def _bulletins(self) -> Sequence[Bulletin]:
        above = self._published_above
        return (self._published, above) if above else (self._published,)

    def _passing(self, jobs: dict[str, Job]) -> list[Announcement] | None:
        told: list[Announcement] | None = None
        jobs.update(self._steps())
        if self._holdings.known and self._grants.known:
            told = []
            for given in self._given():
                topic, job = self._give(given)
                told.append(self._announcement(given, topic))
                jobs.update(job)
            jobs.update(self._pushes())
        jobs.update(self._pulls())
        return told

    def _held(self, name: str) -> frozenset[str]:
        return self._holdings.held(name)

    def _published_in(self, name: str) -> str:
        return own(self._known.contracts[name], self.config.node.id)

    # ---- other majors --------------------------------------------------------------------------

    def _steps(self) -> Iterator[tuple[str, Job]]:
        """Other majors of a subject we own, filled from the one that has a source until their sunset."""
        now = time.time()
        for table in self.config.source:
            for name in table.also:
                sunset = self._known.sunsets.get(name)
                ended = sunset is not None and is_over(sunset, now)
                if ended and not self._holdings.exists(name):
                    continue
                yield f"step {name}", self._step(table.contract, name, ended=ended)

    def _step(self, source: str, name: str, *, ended: bool) -> Job:
        known, resync = self._known.contracts, self.resync.get(name, 0)

        def make() -> Part:
            hop = self._seen.hop("view", name, source, name)
            try:
                function = self._step_functions().get((source, name))
            except WrongContract as error:
                return RefusedPart(hop, NoStep(str(error)))
            if function is None:
                return RefusedPart(hop, NoStep(source=source, into=name))

            def stepped() -> View:
                step = Step(
                    function,
                    source=known[source],
                    into=known[name],
                    ended=ended,
                )
                return View(name, step, self._folder("views") / f"{name}.sqlite")

            return Relay(
                hop,
                upstream=self._here,
                downstream=self._here,
                sources=lambda: frozenset({source}),
                target=data_topic(known[name], name),
                identity=f"levelsync-{self.config.node.id}-{name}",
                state=self._folder("views"),
                view=stepped,
                ended=ended,
                resync=resync,
                signer=self._signer,
                signatures=self._signatures(),
            )

        return Job(
            VIEW, (ended, resync, known.get(source), known.get(name), self.config.agent.steps), make
        )

    def _step_functions(self) -> dict[tuple[str, str], StepFunction]:
        """Those installed and the bureau's own."""
        functions = dict(STEPS)
        for file in self.config.agent.steps:
            functions |= load_steps(str(file))
        return functions

    # ---- giving ------------------------------------------------------------------------------

    def _given(self) -> list[tuple[Grant, Terms]]:
        """Every grant of the node file, and as ended what was granted before and is not any more."""
        config, now = self.config, time.time()
        given = [(grant, self._terms(grant, now)) for grant in config.grant]
        named = {(grant.contract, grant.to) for grant in config.grant}
        for told in self._grants.by(config.node.id):
            if (told.contract, told.to) not in named and told.contract in self._known.contracts:
                grant = Grant(contract=told.contract, to=told.to, purpose=told.purpose)
                given.append((grant, Terms(ended=True)))
        return given

    def _terms(self, grant: Grant, now: float) -> Terms:
        if grant.ended(now):
            return Terms(ended=True)
        secret = self.config.masking.secret if self.config.masking else ""
        return Terms(
            scope=grant.scope or scope_of(grant.to),
            where=grant.where,
            fields=grant.fields,
            mask=grant.mask,
            key=fingerprint(secret) if "hash" in grant.mask.values() else "",
        )

    def _give(self, given: tuple[Grant, Terms]) -> tuple[str, dict[str, Job]]:
        """The topic in which a grant is given, and the view that fills it if one is needed."""
        grant, terms = given
        sources = self._holdings.held(grant.contract, without=grant.to)
        topic = view(grant.contract, grant.to)
        if terms.everything and len(sources) <= 1:
            return next(iter(sources), ""), {}
        if terms.ended and not self._holdings.exists(topic):
            return "", {}
        job = {f"view {grant.contract} {grant.to}": self._view(grant.contract, grant.to, terms)}
        taken = self._grants.filled_by_another(topic, self.config.node.id)
        return "" if taken else topic, job

    def _view(self, name: str, to: str, terms: Terms) -> Job:
        topic, resync = view(name, to), self.resync.get(name, 0)
        secret = self.config.masking.secret if self.config.masking else ""
        other = self._grants.filled_by_another(topic, self.config.node.id)
        contract = self._known.contracts.get(name)

        def make() -> Part:
            assert contract
            hop = self._seen.hop("view", name, name, topic)
            if other:
                return RefusedPart(hop, TopicTaken(topic=topic, node=other))
            return Relay(
                hop,
                upstream=self._here,
                downstream=self._here,
                sources=lambda: self._holdings.held(name, without=to),
                target=data_topic(contract, topic),
                identity=f"levelsync-{topic}",
                state=self._folder("views"),
                view=lambda: View(
                    name,
                    Rule(terms, contract, to=to, secret=secret),
                    self._folder("views") / f"{topic}.sqlite",
                ),
                ended=terms.ended,
                resync=resync,
                signer=self._signer,
                signatures=self._signatures(),
            )

        return Job(VIEW, (terms, resync, other, contract and contract.field_names), make)

    def _pushes(self) -> Iterator[tuple[str, Job]]:
        """Upwards goes all this node owns or was given by those below and beside it."""
        parent = self.config.parent
        if parent is None:
            return
        assert self._above
        for name in parent.push:
            sources = self._holdings.held(name, without=parent.id)
            topic, terms = next(iter(sources), ""), self._upward(name)
            if len(sources) > 1 or not terms.everything:
                topic = view(name, parent.id)
                yield f"view {name} {parent.id}", self._view(name, parent.id, terms)
            target = received(name, self.config.node.id)
            yield f"link {name} up", self._link(name, self._here, topic, self._above, target)

    def _upward(self, name: str) -> Terms:
        """What goes up of a contract: everything, but of corrections those that have not found their
        owner here."""
        config, mine = self.config, sorted(self.config.owned - EVERYWHERE)
        if name != CORRECTION.name or not config.corrections or not mine:
            return Terms()
        listed = ", ".join(f"'{each}'" for each in mine)
        return Terms(where=f"!(contract in [{listed}])")

    def _announcement(self, given: tuple[Grant, Terms], topic: str) -> Announcement:
        grant, terms = given
        fields, mask = self._left(grant.contract)
        if grant.fields and fields:
            fields &= set(grant.fields)
        return Announcement(
            contract=grant.contract,
            giver=self.config.node.id,
            to=grant.to,
            topic=topic,
            ended=terms.ended,
            purpose=grant.purpose,
            rows=" and ".join(
                part
                for part in ("" if terms.scope == "0" else f"scope {terms.scope}", terms.where)
                if part
            ),
            fields=tuple(sorted(fields or grant.fields)),
            mask=mask | grant.mask,
            until=grant.until.isoformat() if grant.until else "",
        )

    # ---- being given -------------------------------------------------------------------------

    def _pulls(self) -> Iterator[tuple[str, Job]]:
        parent = self.config.parent
        if parent is None:
            return
        assert self._above
        assert self._granted
        for name in parent.pull:
            told = self._granted.find(name, parent.id, self.config.node.id)
            topic, ended = (told.topic, told.ended) if told else ("", False)
            target = received(name, parent.id)
            yield (
                f"link {name} down",
                self._link(name, self._above, topic, self._here, target, ended=ended),
            )

    def _link(
        self,
        name: str,
        upstream: Cluster,
        topic: str,
        downstream: Cluster,
        target: str,
        *,
        ended: bool = False,
    ) -> Job:
        resync = self.resync.get(name, 0)
        parent = self.config.parent
        signatures = self._signatures()
        if upstream is not self._here and parent:
            signatures = Signatures(self._trust, lambda topic: writer_of(topic, parent.id))

        def make() -> Part:
            return Relay(
                self._seen.hop("link", name, topic or f"{name}, not granted yet", target),
                upstream=upstream,
                downstream=downstream,
                here=self._here,
                sources=lambda: frozenset({topic} if topic else ()),
                target=data_topic(self._known.contracts[name], target),
                identity=f"levelsync-{target}",
                state=self._folder("links"),
                ended=ended,
                resync=resync,
                signer=self._signer,
                signatures=signatures,
            )

        return Job(LINK, (topic, resync, ended), make)
