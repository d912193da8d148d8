"""The same names as :mod:`agents.client`, for scripts and threads without an event loop.

A window here keeps one thread, in which its connections live; any number of threads may use it. Within a
running event loop it would hold everything else up, so it raises RuntimeError there.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Generator, Iterator
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack, overload

from agents.client.events import (
    Change,
    Correction,
    Event,
    Fields,
    Found,
    Live,
    R,
    Reset,
    Watermark,
)
from agents.client.feed import Following
from agents.client.loop import LoopThread
from agents.client.position import FilePosition
from agents.client.window import Window as _Window

__all__ = [
    "Change",
    "Correction",
    "Event",
    "FilePosition",
    "Found",
    "Live",
    "Reset",
    "Watermark",
    "Window",
    "lookup",
    "subscribe",
]

_R = TypeVar("_R")


class Window:
    """:class:`agents.client.Window`, blocking."""

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        ca: str | os.PathLike[str] | None = None,
        patience: float = 5.0,
    ) -> None:
        self._window = _Window(url, token, ca=ca, patience=patience)
        self._thread: LoopThread | None = LoopThread("levelsync-client")

    @property
    def url(self) -> str:
        """Where it is."""
        return self._window.url

    @overload
    def subscribe(
        self, contract: type[R], /, **how: Unpack[Following]
    ) -> Generator[Event[R], None, None]: ...
    @overload
    def subscribe(
        self, /, *contracts: str, **how: Unpack[Following]
    ) -> Generator[Event[Fields], None, None]: ...
    def subscribe(
        self, /, *contracts: Any, **how: Unpack[Following]
    ) -> Generator[Event[Any], None, None]:
        """See :meth:`agents.client.Window.subscribe`."""
        return self._each(self._window.subscribe(*contracts, **how))

    @overload
    def lookup(self, contract: type[R], key: str) -> Found[R]: ...
    @overload
    def lookup(self, contract: str, key: str) -> Found[Fields]: ...
    def lookup(self, contract: Any, key: str) -> Found[Any]:
        """See :meth:`agents.client.Window.lookup`."""
        found: Found[Any] = self._run(self._window.lookup(contract, key))
        return found

    @overload
    def records(
        self, contract: type[R], *, scope: str = "", where: str = "", after: str = ""
    ) -> Iterator[Found[R]]: ...
    @overload
    def records(
        self, contract: str, *, scope: str = "", where: str = "", after: str = ""
    ) -> Iterator[Found[Fields]]: ...
    def records(
        self, contract: Any, *, scope: str = "", where: str = "", after: str = ""
    ) -> Iterator[Found[Any]]:
        """See :meth:`agents.client.Window.records`."""
        return self._each(self._window.records(contract, scope=scope, where=where, after=after))

    @overload
    def search(
        self, contract: type[R], /, *, scope: str = "", where: str = "", **field: str
    ) -> Iterator[Found[R]]: ...
    @overload
    def search(
        self, contract: str, /, *, scope: str = "", where: str = "", **field: str
    ) -> Iterator[Found[Fields]]: ...
    def search(
        self, contract: Any, /, *, scope: str = "", where: str = "", **field: str
    ) -> Iterator[Found[Any]]:
        """See :meth:`agents.client.Window.search`."""
        return self._each(self._window.search(contract, scope=scope, where=where, **field))

    @overload
    def history(self, contract: type[R], key: str, *, limit: int = 50) -> list[Change[R]]: ...
    @overload
    def history(self, contract: str, key: str, *, limit: int = 50) -> list[Change[Fields]]: ...
    def history(self, contract: Any, key: str, *, limit: int = 50) -> list[Change[Any]]:
        """See :meth:`agents.client.Window.history`."""
        changes: list[Change[Any]] = self._run(self._window.history(contract, key, limit=limit))
        return changes

    def contracts(self) -> list[Fields]:
        """See :meth:`agents.client.Window.contracts`."""
        return self._run(self._window.contracts())

    def correct(
        self,
        contract: str | type,
        key: str,
        field: str,
        seen: Any,
        proposed: Any,
        evidence: str = "",
    ) -> Correction:
        """See :meth:`agents.client.Window.correct`."""
        return self._run(self._window.correct(contract, key, field, seen, proposed, evidence))

    def corrections(
        self, contract: str | type | None = None, *, key: str = "", state: str = ""
    ) -> Iterator[Correction]:
        """See :meth:`agents.client.Window.corrections`."""
        return self._each(self._window.corrections(contract, key=key, state=state))

    def _run(self, coroutine: Coroutine[Any, Any, _R]) -> _R:
        try:
            if self._thread is None:
                raise RuntimeError("Expected an open window, got one that was closed")
            if _in_a_loop():
                raise RuntimeError(
                    "Expected no running event loop, which this would hold up: use agents.client"
                    " with async for and await, or call it in a thread (asyncio.to_thread)"
                )
        except RuntimeError:
            coroutine.close()
            raise
        return self._thread.run(coroutine)

    def _each(self, events: AsyncIterator[_R]) -> Generator[_R, None, None]:
        try:
            while True:
                try:
                    event = self._run(_following(events))
                except StopAsyncIteration:
                    return
                yield event
        finally:
            if isinstance(events, AsyncGenerator) and self._thread is not None:
                self._thread.run(_closed(events))

    def close(self) -> None:
        """Close its connections and end its thread."""
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.run(self._window.close())
            thread.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return repr(self._window)


def _in_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def _following(events: AsyncIterator[_R]) -> _R:
    return await anext(events)


async def _closed(events: AsyncGenerator[Any, None]) -> None:
    await events.aclose()


@overload
def subscribe(
    contract: type[R],
    /,
    *,
    url: str | None = None,
    token: str | None = None,
    **how: Unpack[Following],
) -> Generator[Event[R], None, None]: ...
@overload
def subscribe(
    *contracts: str,
    url: str | None = None,
    token: str | None = None,
    **how: Unpack[Following],
) -> Generator[Event[Fields], None, None]: ...
def subscribe(
    *contracts: Any,
    url: str | None = None,
    token: str | None = None,
    **how: Unpack[Following],
) -> Generator[Event[Any], None, None]:
    """:meth:`Window.subscribe`, at a window that is closed with the feed."""
    with Window(url, token) as window:
        yield from window.subscribe(*contracts, **how)


@overload
def lookup(
    contract: type[R], key: str, *, url: str | None = None, token: str | None = None
) -> Found[R]: ...
@overload
def lookup(
    contract: str, key: str, *, url: str | None = None, token: str | None = None
) -> Found[Fields]: ...
def lookup(
    contract: Any, key: str, *, url: str | None = None, token: str | None = None
) -> Found[Any]:
    """:meth:`Window.lookup`, on a connection of its own; for many, keep a :class:`Window`."""
    with Window(url, token) as window:
        found: Found[Any] = window.lookup(contract, key)
        return found
