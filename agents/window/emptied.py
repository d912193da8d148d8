"""What is left to do of a contract whose grant has ended: nothing of it is kept."""

import asyncio
from functools import partial

import structlog

from agents.window.feed import Feed
from agents.window.follow import Follow
from agents.window.store import Store, in_thread

log = structlog.get_logger()


class Emptied:
    """A part of the agent (:class:`agents.base.run.Part`) in the place of ``follow``: every record of
    its contract is deleted here, and subscribers are told. Granted again, it comes from the top."""

    def __init__(self, follow: Follow, store: Store, feed: Feed) -> None:
        self.hop = follow.hop
        self._follow = follow
        self._store = store
        self._feed = feed

    async def run(self, stop: asyncio.Event) -> None:
        """See :class:`agents.base.run.Part`."""
        name, hop, store = self._follow.contract.name, self.hop, self._store
        self._follow.show()
        async with store.lock:
            store.abandon(name)
            store.tell_again(name)
            gone = await in_thread(partial(store.told_again, name, ()))
            self._feed.publish(gone)
        if gone:
            log.info("the grant has ended; nothing of it is kept", contract=name, count=len(gone))
        hop.state, hop.error, hop.lag = "ended", None, 0
        hop.aligned = max(hop.aligned, self._follow.resync)
        await stop.wait()
