"""A link, or a view, from cluster to cluster in a process of its own:

python -m tests.bench.hop UP DOWN FROM TO PARTITIONS STATE [SCOPE] [SIGNED]

STATE is a folder for what the hop keeps. With SCOPE only what belongs to it is passed on, and the keys
passed are remembered: a view as an agent makes it, but that its copy lies on another cluster. With
SIGNED, JSON of :class:`tests.live.hop.Signed`, it signs and verifies.
"""

import asyncio
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from agents.base.log import set_up
from agents.base.run import collect_rarely, supervise
from agents.base.status import Hop
from agents.demo.servers import Server
from agents.kafka.cluster import Cluster
from agents.kafka.topics import DATA, Topic
from agents.relay.relay import Relay
from agents.relay.terms import Rule, Terms
from agents.relay.view import View
from contracts.subjects import CONTRACTS
from tests.live.hop import Signed

CONTRACT = "resident.v2"


class HopProcess(Server):
    """levelsync's relay from ``topic`` on ``up`` to its target on ``down``."""

    def __init__(
        self,
        folder: Path,
        up: str,
        down: str,
        topic: str,
        partitions: int,
        scope: str | None = None,
        signed: Signed | None = None,
    ) -> None:
        super().__init__("levelsync", folder)
        self._arguments = [up, down, topic, self.target(topic), str(partitions), str(folder)]
        if scope:
            self._arguments.append(scope)
        if signed:
            self._arguments.append(msgspec.json.encode(signed).decode())

    @staticmethod
    def target(topic: str) -> str:
        """What the copy is called."""
        return f"{topic}.from.up"

    def start(self) -> None:
        """Begin; what it copies shows that it has started."""
        self._spawn([sys.executable, "-m", "tests.bench.hop", *self._arguments])


def scope_view(scope: str, members: Path) -> Callable[[], View]:
    """A maker of the view that lets through what belongs to ``scope``."""
    rule = Rule(Terms(scope=scope), CONTRACTS[CONTRACT], to=scope)
    return lambda: View(CONTRACT, rule, members)


def _relay(arguments: list[str]) -> Relay:
    up, down, topic, target, partitions, state, *more = arguments
    scope = [each for each in more if not each.startswith("{")]
    signed = next(
        (msgspec.json.decode(each, type=Signed) for each in more if each.startswith("{")), None
    )
    below = Cluster(down)
    return Relay(
        Hop("view" if scope else "link", CONTRACT, topic, target),
        upstream=Cluster(up),
        downstream=below,
        sources=lambda: frozenset({topic}),
        target=Topic(target, int(partitions), DATA),
        identity=f"bench-{target}",
        state=Path(state),
        view=scope_view(scope[0], Path(state) / "members.sqlite") if scope else None,
        signer=signed.signer if signed else None,  # type: ignore[arg-type]
        signatures=signed.signatures if signed else None,
    )


async def _main() -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await supervise(_relay(sys.argv[1:]), stop)


if __name__ == "__main__":
    set_up("bench")
    collect_rarely()
    asyncio.run(_main())
