"""Brokers for what is done to lines and clusters: one behind a line, and three together."""

import asyncio
from pathlib import Path

from agents.demo.servers import KafkaServer, free_ports
from agents.kafka.cluster import Cluster
from tests.live.line import Line


class Behind(KafkaServer):
    """A broker that can also be reached over a line: a second listener names the line's port."""

    def __init__(self, folder: Path, name: str) -> None:
        port, self._inner, self._line, controller = free_ports(4)
        super().__init__(
            folder,
            port,
            name,
            {
                "listeners": f"NEAR://127.0.0.1:{port},FAR://127.0.0.1:{self._inner},"
                f"CONTROLLER://127.0.0.1:{controller}",
                "advertised.listeners": f"NEAR://127.0.0.1:{port},FAR://127.0.0.1:{self._line}",
                "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,NEAR:PLAINTEXT,FAR:PLAINTEXT",
                "inter.broker.listener.name": "NEAR",
                "controller.quorum.voters": f"1@127.0.0.1:{controller}",
            },
        )

    @property
    def near(self) -> Cluster:
        """For those who stand beside it."""
        return Cluster(self.bootstrap)

    @property
    def far(self) -> Cluster:
        """For those at the other end of the line."""
        return Cluster(f"127.0.0.1:{self._line}")

    def line(self, *, delay: float = 0.0, seed: int = 1) -> Line:
        """The line to it; there is one at a time."""
        return Line(self._line, self._inner, delay=delay, seed=seed)


class Three:
    """A cluster of three brokers: every topic on all, and two must have what counts as written."""

    def __init__(self, folder: Path) -> None:
        ports, controllers = free_ports(3), free_ports(3)
        voters = ",".join(f"{node}@127.0.0.1:{controllers[node - 1]}" for node in range(1, 4))
        self.brokers = {
            node: KafkaServer(
                folder / f"three-{node}",
                ports[node - 1],
                f"three-{node}",
                {
                    "node.id": node,
                    "controller.quorum.voters": voters,
                    "listeners": f"PLAINTEXT://127.0.0.1:{ports[node - 1]},"
                    f"CONTROLLER://127.0.0.1:{controllers[node - 1]}",
                    "default.replication.factor": 3,
                    "min.insync.replicas": 2,
                    "offsets.topic.replication.factor": 3,
                    "transaction.state.log.replication.factor": 3,
                    "transaction.state.log.min.isr": 2,
                    "controlled.shutdown.enable": "true",
                    "auto.leader.rebalance.enable": "false",  # the test elects
                    "broker.session.timeout.ms": 3000,
                    "broker.heartbeat.interval.ms": 500,
                },
            )
            for node in range(1, 4)
        }
        self.cluster = Cluster(
            ",".join(broker.bootstrap for broker in self.brokers.values()), replicas=3
        )

    async def start(self) -> None:
        """All at once: none answers before two are there."""
        await asyncio.gather(*(broker.start() for broker in self.brokers.values()))

    async def stop(self) -> None:
        # One by one would have the last wait for a quorum.
        await asyncio.gather(*(broker.kill() for broker in self.brokers.values()))
