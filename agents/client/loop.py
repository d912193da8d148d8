"""An event loop in a thread of its own, for callers that have none."""

import asyncio
import concurrent.futures
import threading
import weakref
from collections.abc import Coroutine
from typing import Any, TypeVar

_R = TypeVar("_R")


class LoopThread:
    """Runs coroutines for other threads. Ends with :meth:`close`, or when nobody holds it any more."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=_run, args=(self._loop,), name=name, daemon=True
        )  # fmt: skip
        self._thread.start()
        self._ended = weakref.finalize(self, self._loop.call_soon_threadsafe, self._loop.stop)

    def run(self, coroutine: Coroutine[Any, Any, _R]) -> _R:
        """The result of ``coroutine``; what it raises is raised here. Cancels it when the waiting thread
        is interrupted."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except BaseException:
            if future.cancel():
                # What it was at is put down before anybody else goes on.
                concurrent.futures.wait([asyncio.run_coroutine_threadsafe(_turn(), self._loop)])
            raise

    def close(self) -> None:
        """End the loop and its thread."""
        if self._ended.alive:
            self._ended()
            self._thread.join()


async def _turn() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        rest = asyncio.all_tasks(loop)
        for task in rest:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*rest, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()
