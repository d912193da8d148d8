"""Everything an agent is made of, wired together: the one module that knows every adapter."""

import asyncio
import contextlib
import datetime
import ssl
import time
from collections.abc import Coroutine, Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import structlog

from agents.base.config import Grant, IntakeTable, NodeFile, is_over, misfits, scope_of
from agents.base.errors import LevelsyncError
from agents.base.freshness import watch_freshness
from agents.base.health import health_app, listening
from agents.base.known import Known
from agents.base.requests import Requests
from agents.base.run import Job, Part
from agents.base.status import Hop, Kind, Status
from agents.base.tls import Certificate, certificate_of
from agents.base.window import Window
from agents.capture.http_desk import Desk
from agents.capture.http_gate import intake_app
from agents.capture.intake import Intake
from agents.capture.published import Published
from agents.capture.source import Place, SourceSettings
from agents.kafka.audit import KafkaAudit
from agents.kafka.bulletin import Bulletin
from agents.kafka.cluster import Cluster
from agents.kafka.grants import Announcement, Grants, TopicTaken
from agents.kafka.holdings import Holdings
from agents.kafka.topics import CONTRACTS_TOPIC, data_topic, received, view
from agents.relay.relay import Relay
from agents.relay.step import Step, StepFunction
from agents.relay.terms import Rule, Terms, fingerprint
from agents.relay.view import View
from agents.window.feed import Feed
from agents.window.follow import Follow
from agents.window.gateway import window_app
from agents.window.office import Office
from agents.window.store import Store
from contracts.load import load_steps
from contracts.model import Contract, Mask, WrongContract
from contracts.projection import project
from contracts.subjects import STEPS

log = structlog.get_logger()

#: The order of the data.
CAPTURE, VIEW, LINK, WINDOW = range(4)
#: Fields that reach a node, all when empty, and those that reach it masked.
Left = tuple[frozenset[str], dict[str, Mask]]


class NotPublished(LevelsyncError):
    """Nobody has published this contract here yet."""

    hint = (
        "It is taken up within seconds once its owner does: `levelsync contract publish`. See"
        " `levelsync contract list --node NODE.toml` for those there are."
    )


class Misfit(LevelsyncError):
    """What the node file says of this contract does not fit it."""

    hint = "Mend the node file; the agent reads it again by itself."


class NoStep(LevelsyncError):
    """There is no step between these two majors."""

    hint = "Write it beside the contract and list it in STEPS, or take `also` out of the source."


class Wiring:
    """What one node is connected to, and every job that follows from its node file, the grants and the
    contracts known at this moment."""

    def __init__(self, path: Path, config: NodeFile, seen: Status) -> None:
        self.config = config
        #: By contract, when an operator asked for it to be brought in line, microseconds since 1970.
        self.resync: dict[str, int] = {}
        self._path = path
        self._seen = seen
        client = f"levelsync-{config.node.id}"
        self._here = Cluster(config.kafka.bootstrap, config.kafka.replicas, client)
        self._grants = Grants(self._here)
        self._known = Known(config.node.id, config.trust)
        self._audit = KafkaAudit(self._here, config.node.id)
        self._published = Bulletin(self._here, CONTRACTS_TOPIC)
        self._requests = Requests(self._folder("requests"))
        self._revivals: dict[str, str] = {}
        parent = config.parent
        self._holdings = Holdings(
            self._here, self._grants, config.node.id, parent.id if parent else None
        )
        self._above: Cluster | None = None
        self._granted: Grants | None = None
        self._published_above: Bulletin | None = None
        if parent:
            self._above = Cluster(parent.bootstrap, parent.replicas, client)
            self._granted = Grants(self._above)
            self._published_above = Bulletin(self._above, CONTRACTS_TOPIC)
        self._desk = Desk(config.intake, _served(config)) if config.intake else None
        self._store: Store | None = None
        self._feed: Feed | None = None
        self._follows: dict[str, Follow] = {}
        self._office: Office | None = None
        #: By the table of the node file whose listener speaks TLS with it.
        self._certificates: dict[str, Certificate] = {}
        self._projections: dict[str, tuple[Contract, Left, Contract]] = {}
        #: What the node file says wrongly about contracts, by contract.
        self._misfits = misfits(config, self._known.contracts)

    @property
    def contracts(self) -> dict[str, Contract]:
        """The contracts known at this moment, by name."""
        return self._known.contracts

    async def open(self, stack: contextlib.AsyncExitStack) -> None:
        """Open what answers over HTTP, until ``stack`` closes. Raises LevelsyncError."""
        config = self.config
        await stack.enter_async_context(
            listening(health_app(self._seen), config.agent.listen, "agent.listen")
        )
        self._requests.clean()
        if config.intake and self._desk:
            self._seen.more.append(self._desk.metrics)
            app = intake_app(self._desk)
            await stack.enter_async_context(
                listening(app, config.intake.listen, "intake.listen", self._tls("intake"))
            )
        if config.window:
            self._store = Store(self._folder("window.sqlite"))
            stack.callback(self._store.close)
            self._feed = Feed(self._store)
            office = self._office = Office(
                name=config.node.name,
                node=config.node.id,
                store=self._store,
                feed=self._feed,
                follows=self._follows,
                status=self._seen,
                table=config.window,
                secret=config.masking.secret if config.masking else "",
                sessions=self._folder("sessions.sqlite"),
            )
            app, tls = window_app(office), self._tls("window")
            await stack.enter_async_context(
                listening(app, config.window.listen, "window.listen", tls)
            )

    def _tls(self, field: str) -> ssl.SSLContext | None:
        """What the listener of a table speaks TLS with. Raises ConfigError."""
        table: Window | IntakeTable = getattr(self.config, field)
        certificate = certificate_of(table.certificate, table.key, field)
        if certificate is None:
            return None
        self._certificates[field] = certificate
        return certificate.context

    def beside(self) -> dict[str, Coroutine[Any, Any, None]]:
        """What runs beside the jobs for as long as the agent does, by name."""
        tasks: dict[str, Coroutine[Any, Any, None]] = {
            "watch-topics": self._holdings.run(),
            "grants": self._grants.bulletin.run(),
            "contracts": self._published.run(),
            "watch-freshness": watch_freshness(self._seen, self._known.contracts, self._audit),
            "audit": self._audit.run(),
        }
        for field, certificate in self._certificates.items():
            tasks[f"certificate-{field}"] = certificate.watch()
        if self._granted and self._published_above:
            tasks["grants-above"] = self._granted.bulletin.run()
            tasks["contracts-above"] = self._published_above.run()
        return tasks

    def _folder(self, name: str) -> Path:
        return self.config.agent.state / name

    def use(self, config: NodeFile) -> None:
        """The node file has changed."""
        self.config = config
        self._known.use(config.trust)
        if config.intake and self._desk:
            self._desk.use(config.intake, _served(config))
        if config.window and self._office:
            self._office.table = config.window
            self._office.secret = config.masking.secret if config.masking else ""
        self._misfits = misfits(config, self._known.contracts)

    def announce(self, told: list[Announcement]) -> None:
        """Tell the neighbours what they are given."""
        self._grants.announce(told)

    def learn(self) -> None:
        """Take in what was published here and above, and pass on what was taken: down by publishing it
        here, up what this node and those below define of what it pushes."""
        above = self._published_above
        for bulletin in (self._published, above):
            if bulletin is None:
                continue
            learnt = self._known.learn(bulletin.told)
            if learnt.taken:
                self._misfits = misfits(self.config, self._known.contracts)
            for contract in learnt.taken:
                publisher = self._known.publishers[contract.subject]
                log.info("contract known", contract=contract.dataschema, publisher=publisher)
            for key, why in learnt.refused.items():
                log.error(
                    "a published contract is refused", contract=key, error=why,
                    kafka=bulletin.cluster.bootstrap,
                )  # fmt: skip
                self._audit.tell("levelsync.contract.refused", _name(key), {"error": why})
        self._published.post(self._known.taken)
        if above and self.config.parent:
            pushed = self.config.parent.push
            above.post(
                {
                    key: raw
                    for key, raw in self._known.from_here_or_below.items()
                    if _name(key) in pushed
                }
            )

    def plan(self) -> tuple[list[Announcement] | None, dict[str, Job]]:
        """What is to be announced to the neighbours, None while that is not known, and every job there
        is."""
        config = self.config
        self._holdings.owns = config.owned
        if not self._published.known:
            return None, {}  # a revision not read yet might be what our source's rows are in
        jobs: dict[str, Job] = {}
        told: list[Announcement] | None = None
        jobs.update(self._captures())
        jobs.update(self._steps())
        if self._holdings.known and self._grants.known:
            told = []
            for given in self._given():
                topic, job = self._give(given)
                told.append(self._announcement(given, topic))
                jobs.update(job)
            jobs.update(self._pushes())
        jobs.update(self._pulls())
        if told is not None:
            jobs.update(self._windows())
        return told, {
            name: self._fitting(name, job)
            for name, job in jobs.items()
            if job.stage == WINDOW or self.config.takes(name.split(" ")[1])
        }

    def _fitting(self, name: str, job: Job) -> Job:
        """``job``, or why it cannot be: its contract is not known, or the node file does not fit it."""
        kind, contract, *_ = name.split(" ")
        if job.stage == WINDOW:
            return job
        error: LevelsyncError
        if contract not in self._known.contracts:
            refused = [why for key, why in self._known.refused.items() if _name(key) == contract]
            error = NotPublished(contract=contract, refused=refused or "none")
        elif contract in self._misfits and job.stage in (CAPTURE, VIEW):
            error = Misfit(file=self._path, wrong=self._misfits[contract])
        else:
            return job
        way: Kind = "view" if kind == "step" else cast("Kind", kind)

        def make() -> Part:
            return _Refused(self._seen.hop(way, contract, contract, name), error)

        return Job(job.stage, str(error), make)

    def _windows(self) -> Iterator[tuple[str, Job]]:
        if self._store is None or self._feed is None:
            return
        expected = self.config.expected
        for name, contract in self._known.contracts.items():
            given, sunset = self._projected(contract), self._known.sunsets.get(name)
            follow = self._follows.get(name)
            if follow is None:
                follow = self._follows[name] = Follow(
                    self._seen,
                    contract=given,
                    cluster=self._here,
                    store=self._store,
                    feed=self._feed,
                    sources=partial(self._holdings.held, name),
                )

            make = partial(self._following, follow, given, sunset)
            spec = (name in expected, self.resync.get(name), given, sunset)
            yield f"window {name}", Job(WINDOW, spec, make)

    def _following(self, follow: Follow, given: Contract, sunset: datetime.date | None) -> Part:
        follow.use(given)
        follow.sunset = sunset
        follow.expected = given.name in self.config.expected
        follow.resync = self.resync.get(given.name, 0)
        return follow

    def _projected(self, contract: Contract) -> Contract:
        """What reaches this node of ``contract``; made again only when something of it changes."""
        left = self._left(contract.name)
        found = self._projections.get(contract.name)
        if found is None or found[:2] != (contract, left):
            found = (contract, left, project(contract, *left))
            self._projections[contract.name] = found
        return found[2]

    def _left(self, name: str) -> Left:
        """Which fields of a contract reach this node, all when empty, and which of them masked."""
        node, parent = self.config.node.id, self.config.parent
        told = [each for each in self._grants.given(node) if each.contract == name]
        if parent and self._granted and (found := self._granted.find(name, parent.id, node)):
            told.append(found)
        told = [each for each in told if not each.ended]
        fields = frozenset(name for each in told for name in each.fields)
        whole = any(not each.fields for each in told)
        mask = {field: how for each in told for field, how in each.mask.items()}
        return frozenset() if whole else fields, mask

    def _captures(self) -> Iterator[tuple[str, Job]]:
        for settings in self.config.source:
            assert isinstance(settings, SourceSettings)
            found = self._known.contracts.get(settings.contract)
            make = partial(self._capture, settings, found)
            revived = self._revived(settings.contract)
            yield f"capture {settings.contract}", Job(CAPTURE, (settings, found, revived), make)

    def _revived(self, name: str) -> str:
        """The newest backfill asked of a capture that had stopped: it is begun anew for it, once."""
        for hop in self._seen.hops:
            if hop.hop == "capture" and hop.contract == name and hop.state == "stopped":
                for request in self._requests.pending(name, "backfill"):
                    self._revivals[name] = request.id
        return self._revivals.get(name, "")

    def _capture(self, settings: SourceSettings, contract: Contract | None) -> Part:
        assert contract
        node = self.config.node.id
        hop = self._seen.hop("capture", contract.name, settings.collects, contract.name)
        place = Place(
            contract=contract,
            node=node,
            state=self._folder("sources") / contract.name,
            requests=self._requests,
            published=Published(self._here, contract),
            hop=hop,
            desk=self._desk,
        )
        return Intake(
            hop,
            contract=contract,
            cluster=self._here,
            node=node,
            source=partial(settings.source, place),
            requests=self._requests,
            kind=str(settings.__struct_config__.tag),
            predecessor=settings.took_over_from,
        )

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
                return _Refused(hop, NoStep(str(error)))
            if function is None:
                return _Refused(hop, NoStep(source=source, into=name))

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
                return _Refused(hop, TopicTaken(topic=topic, node=other))
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
            topic = next(iter(sources), "")
            if len(sources) > 1:
                topic = view(name, parent.id)
                yield f"view {name} {parent.id}", self._view(name, parent.id, Terms())
            target = received(name, self.config.node.id)
            yield f"link {name} up", self._link(name, self._here, topic, self._above, target)

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
            )

        return Job(LINK, (topic, resync, ended), make)


class _Refused:
    """A part that cannot be; says why."""

    def __init__(self, hop: Hop, error: LevelsyncError) -> None:
        self.hop = hop
        self._error = error

    async def run(self, stop: asyncio.Event) -> None:
        raise self._error


def _name(dataschema: str) -> str:
    """``resident.v2/2.1`` → ``resident.v2``"""
    return dataschema.partition("/")[0]


def _served(config: NodeFile) -> list[str]:
    """The contracts whose records come in over HTTP."""
    return [table.contract for table in config.source if table.needs == "intake"]
