"""What every agent is made of, wired together; what only one with Kafka of its own has is in
:mod:`agents.wiring_kafka`, what only a leaf has in :mod:`agents.wiring_leaf`. These three know every
adapter."""

import asyncio
import contextlib
import datetime
import ssl
from collections.abc import Callable, Coroutine, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import structlog

from agents.base.config import IntakeTable, NodeFile, misfits
from agents.base.errors import LevelsyncError
from agents.base.freshness import Audit, watch_freshness
from agents.base.health import health_app, listening
from agents.base.history import FILE, keep_history
from agents.base.keyring import Keyring, Signer
from agents.base.known import Known
from agents.base.outgoing import Outgoing
from agents.base.proof import Trust
from agents.base.requests import Asked, Requests
from agents.base.run import Job, Part
from agents.base.status import Hop, Kind, Status
from agents.base.tls import Certificate, certificate_of
from agents.base.window import MqttOut, SqlOut, Window
from agents.capture.http_desk import Desk
from agents.capture.http_gate import intake_app
from agents.capture.intake import Intake
from agents.capture.published import Published
from agents.capture.source import Place, Source, SourceSettings
from agents.kafka.bulletin import Bulletin
from agents.kafka.cluster import nearest_cluster
from agents.kafka.grants import Announcement, Grants
from agents.kafka.standing_letters import StandingLetters
from agents.kafka.topics import CONTRACTS_TOPIC
from agents.kafka.writers import Signatures, writer_of
from agents.window.feed import Feed
from agents.window.follow import Follow
from agents.window.gateway import window_app
from agents.window.mqtt_out import MqttDelivery
from agents.window.mqtt_out import shown_at as mqtt_shown_at
from agents.window.office import Office
from agents.window.own import Own
from agents.window.sql_out import SqlDelivery
from agents.window.sql_out import shown_at as sql_shown_at
from agents.window.store import Store
from contracts.model import Contract, Mask
from contracts.projection import project
from contracts.subjects import EVERYWHERE

log = structlog.get_logger()

#: The order of the data.
CAPTURE, VIEW, LINK, WINDOW, OUT = range(5)
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


class Wiring:
    """What one node is connected to, and every job that follows from its node file, the grants and the
    contracts known at this moment."""

    def __init__(self, path: Path, config: NodeFile, seen: Status) -> None:
        self.config = config
        #: By contract, when an operator asked for it to be brought in line, microseconds since 1970.
        self.resync: dict[str, int] = {}
        self._path = path
        self._seen = seen
        self._here = nearest_cluster(config, f"levelsync-{config.node.id}")
        self._grants = Grants(self._here)
        self._known = Known(config.node.id, config.trust)
        #: The keys this node signs with, and whose it takes.
        self._ring = Keyring(config.agent.key)
        self._ring.look()
        self._signer = Signer(config.node.id, self._ring)
        self._trust = Trust(config.node.id, config.trust, self._ring.own)
        self._audit = self._made_audit()
        self._published = Bulletin(self._here, CONTRACTS_TOPIC)
        self._requests = Requests(self._folder("requests"))
        self._revivals: dict[tuple[Kind, str], str] = {}
        seen.revisions = self._revisions
        #: The grants on the parent's cluster, where it is not the nearest.
        self._granted: Grants | None = None
        self._desk = Desk(config.intake, _served(config)) if config.intake else None
        #: What this node itself has to tell, and at a leaf what it takes in over HTTP.
        self._outgoing: Outgoing | None = None
        self._own: Own | None = None
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

    def _revisions(self) -> dict[str, str]:
        """The revision of each contract that the node file speaks of, or that is here."""
        known = self._known.contracts
        named = self.config.named | {hop.contract for hop in self._seen.hops}
        return {name: str(known[name].revision) for name in sorted(named) if name in known}

    async def open(self, stack: contextlib.AsyncExitStack) -> None:
        """Open what answers over HTTP, until ``stack`` closes. Raises LevelsyncError."""
        config = self.config
        if config.window or config.corrections or config.kafka is None:
            self._outgoing = Outgoing(self._folder("outgoing.sqlite"))
            stack.callback(self._outgoing.close)
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
        if config.window or config.corrections:
            assert self._outgoing
            self._own = Own(
                config,
                self._folder(""),
                self._outgoing,
                self._known.contracts,
                lambda name: self._left(name)[1],
            )
            self._own.close(stack)
            self._seen.more.append(self._own.journal.metrics)
        if config.window:
            assert self._own
            self._store = Store(self._folder("window.sqlite"), config.window.feed)
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
                journal=self._own.journal,
                corrections=self._own.desk,
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
        for bulletin in (self._grants.bulletin, self._published):
            self._watch(bulletin)
        tasks: dict[str, Coroutine[Any, Any, None]] = {
            "grants": self._grants.bulletin.run(),
            "contracts": self._published.run(),
            "watch-freshness": watch_freshness(self._seen, self._known.contracts, self._audit),
            "letters": StandingLetters(self._here, self._seen).run(),
            "history": keep_history(self._seen, self._known.contracts, self._folder(FILE)),
        }
        for field, certificate in self._certificates.items():
            tasks[f"certificate-{field}"] = certificate.watch()
        if self._own:
            tasks["accesses"] = self._own.journal.run()
        return tasks

    def _watch(self, bulletin: Bulletin, where: str = "") -> None:
        """Show why a bulletin cannot be used."""
        self._seen.troubles[f"{bulletin.topic.name}{where}"] = lambda: bulletin.trouble.why

    def _folder(self, name: str) -> Path:
        return self.config.agent.state / name

    def use(self, config: NodeFile) -> None:
        """The node file has changed."""
        self.config = config
        self._here.access.use(config.nearest)
        self._known.use(config.trust)
        self._trust.use(config.trust)
        self._ring.path = config.agent.key
        if self._own:
            self._own.use(config)
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
        """Take in what was published, and keys that were changed."""
        self._ring.look()
        for bulletin in self._bulletins():
            learnt = self._known.learn(bulletin.told)
            if learnt.taken:
                self._misfits = misfits(self.config, self._known.contracts)
            for contract in learnt.taken:
                publisher = self._known.publishers[contract.subject]
                log.info(
                    "contract known", contract=contract.name, revision=str(contract.revision),
                    publisher=publisher,
                )  # fmt: skip
            for key, why in learnt.refused.items():
                log.error(
                    "a published contract is refused", contract=name_of(key), revision=key, error=why,
                    kafka=bulletin.cluster.bootstrap,
                )  # fmt: skip
                self._audit.tell("levelsync.contract.refused", name_of(key), {"error": why})

    async def look_once(self) -> None:
        """Read once what others said, as is done again and again beside an agent's jobs: for a look
        ahead. Raises Unavailable."""
        for bulletin in (self._grants.bulletin, *self._bulletins()):
            await bulletin.read_once()
            bulletin.known = True

    def plan(self) -> tuple[list[Announcement] | None, dict[str, Job]]:
        """What is to be announced to the neighbours, None while that is not known, and every job there
        is."""
        if not self._published.known:
            return None, {}  # a revision not read yet might be what our source's rows are in
        jobs: dict[str, Job] = {}
        jobs.update(self._captures())
        told = self._passing(jobs)
        if told is not None:
            jobs.update(self._windows())
            jobs.update(self._owns())
            jobs.update(self._outs())
        return told, {
            name: self._fitting(name, job)
            for name, job in jobs.items()
            if job.stage >= WINDOW
            or self._here_alone(name)
            or self.config.takes(name.split(" ")[1])
        }

    def _here_alone(self, name: str) -> bool:
        """Can no other agent of this node do it, since it reads what this one keeps?"""
        return any(
            each.implied and name == f"capture {each.contract}" for each in self.config.source
        )

    def _owns(self) -> Iterator[tuple[str, Job]]:
        if self._own is None:
            return
        yield from self._own.jobs(
            WINDOW,
            cluster=self._here,
            seen=self._seen,
            held=self._held,
            requests=self._requests,
            audit=self._audit,
            resync=self.resync,
            signatures=self._signatures(),
        )

    def _fitting(self, name: str, job: Job) -> Job:
        """``job``, or why it cannot be: its contract is not known, or the node file does not fit it."""
        kind, contract, *_ = name.split(" ")
        if job.stage >= WINDOW:
            return job
        error: LevelsyncError
        if contract not in self._known.contracts:
            refused = [why for key, why in self._known.refused.items() if name_of(key) == contract]
            error = NotPublished(contract=contract, refused=refused or "none")
        elif contract in self._misfits and job.stage in (CAPTURE, VIEW):
            error = Misfit(file=self._path, wrong=self._misfits[contract])
        else:
            return job
        way: Kind = "view" if kind == "step" else cast("Kind", kind)

        def make() -> Part:
            return RefusedPart(self._seen.hop(way, contract, contract, name), error)

        return Job(job.stage, str(error), make)

    def _windows(self) -> Iterator[tuple[str, Job]]:
        if self._store is None or self._feed is None:
            return
        expected = self.config.expected
        for name, contract in self._known.contracts.items():
            if name in EVERYWHERE:
                continue  # what nodes tell of themselves is no one's to look up
            given, sunset = self._projected(contract), self._known.sunsets.get(name)
            follow = self._follows.get(name)
            if follow is None:
                follow = self._follows[name] = Follow(
                    self._seen,
                    contract=given,
                    cluster=self._here,
                    store=self._store,
                    feed=self._feed,
                    sources=partial(self._held, name),
                    requests=self._requests,
                    signatures=self._signatures(),
                )

            make = partial(self._following, follow, given, sunset)
            revived = self._revived(name, "window", "rebuild")
            spec = (
                name in expected, self.resync.get(name), given, sunset, self._over(name), revived
            )  # fmt: skip
            yield f"window {name}", Job(WINDOW, spec, make)

    def _following(self, follow: Follow, given: Contract, sunset: datetime.date | None) -> Part:
        follow.use(given)
        follow.sunset = sunset
        follow.expected = given.name in self.config.expected
        follow.resync = self.resync.get(given.name, 0)
        follow.look()  # at once: whoever asks before it runs is not to hear that it is not here
        return follow

    def _outs(self) -> Iterator[tuple[str, Job]]:
        """What the window delivers by itself: to a broker, and into tables."""
        office = self._office
        if office is None:
            return
        known = self._known.contracts
        if mqtt := office.table.mqtt:
            given = [self._projected(known[name]) for name in mqtt.contracts if name in known]
            job = Job(OUT, (mqtt, given), partial(self._out_mqtt, office, mqtt))
            if missing := sorted(set(mqtt.contracts) - known.keys()):
                job = self._out_unknown(missing, mqtt_shown_at(mqtt))
            yield "out mqtt", job
        for sql in office.table.sql:
            if sql.contract in known:
                one = self._projected(known[sql.contract])
                job = Job(OUT, (sql, one), partial(self._out_sql, office, sql, one))
            else:
                job = self._out_unknown([sql.contract], sql_shown_at(sql))
            yield f"out {sql.contract} {sql.table}", job

    def _out_unknown(self, names: list[str], to: str) -> Job:
        def make() -> Part:
            contracts = ", ".join(names)
            return RefusedPart(
                self._seen.hop("out", contracts, contracts, to), NotPublished(contract=contracts)
            )

        return Job(OUT, (names, to), make)

    def _out_mqtt(self, office: Office, table: MqttOut) -> Part:
        contracts = ", ".join(table.contracts)
        hop = self._seen.hop("out", contracts, contracts, mqtt_shown_at(table))
        return MqttDelivery(office, table, hop, self._folder("out") / "mqtt.sqlite")

    def _out_sql(self, office: Office, table: SqlOut, contract: Contract) -> Part:
        hop = self._seen.hop("out", contract.name, contract.name, sql_shown_at(table))
        return SqlDelivery(office, table, contract, hop)

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
            revived = self._revived(settings.contract, "capture", "backfill")
            yield f"capture {settings.contract}", Job(CAPTURE, (settings, found, revived), make)

    def _revived(self, name: str, kind: Kind, what: Asked) -> str:
        """The newest request for a part that had stopped: it is begun anew for it, once."""
        for hop in self._seen.hops:
            if hop.hop == kind and hop.contract == name and hop.state == "stopped":
                for request in self._requests.pending(name, what):
                    self._revivals[kind, name] = request.id
        return self._revivals.get((kind, name), "")

    def _capture(self, settings: SourceSettings, contract: Contract | None) -> Part:
        assert contract
        node = self.config.node.id
        topic = self._published_in(contract.name)
        hop = self._seen.hop("capture", contract.name, settings.collects, topic)
        place = Place(
            contract=contract,
            node=node,
            state=self._folder("sources") / contract.name,
            requests=self._requests,
            published=Published(self._here, contract, topic),
            hop=hop,
            desk=self._desk,
            topic=topic,
            outgoing=self._outgoing,
        )
        return Intake(
            hop,
            contract=contract,
            cluster=self._here,
            node=node,
            source=self._source(settings, place),
            requests=self._requests,
            kind=str(settings.__struct_config__.tag),
            predecessor=settings.took_over_from,
            topic=topic,
            signer=self._signer,
        )

    def _signatures(self) -> Signatures:
        """How the signatures of topics on the nearest cluster are read."""
        return Signatures(self._trust, self._writer)

    def _writer(self, topic: str) -> str:
        """The node that writes ``topic`` on the nearest cluster."""
        node = self.config.node.id
        givers = [told.giver for told in self._grants.given(node) if told.topic == topic]
        return writer_of(topic, givers[0] if givers else node)

    def _source(self, settings: SourceSettings, place: Place) -> Callable[[], Source]:
        """Makes the source of a capture, each time it begins."""
        return partial(settings.source, place)

    # ---- what a node with Kafka and a leaf have each in their own way ---------------------------

    def _made_audit(self) -> Audit:
        """Where events about promises go."""
        raise NotImplementedError

    def _bulletins(self) -> Sequence[Bulletin]:
        """Where contracts are published."""
        return (self._published,)

    def _passing(self, jobs: dict[str, Job]) -> list[Announcement] | None:
        """Add to ``jobs`` all that gives and is given; what is to be announced, None while it is not
        known."""
        raise NotImplementedError

    def _held(self, name: str) -> frozenset[str]:
        """The topics of a contract on the nearest cluster that the window reads."""
        raise NotImplementedError

    def _over(self, name: str) -> bool:
        """Has what this node was given of a contract ended, so that nobody else empties it?"""
        return False

    def _published_in(self, name: str) -> str:
        """The topic into which a source of a contract publishes."""
        raise NotImplementedError


class RefusedPart:
    """A part that cannot be; says why."""

    def __init__(self, hop: Hop, error: LevelsyncError) -> None:
        self.hop = hop
        self._error = error

    async def run(self, stop: asyncio.Event) -> None:
        raise self._error


def name_of(dataschema: str) -> str:
    """``resident.v2/2.1`` → ``resident.v2``"""
    return dataschema.partition("/")[0]


def _served(config: NodeFile) -> list[str]:
    """The contracts whose records come in over HTTP."""
    return [table.contract for table in config.source if table.needs == "intake"]
