"""One agent as a process: it keeps its jobs as the node file, the neighbours and the operators want."""

import asyncio
import contextlib
import signal
import time
from importlib.metadata import version
from pathlib import Path

import structlog

from agents.base import service
from agents.base.config import NodeFile
from agents.base.errors import ConfigError, LevelsyncError
from agents.base.remembered import remember
from agents.base.run import Crew, collect_rarely, until
from agents.base.status import Status
from agents.base.tracing import open_tracing
from agents.sources import load
from agents.wiring import Wiring
from agents.wiring_kafka import KafkaWiring
from agents.wiring_leaf import LeafWiring

log = structlog.get_logger()

#: Seconds each stage may take to drain after SIGTERM.
GRACE = 10.0
#: Seconds between looks at the node file, the grants and what operators asked for.
LOOK = 1.0
#: Seconds without a look after which the agent is no longer taken for alive: more than all its stages
#: may take to drain.
DEAD = 120.0


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
        kind = KafkaWiring if config.kafka else LeafWiring
        self._wiring: Wiring = kind(path, config, self._seen)
        self._stop, self._look = asyncio.Event(), asyncio.Event()
        self._reload = False
        self._stamp = _stamp(path)
        self._looked = time.monotonic()

    async def run(self) -> None:
        """Work until SIGTERM or SIGINT; SIGHUP reads the node file again."""
        config, seen = self._config, self._seen
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, self._end)
        loop.add_signal_handler(signal.SIGHUP, self._again)
        self._folder("resync").mkdir(parents=True, exist_ok=True)
        self._remember()
        async with contextlib.AsyncExitStack() as stack:
            if tracing := open_tracing(config.node.id, seen.version):
                seen.tracing = tracing
                stack.push_async_callback(asyncio.to_thread, tracing.close)
            await self._wiring.open(stack)
            log.info("agent starts", version=seen.version, share=config.agent.share)
            beside = [
                asyncio.create_task(work, name=name) for name, work in self._wiring.beside().items()
            ]
            beside.append(
                asyncio.create_task(service.keep_telling(seen, self._alive), name="service")
            )
            service.tell(READY="1")
            for task in beside:
                task.add_done_callback(self._ended)
            try:
                async with Crew(GRACE, seen.hide) as crew:
                    await self._keep(crew)
            finally:
                for task in beside:
                    task.cancel()
                await asyncio.gather(*beside, return_exceptions=True)
                log.info("agent ends")

    def _alive(self) -> bool:
        """Does the agent itself go round? What its hops wait for does not count."""
        return time.monotonic() - self._looked < DEAD

    def _ended(self, task: "asyncio.Task[None]") -> None:
        """What runs beside the jobs runs until it is cancelled: anything else must be seen."""
        if task.cancelled():
            return
        error, name = task.exception(), task.get_name()
        said = str(error) or type(error).__name__ if error else "it ended by itself"
        log.error("a part beside the hops ended", part=name, error=said, exc_info=error)
        self._seen.ended += 1
        self._seen.troubles[name] = lambda: f"`{name}` has ended: {said}. Start the agent anew."

    def _end(self) -> None:
        service.tell(STOPPING="1")
        self._stop.set()
        self._look.set()

    def _again(self) -> None:
        self._reload = True
        self._look.set()

    def _folder(self, name: str) -> Path:
        return self._config.agent.state / name

    # ---- what there is to do, looked at again and again --------------------------------------

    async def _keep(self, crew: Crew) -> None:
        """Keep the crew as the node file, the grants and the operators want it."""
        wiring = self._wiring
        while not self._stop.is_set():
            self._looked = time.monotonic()
            again = self._read_again()
            wiring.learn()
            self._take_requests()
            told, jobs = wiring.plan()
            if told is not None:
                wiring.announce(told)
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
            config = load(self._path, self._wiring.contracts)
        except ConfigError as error:
            log.error("the node file is wrong; the agent goes on as before", error=str(error))
            return False
        if fixed := needing_a_start(self._config, config):
            log.error(
                "the node file is not taken: these need the agent to be started anew", fields=fixed
            )
            return False
        self._config = config
        self._wiring.use(config)
        self._remember()
        log.info("node file read again")
        return True

    def _remember(self) -> None:
        """Keep what is run, for ``levelsync plan``; an agent that cannot goes on."""
        try:
            remember(self._path, self._config.agent.state)
        except (OSError, ConfigError) as error:
            log.warning(
                "what is run is not remembered: levelsync plan cannot compare", error=str(error)
            )

    def _take_requests(self) -> None:
        for file in self._folder("resync").iterdir():
            with contextlib.suppress(OSError, ValueError):
                self._wiring.resync[file.name] = int(file.read_text(encoding="utf-8"))

    def _drop_requests(self) -> None:
        """A request is kept on disk until every hop of the contract has taken it up."""
        for name, moment in self._wiring.resync.items():
            file = self._folder("resync") / name
            hops = [hop for hop in self._seen.hops if hop.contract == name]
            if all(hop.aligned >= moment or hop.hop in ("capture", "out") for hop in hops):
                file.unlink(missing_ok=True)


def needing_a_start(old: NodeFile, new: NodeFile) -> list[str]:
    """What of the change from ``old`` to ``new`` cannot be taken up by an agent that runs."""
    return [
        name
        for name, before, after in (
            ("node", old.node, new.node),
            ("agent.listen", old.agent.listen, new.agent.listen),
            ("agent.state", old.agent.state, new.agent.state),
            ("kafka", _own_address(old), _own_address(new)),
            ("parent", _address(old), _address(new)),
            ("window", _counter(old), _counter(new)),
            ("corrections", bool(old.corrections), bool(new.corrections)),
            ("intake", _door(old), _door(new)),
        )
        if before != after
    ]


def _stamp(path: Path) -> tuple[int, int, int]:
    with contextlib.suppress(OSError):
        found = path.stat()
        return found.st_mtime_ns, found.st_size, found.st_ino
    return 0, 0, 0


def _door(config: NodeFile) -> tuple[object, ...] | None:
    """What of the intake cannot change while it is open."""
    intake = config.intake
    return (intake.listen, intake.certificate, intake.key) if intake else None


def _counter(config: NodeFile) -> tuple[object, ...] | None:
    """What of the window cannot change while it is open."""
    window = config.window
    return (window.listen, window.certificate, window.key, window.feed) if window else None


def _own_address(config: NodeFile) -> tuple[str, int] | None:
    kafka = config.kafka
    return (kafka.bootstrap, kafka.replicas) if kafka else None


def _address(config: NodeFile) -> tuple[str, str, int] | None:
    parent = config.parent
    return (parent.id, parent.bootstrap, parent.replicas) if parent else None
