"""A link in a process of its own, to be killed or paused.

python -m tests.live.hop BOOTSTRAP FROM TO [--to-kafka BOOTSTRAP] [--without PART] [--signed JSON]

``--without`` takes out, in this process only, a part of what makes a copy exactly one, so that a test
can show that it would see it missing.
"""

import argparse
import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from agents.base.proof import Trust
from agents.base.run import collect_rarely, supervise
from agents.base.status import Hop
from agents.base.watermark import Watermark
from agents.demo.servers import Server
from agents.kafka.cluster import Cluster
from agents.kafka.copy import Copy
from agents.kafka.ends import End
from agents.kafka.messages import Part
from agents.kafka.topics import DATA, Topic
from agents.kafka.writers import Signatures, writer_of
from agents.relay import relay as relaying
from agents.relay.relay import Relay
from tests.agents.base.keys import Signs, from_text
from tests.live.streams import PARTITIONS

#: Printed once a copy is open: fenced, and its end known.
OPEN = "the copy is open"


class Signed(msgspec.Struct):
    """How a link of ``node`` signs, whom it trusts, and on whose cluster it reads; ``key`` is private."""

    node: str
    key: str
    trust: dict[str, tuple[str, ...]]
    holder: str

    @property
    def signer(self) -> Signs:
        return Signs(self.node, from_text(self.key))

    @property
    def signatures(self) -> Signatures:
        holder = self.holder
        return Signatures(Trust(self.node, self.trust), lambda topic: writer_of(topic, holder))


def link(
    cluster: Cluster,
    upstream: str,
    target: str,
    *,
    downstream: Cluster | None = None,
    config: Mapping[str, str] | None = None,
    resync: int = 0,
    state: Path | None = None,
    signed: Signed | None = None,
) -> Relay:
    """A link from topic to topic, on one cluster or between two.

    ``config`` are settings of the target's own; ``signed`` says how it signs and whom it trusts.
    """
    return Relay(
        Hop("link", "resident.v2", upstream, target),
        upstream=cluster,
        downstream=downstream or cluster,
        sources=lambda: frozenset({upstream}),
        target=Topic(target, PARTITIONS, {**DATA, **(config or {})}),
        identity=f"link-{target}",
        state=state or Path(tempfile.gettempdir()) / "levelsync-test-links",
        resync=resync,
        signer=signed.signer if signed else None,  # type: ignore[arg-type]
        signatures=signed.signatures if signed else None,
    )


class HopProcess(Server):
    """A link that can be killed, paused and woken."""

    def __init__(
        self,
        folder: Path,
        name: str,
        upstream: Cluster,
        source: str,
        downstream: Cluster,
        target: str,
        without: str | None = None,
        signed: Signed | None = None,
    ) -> None:
        super().__init__(name, folder)
        self.target = target
        self._command = [
            sys.executable, "-m", "tests.live.hop", upstream.bootstrap, source, target,
            "--to-kafka", downstream.bootstrap, "--to-replicas", str(downstream.replicas),
            *(("--without", without) if without else ()),
            *(("--signed", msgspec.json.encode(signed).decode()) if signed else ()),
        ]  # fmt: skip

    def start(self) -> None:
        self._spawn(self._command)

    async def opened(self, seconds: float = 30.0) -> None:
        """Wait until it has taken over the copy and looked at its end, for the first time."""
        await self._until_ready(seconds)

    async def _ready(self) -> bool:
        return OPEN in self.words()

    def words(self) -> str:
        """All it said."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def pause(self) -> None:
        os.killpg(self.pid, signal.SIGSTOP)

    def wake(self) -> None:
        os.killpg(self.pid, signal.SIGCONT)

    async def ended(self, seconds: float) -> int:
        """Its exit code, once it has ended by itself."""
        assert self.process
        async with asyncio.timeout(seconds):
            while (code := self.process.poll()) is None:
                await asyncio.sleep(0.02)
        self._gone()
        return code

    def peak_mb(self) -> float:
        """The most memory it ever had resident, in MiB."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
        raise AssertionError("no VmHWM")

    def cpu_s(self) -> float:
        """Seconds of processor time it has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# ---- what can be taken out -----------------------------------------------------------------------


def _no_fence() -> None:
    """Take over in name only: nothing is written that would shut out the writer before."""

    async def fence(self: Copy) -> dict[Part, int]:
        return {part: end for part, (_, end) in (await self.connection.ends(self.parts)).items()}

    Copy._fence = fence  # type: ignore[method-assign]


def _no_look() -> None:
    """Go on from the last watermark, as if nothing stood after it."""
    look = Copy.look_back

    async def look_back(self: Copy, part: Part, enough: Callable[[Watermark], bool]) -> End:
        end = await look(self, part, enough)
        end.held.clear()
        return end

    Copy.look_back = look_back  # type: ignore[method-assign]


def _no_rule() -> None:
    """Draw watermarks also before upstream has told again what the copy already held."""
    relaying._Lane.passed = property(lambda self: True)  # type: ignore[assignment, method-assign]


WITHOUT = {"fence": _no_fence, "look": _no_look, "rule": _no_rule}


def _say_when_open() -> None:
    opening = Copy.open

    async def open_(self: Copy) -> dict[Part, End]:
        ends = await opening(self)
        print(OPEN, flush=True)
        return ends

    Copy.open = open_  # type: ignore[method-assign]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("bootstrap")
    parser.add_argument("source")
    parser.add_argument("target")
    parser.add_argument("--to-kafka")
    parser.add_argument("--to-replicas", type=int, default=1)
    parser.add_argument("--without", choices=WITHOUT)
    parser.add_argument("--signed", type=lambda raw: msgspec.json.decode(raw, type=Signed))
    told = parser.parse_args()
    collect_rarely()
    if told.without:
        WITHOUT[told.without]()
    _say_when_open()
    downstream = Cluster(told.to_kafka or told.bootstrap, replicas=told.to_replicas)
    above = Cluster(told.bootstrap)
    hop = link(above, told.source, told.target, downstream=downstream, signed=told.signed)
    asyncio.run(supervise(hop, asyncio.Event()))


if __name__ == "__main__":
    main()
