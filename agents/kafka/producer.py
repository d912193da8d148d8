"""The fenced idempotent writer."""

import asyncio
import collections
import contextlib
import time
from collections.abc import Callable, Iterable

import msgspec

from agents.base.errors import Unavailable
from agents.kafka.batches import Batch, Sealed, sealed
from agents.kafka.messages import Part
from agents.kafka.wire import STALL_S, Claim, Connection, stalled

#: Requests under way to one broker; it remembers as many batches of a writer to tell repeats by.
IN_FLIGHT = 5
#: A produce request takes no further partition's batch beyond this.
REQUEST_BYTES = 4 * 1024 * 1024
#: What may wait for its turn to be sent before the writer waits.
QUEUE_BYTES = 4 * 1024 * 1024


class FencedProducer:
    """The one writer under a transactional id, outside any transaction.

    ``InitProducerId`` under the fixed id gives the next epoch, so that brokers refuse the writer
    before; batches are then sent as plain idempotent ones with that id and epoch, several under way.
    Nothing is ever sent twice: after one batch failed, brokers refuse what follows it on that
    partition, and the owner starts over from the copy's end.
    """

    def __init__(self, connection: Connection, claim: Claim) -> None:
        self._claim = claim
        self._connection = connection
        self._cluster = connection.cluster
        self._leader: dict[Part, int] = {}
        self._sequence: dict[Part, int] = {}
        self._waiting: dict[Part, collections.deque[_Waiting]] = {}
        self._bytes = 0
        self._under_way: dict[int, dict[asyncio.Task[None], float]] = {}
        self._failure: BaseException | None = None
        self._pumping: asyncio.Handle | None = None
        self._room = asyncio.Event()
        #: When each broker's connection was last looked at, and what had moved on it.
        self._moved: dict[int, tuple[float, int]] = {}
        #: Seconds of the fastest answer so far, the line's own time there and back.
        self.round_trip = float("inf")

    async def start(self, parts: Iterable[Part]) -> None:
        """Take over the writing of ``parts``. Raises Unavailable, NotAllowed."""
        leaders = await self._connection.leaders(parts)
        await asyncio.gather(self._connection.writer(self._claim), self._connection.reach(leaders))
        self._id, self._epoch = self._claim.producer, self._claim.epoch
        for node, mine in leaders.items():
            self._under_way[node] = {}
            for part in mine:
                self._leader[part] = node
                self._sequence[part] = 0
                self._waiting[part] = collections.deque()

    async def send(
        self, part: Part, batch: Batch, done: Callable[[int], None] | None = None
    ) -> None:
        """Queue a batch; waits while too much is waiting already.

        ``done`` is called with the batch's base offset once brokers have it. After one batch
        failed nothing more is sent: see :meth:`check`.
        """
        self.check()
        while self._bytes >= QUEUE_BYTES:
            self._room.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STALL_S):
                    await self._room.wait()
            self.check()
        self._waiting[part].append(_Waiting(batch, done))
        self._bytes += len(batch.data)
        if self._pumping is None:
            # Not at once: what is queued in this same step goes in the same request.
            self._pumping = asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        self._pumping = None
        while self._failure is None and (ready := self._ready()):
            for node, parts in ready.items():
                self._send(node, parts)
        self._room.set()

    def _ready(self) -> dict[int, list[Part]]:
        """Partitions with a batch to send, by brokers with room for a request."""
        ready: dict[int, list[Part]] = {}
        for part, queue in self._waiting.items():
            node = self._leader[part]
            if queue and len(self._under_way[node]) < IN_FLIGHT:
                ready.setdefault(node, []).append(part)
        return ready

    def _send(self, node: int, parts: list[Part]) -> None:
        batches: dict[Part, Sealed] = {}
        done: dict[Part, Callable[[int], None]] = {}
        size = 0
        for part in parts:
            if size > REQUEST_BYTES:
                break
            queue = self._waiting[part]
            first = queue.popleft()
            size += len(first.batch.data)
            sequence = self._sequence[part]
            self._sequence[part] = (sequence + first.batch.count) & 0x7FFFFFFF
            batches[part] = sealed(first.batch, self._id, self._epoch, sequence)
            if first.done:
                done[part] = first.done
            # The next time round this partition is the last to be asked.
            self._waiting[part] = self._waiting.pop(part)
        self._bytes -= size
        task = asyncio.create_task(self._produce(node, batches, done), name=f"produce-{node}")
        self._under_way[node][task] = time.monotonic()
        task.add_done_callback(self._answered)

    async def _produce(
        self, node: int, batches: dict[Part, Sealed], done: dict[Part, Callable[[int], None]]
    ) -> None:
        began = time.monotonic()
        offsets = await self._connection.produce(node, batches)
        self.round_trip = min(self.round_trip, time.monotonic() - began)
        for part, callback in done.items():
            callback(offsets[part])

    def _answered(self, task: asyncio.Task[None]) -> None:
        for tasks in self._under_way.values():
            tasks.pop(task, None)
        if not task.cancelled() and (error := task.exception()):
            self._failure = self._failure or error
        self._pump()

    def check(self) -> None:
        """Raise what made the first batch fail, if one did, or that the line stands still."""
        if self._failure is not None:
            raise self._failure
        now = time.monotonic()
        for node, tasks in self._under_way.items():
            looked_at, before = self._moved.get(node, (0.0, -1))
            if tasks and now - max(looked_at, next(iter(tasks.values()))) > STALL_S:
                moved = self._connection.moved(node)
                if moved == before:
                    raise stalled(self._cluster, broker=node, writer=self._claim.identity)
                self._moved[node] = now, moved

    async def flush(self) -> None:
        """Wait until everything queued is answered; raise if anything failed."""
        while self._pumping or any(self._waiting.values()) or any(self._under_way.values()):
            self.check()
            tasks = [task for tasks in self._under_way.values() for task in tasks]
            if tasks:
                await asyncio.wait(tasks, timeout=STALL_S / 4, return_when=asyncio.FIRST_COMPLETED)
            else:
                await asyncio.sleep(0)
        self.check()

    async def close(self) -> None:
        """Send nothing more; what is unanswered is left unclaimed."""
        self._failure = self._failure or Unavailable(
            "The writer is closed", writer=self._claim.identity
        )
        tasks = [task for tasks in self._under_way.values() for task in tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Waiting(msgspec.Struct):
    batch: Batch
    done: Callable[[int], None] | None
