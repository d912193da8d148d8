"""One agent: everything wired together from its node file, and again when the file changes."""

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path

import structlog

from agents.base.config import Grant, NodeFile, PostgresTable, load, scope_of
from agents.base.errors import ConfigError, LevelsyncError
from agents.base.freshness import watch_freshness
from agents.base.health import health_app, listening
from agents.base.run import Crew, Job, Part, collect_rarely, until
from agents.base.status import Hop, Status
from agents.capture.intake import Intake
from agents.capture.postgres import PostgresSource
from agents.kafka.audit import KafkaAudit
from agents.kafka.cluster import Cluster
from agents.kafka.grants import Announcement, Grants, TopicTaken
from agents.kafka.holdings import Holdings
from agents.kafka.topics import data_topic, received, view
from agents.relay.relay import Relay
from agents.relay.terms import Rule, Terms, fingerprint
from agents.relay.view import View
from agents.window.feed import Feed
from agents.window.follow import Follow
from agents.window.gateway import window_app
from agents.window.store import Store
from contracts.model import Contract
from contracts.subjects import CONTRACTS

log = structlog.get_logger()

#: Seconds each stage may take to drain after SIGTERM.
GRACE = 10.0
#: Seconds between looks at the node file, the grants and what operators asked for.
LOOK = 1.0
#: The order of the data.
CAPTURE, VIEW, LINK, WINDOW = range(4)


async def serve(path: Path, config: NodeFile) -> None:
    """Be the agent of the node file at ``path`` until SIGTERM. Raises LevelsyncError."""
    collect_rarely()
    try:
        await Agent(path, config).run()
    except* LevelsyncError as group:
        raise _first(group) from None


def _first(group: BaseExceptionGroup[LevelsyncError]) -> LevelsyncError:
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner


class Agent:
    """What one process does for one node."""

    def __init__(self, path: Path, config: NodeFile) -> None:
        self._path = path
        self._config = config
        self._seen = Status(config.node.id, version("levelsync"))
        client = f"levelsync-{config.node.id}"
        self._here = Cluster(config.kafka.bootstrap, config.kafka.replicas, client)
        self._grants = Grants(self._here)
        parent = config.parent
        self._holdings = Holdings(
            self._here, self._grants, config.node.id, parent.id if parent else None
        )
        self._above: Cluster | None = None
        self._granted: Grants | None = None
        if parent:
            self._above = Cluster(parent.bootstrap, parent.replicas, client)
            self._granted = Grants(self._above)
        self._follows: dict[str, Follow] = {}
        self._stop, self._look = asyncio.Event(), asyncio.Event()
        self._reload = False
        self._stamp = _stamp(path)
        #: By contract, when an operator asked for it to be brought in line, microseconds since 1970.
        self._resync: dict[str, int] = {}

    async def run(self) -> None:
        """Work until SIGTERM or SIGINT; SIGHUP reads the node file again."""
        config, seen = self._config, self._seen
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, self._end)
        loop.add_signal_handler(signal.SIGHUP, self._again)
        self._folder("resync").mkdir(parents=True, exist_ok=True)
        audit = KafkaAudit(self._here, config.node.id)
        promises = {name: found.freshness for name, found in CONTRACTS.items()}
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(
                listening(health_app(seen), config.agent.listen, "agent.listen")
            )
            if config.window:
                await self._open_window(config.window.listen, stack)
            log.info("agent starts", level=config.node.level, share=config.agent.share)
            beside = [
                asyncio.create_task(self._holdings.run(), name="watch-topics"),
                asyncio.create_task(self._grants.run(), name="grants"),
                asyncio.create_task(watch_freshness(seen, promises, audit), name="watch-freshness"),
                asyncio.create_task(audit.run(), name="audit"),
            ]
            if self._granted:
                beside.append(asyncio.create_task(self._granted.run(), name="grants-above"))
            try:
                async with Crew(GRACE, seen.hide) as crew:
                    await self._keep(crew)
            finally:
                for task in beside:
                    task.cancel()
                await asyncio.gather(*beside, return_exceptions=True)
                log.info("agent ends")

    def _end(self) -> None:
        self._stop.set()
        self._look.set()

    def _again(self) -> None:
        self._reload = True
        self._look.set()

    async def _open_window(self, listen: str, stack: contextlib.AsyncExitStack) -> None:
        store = Store(self._folder("window.sqlite"))
        stack.callback(store.close)
        feed = Feed(store)
        for name, found in CONTRACTS.items():
            self._follows[name] = Follow(
                self._seen,
                contract=found,
                cluster=self._here,
                store=store,
                feed=feed,
                sources=partial(self._holdings.held, name),
            )
        app = window_app(self._config.node.name, store, feed, self._follows, self._seen)
        await stack.enter_async_context(listening(app, listen, "window.listen"))

    def _folder(self, name: str) -> Path:
        return self._config.agent.state / name

    # ---- what there is to do, looked at again and again --------------------------------------

    async def _keep(self, crew: Crew) -> None:
        """Keep the crew as the node file, the grants and the operators want it."""
        while not self._stop.is_set():
            again = self._read_again()
            self._take_requests()
            told, jobs = self._plan()
            if told is not None:
                self._grants.announce(told)
            await crew.assign(jobs, again=again)
            self._seen.planned = told is not None
            self._drop_requests()
            self._look.clear()
            # Until everything is known, looking again costs nothing.
            await until(self._look, asyncio.sleep(LOOK if self._seen.planned else LOOK / 10))

    def _read_again(self) -> bool:
        """Read the node file if it has changed or we were asked to; True if so."""
        stamp = _stamp(self._path)
        if stamp == self._stamp and not self._reload:
            return False
        self._stamp, self._reload = stamp, False
        try:
            config = load(self._path)
        except ConfigError as error:
            log.error("the node file is wrong; the agent goes on as before", error=str(error))
            return False
        fixed = [
            name
            for name, old, new in (
                ("node", self._config.node, config.node),
                ("agent.listen", self._config.agent.listen, config.agent.listen),
                ("agent.state", self._config.agent.state, config.agent.state),
                ("kafka", self._config.kafka, config.kafka),
                ("parent", _address(self._config), _address(config)),
                ("window", self._config.window, config.window),
            )
            if old != new
        ]
        if fixed:
            log.error(
                "the node file is not taken: these need the agent to be started anew", changed=fixed
            )
            return False
        self._config = config
        log.info("node file read again")
        return True

    def _take_requests(self) -> None:
        for file in self._folder("resync").iterdir():
            with contextlib.suppress(OSError, ValueError):
                self._resync[file.name] = int(file.read_text(encoding="utf-8"))

    def _drop_requests(self) -> None:
        """A request is kept on disk until every hop of the contract has taken it up."""
        for name, moment in self._resync.items():
            file = self._folder("resync") / name
            hops = [hop for hop in self._seen.hops if hop.contract == name]
            if all(hop.aligned >= moment or hop.hop == "capture" for hop in hops):
                file.unlink(missing_ok=True)

    def _plan(self) -> tuple[list[Announcement] | None, dict[str, Job]]:
        """What is to be announced, None while that is not known, and every job there is."""
        config = self._config
        self._holdings.owns = frozenset(source.contract for source in config.source)
        jobs: dict[str, Job] = {}
        told: list[Announcement] | None = None
        jobs.update(self._captures())
        if self._holdings.known and self._grants.known:
            told = []
            for given in self._given():
                topic, job = self._give(given)
                told.append(_announcement(config.node.id, given, topic))
                jobs.update(job)
            jobs.update(self._pushes())
        jobs.update(self._pulls())
        if told is not None:
            jobs.update(self._windows())
        return told, {
            name: job
            for name, job in jobs.items()
            if job.stage == WINDOW or self._config.takes(name.split(" ")[1])
        }

    def _windows(self) -> Iterator[tuple[str, Job]]:
        expected = self._config.expected
        for name, follow in self._follows.items():

            def make(name: str = name, follow: Follow = follow) -> Part:
                follow.expected, follow.resync = name in expected, self._resync.get(name, 0)
                return follow

            yield f"window {name}", Job(WINDOW, (name in expected, self._resync.get(name)), make)

    def _captures(self) -> Iterator[tuple[str, Job]]:
        node = self._config.node.id
        for table in self._config.source:
            found = CONTRACTS[table.contract]
            columns = {field: field for field in found.field_names} | table.columns
            slot = f"levelsync_{node}_{found.name}".replace(".", "_").replace("-", "_")

            source = partial(
                PostgresSource,
                dsn=table.dsn,
                table=table.table,
                columns=columns,
                key=found.key,
                name=slot,
            )

            def make(
                table: PostgresTable = table,
                found: Contract = found,
                source: Callable[[], PostgresSource] = source,
            ) -> Part:
                hop = self._seen.hop("capture", found.name, table.table, found.name)
                return Intake(hop, contract=found, cluster=self._here, node=node, source=source)

            yield f"capture {found.name}", Job(CAPTURE, table, make)

    # ---- giving ------------------------------------------------------------------------------

    def _given(self) -> list[tuple[Grant, Terms]]:
        """Every grant of the node file, and as ended what was granted before and is not any more."""
        config, now = self._config, time.time()
        given = [(grant, self._terms(grant, now)) for grant in config.grant]
        named = {(grant.contract, grant.to) for grant in config.grant}
        for told in self._grants.by(config.node.id):
            if (told.contract, told.to) not in named and told.contract in CONTRACTS:
                grant = Grant(contract=told.contract, to=told.to, purpose=told.purpose)
                given.append((grant, Terms(ended=True)))
        return given

    def _terms(self, grant: Grant, now: float) -> Terms:
        if grant.ended(now):
            return Terms(ended=True)
        secret = self._config.masking.secret if self._config.masking else ""
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
        taken = self._grants.filled_by_another(topic, self._config.node.id)
        return "" if taken else topic, job

    def _view(self, name: str, to: str, terms: Terms) -> Job:
        topic, resync = view(name, to), self._resync.get(name, 0)
        secret = self._config.masking.secret if self._config.masking else ""
        other = self._grants.filled_by_another(topic, self._config.node.id)

        def make() -> Part:
            hop = self._seen.hop("view", name, name, topic)
            if other:
                return _Refused(hop, TopicTaken(topic=topic, node=other))
            return Relay(
                hop,
                upstream=self._here,
                downstream=self._here,
                sources=lambda: self._holdings.held(name, without=to),
                target=data_topic(CONTRACTS[name], topic),
                identity=f"levelsync-{topic}",
                state=self._folder("views"),
                view=lambda: View(
                    name,
                    Rule(terms, CONTRACTS[name], to=to, secret=secret),
                    self._folder("views") / f"{topic}.sqlite",
                ),
                ended=terms.ended,
                resync=resync,
            )

        return Job(VIEW, (terms, resync, other), make)

    def _pushes(self) -> Iterator[tuple[str, Job]]:
        """Upwards goes all this node owns or was given by those below and beside it."""
        parent = self._config.parent
        if parent is None:
            return
        assert self._above
        for name in parent.push:
            sources = self._holdings.held(name, without=parent.id)
            topic = next(iter(sources), "")
            if len(sources) > 1:
                topic = view(name, parent.id)
                yield f"view {name} {parent.id}", self._view(name, parent.id, Terms())
            target = received(name, self._config.node.id)
            yield f"link {name} up", self._link(name, self._here, topic, self._above, target)

    # ---- being given -------------------------------------------------------------------------

    def _pulls(self) -> Iterator[tuple[str, Job]]:
        parent = self._config.parent
        if parent is None:
            return
        assert self._above
        assert self._granted
        for name in parent.pull:
            told = self._granted.find(name, parent.id, self._config.node.id)
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
        resync = self._resync.get(name, 0)

        def make() -> Part:
            return Relay(
                self._seen.hop("link", name, topic or f"{name}, not granted yet", target),
                upstream=upstream,
                downstream=downstream,
                here=self._here,
                sources=lambda: frozenset({topic} if topic else ()),
                target=data_topic(CONTRACTS[name], target),
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


def _announcement(node: str, given: tuple[Grant, Terms], topic: str) -> Announcement:
    grant, terms = given
    return Announcement(
        contract=grant.contract,
        giver=node,
        to=grant.to,
        topic=topic,
        ended=terms.ended,
        purpose=grant.purpose,
        rows=" and ".join(
            part
            for part in ("" if terms.scope == "0" else f"scope {terms.scope}", terms.where)
            if part
        ),
        fields=grant.fields,
        masked=tuple(sorted(grant.mask)),
        until=grant.until.isoformat() if grant.until else "",
    )


def _stamp(path: Path) -> tuple[int, int, int]:
    with contextlib.suppress(OSError):
        found = path.stat()
        return found.st_mtime_ns, found.st_size, found.st_ino
    return 0, 0, 0


def _address(config: NodeFile) -> tuple[str, str, int] | None:
    parent = config.parent
    return (parent.id, parent.bootstrap, parent.replicas) if parent else None
