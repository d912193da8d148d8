"""One window, asynchronously: look-ups, pages, the feed and corrections."""

import contextlib
import os
from collections.abc import AsyncGenerator, AsyncIterator
from types import TracebackType
from typing import Any, Self, Unpack, overload

import msgspec

from agents.client.door import Door, segment
from agents.client.errors import NotThere
from agents.client.events import Change, Correction, Event, Fields, Found, R
from agents.client.feed import Following, follow
from agents.client.reading import Reading, contract_name, moment

#: Records asked for at once.
PAGE = 500


class Window:
    """A window at ``url``, as seen with ``token``.

    Left out, they are ``LEVELSYNC_WINDOW`` and ``LEVELSYNC_TOKEN`` of the environment, and the window of
    this machine. ``ca`` is a PEM file of whoever signed its certificate. ``patience`` are the seconds for
    which reading is tried again while the window is away. Close it, or use it as ``async with``.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        ca: str | os.PathLike[str] | None = None,
        patience: float = 5.0,
    ) -> None:
        self._door = Door(url, token, ca=ca, patience=patience)

    @property
    def url(self) -> str:
        """Where it is."""
        return self._door.url

    @overload
    def subscribe(
        self, contract: type[R], /, **how: Unpack[Following]
    ) -> AsyncGenerator[Event[R], None]: ...
    @overload
    def subscribe(
        self, /, *contracts: str, **how: Unpack[Following]
    ) -> AsyncGenerator[Event[Fields], None]: ...
    def subscribe(
        self, /, *contracts: Any, **how: Unpack[Following]
    ) -> AsyncGenerator[Event[Any], None]:
        """The state and every change of a contract's class, or of contracts by name: see
        :class:`agents.client.feed.Following`.

        Goes on over cuts by itself. Raises WindowError, and TypeError or ValueError for a wrong call.
        """
        if not contracts or (len(contracts) > 1 and not all(map(_is_name, contracts))):
            raise TypeError("Expected one contract's class, or one or more names")
        for name, known in (("from_", ("state", "now")), ("on_gap", ("raise", "state"))):
            if how.get(name, known[0]) not in known:
                raise ValueError(f"Expected {name}={known[0]} or {known[1]}, got {how.get(name)!r}")
        names = [contract_name(each) for each in contracts]
        return follow(self._door, names, Reading(contracts[0]), how)

    @overload
    async def lookup(self, contract: type[R], key: str) -> Found[R]: ...
    @overload
    async def lookup(self, contract: str, key: str) -> Found[Fields]: ...
    async def lookup(self, contract: Any, key: str) -> Found[Any]:
        """What is known of ``key``; its ``record`` is None when there is none. Raises WindowError."""
        name = contract_name(contract)
        try:
            body, headers = await self._door.get(f"/v1/{segment(name)}/records/{segment(key)}")
        except NotThere as no:
            if no.complete_as_of is None:
                raise
            time = moment(no.complete_as_of)
            return Found(contract=name, key=key, record=None, complete_as_of=time)
        return Reading[Any](contract).found(body, headers.get("Complete-As-Of"))

    @overload
    def records(
        self, contract: type[R], *, scope: str = "", where: str = "", after: str = ""
    ) -> AsyncIterator[Found[R]]: ...
    @overload
    def records(
        self, contract: str, *, scope: str = "", where: str = "", after: str = ""
    ) -> AsyncIterator[Found[Fields]]: ...
    def records(
        self, contract: Any, *, scope: str = "", where: str = "", after: str = ""
    ) -> AsyncIterator[Found[Any]]:
        """Every record of division ``scope`` for which the CEL expression ``where`` holds, after key
        ``after``, in the order of keys. Each page is as of when it was asked for. Raises WindowError."""
        return self._pages(contract, {"scope": scope, "where": where, "after": after})

    @overload
    def search(
        self, contract: type[R], /, *, scope: str = "", where: str = "", **field: str
    ) -> AsyncIterator[Found[R]]: ...
    @overload
    def search(
        self, contract: str, /, *, scope: str = "", where: str = "", **field: str
    ) -> AsyncIterator[Found[Fields]]: ...
    def search(
        self, contract: Any, /, *, scope: str = "", where: str = "", **field: str
    ) -> AsyncIterator[Found[Any]]:
        """Records by one searchable field, ``household_no="000000003"``. Raises WindowError."""
        if len(field) != 1:
            raise TypeError(
                f"Expected one field=value, got {len(field)}; say the others in where=, as CEL"
            )
        ((name, value),) = field.items()
        query = {"field": name, "value": value, "scope": scope, "where": where}
        return self._pages(contract, query)

    async def _pages(self, contract: Any, query: dict[str, str]) -> AsyncIterator[Found[Any]]:
        path, reading = f"/v1/{segment(contract_name(contract))}/records", Reading[Any](contract)
        asked: dict[str, str] = {name: value for name, value in query.items() if value}
        following: str | None = asked.get("after", "")
        while following is not None:
            if following:
                asked["after"] = following
            body, headers = await self._door.get(path, {**asked, "limit": str(PAGE)})
            page, following = reading.page(body, headers.get("Complete-As-Of"))
            for found in page:
                yield found

    @overload
    async def history(self, contract: type[R], key: str, *, limit: int = 50) -> list[Change[R]]: ...
    @overload
    async def history(
        self, contract: str, key: str, *, limit: int = 50
    ) -> list[Change[Fields]]: ...
    async def history(self, contract: Any, key: str, *, limit: int = 50) -> list[Change[Any]]:
        """Recent changes of ``key``, the newest first, as far as the feed reaches back. Raises
        WindowError."""
        name = contract_name(contract)
        path = f"/v1/{segment(name)}/records/{segment(key)}/history"
        body, _ = await self._door.get(path, {"limit": str(limit)})
        return Reading[Any](contract).past(name, key, body)

    async def contracts(self) -> list[Fields]:
        """The contracts that are shown here: names, fields, how complete. Raises WindowError."""
        body, _ = await self._door.get("/v1/contracts")
        return msgspec.json.decode(body, type=_Contracts).contracts

    async def correct(
        self,
        contract: str | type,
        key: str,
        field: str,
        seen: Any,
        proposed: Any,
        evidence: str = "",
    ) -> Correction:
        """Tell the record's owner that ``field`` should not be ``seen`` but ``proposed``.

        Filed once, however often it has to be asked. Raises WindowError; after Unavailable nobody knows
        whether it was filed: look into :meth:`corrections`.
        """
        path = f"/v1/{segment(contract_name(contract))}/records/{segment(key)}/corrections"
        filed = {"field": field, "seen": seen, "proposed": proposed, "evidence": evidence}
        body, _ = await self._door.post(path, filed)
        return msgspec.json.decode(body, type=Correction)

    async def corrections(
        self, contract: str | type | None = None, *, key: str = "", state: str = ""
    ) -> AsyncIterator[Correction]:
        """Corrections filed here, of one contract, key or state, and what became of them. Raises
        WindowError."""
        name = contract_name(contract) if contract else ""
        asked = {"contract": name, "key": key, "state": state}
        asked = {name: value for name, value in asked.items() if value}
        following: str | None = ""
        while following is not None:
            if following:
                asked["after"] = following
            body, _ = await self._door.get("/v1/corrections", asked)
            page = msgspec.json.decode(body, type=_Corrections)
            following = page.next
            for found in page.corrections:
                yield found

    async def close(self) -> None:
        """Close its connections."""
        await self._door.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"Window({self.url!r}, token=…)"


class _Contracts(msgspec.Struct):
    contracts: list[Fields]


class _Corrections(msgspec.Struct):
    corrections: list[Correction]
    next: str | None = None


def _is_name(contract: object) -> bool:
    return isinstance(contract, str)


@overload
def subscribe(
    contract: type[R],
    /,
    *,
    url: str | None = None,
    token: str | None = None,
    **how: Unpack[Following],
) -> AsyncGenerator[Event[R], None]: ...
@overload
def subscribe(
    *contracts: str,
    url: str | None = None,
    token: str | None = None,
    **how: Unpack[Following],
) -> AsyncGenerator[Event[Fields], None]: ...
def subscribe(
    *contracts: Any,
    url: str | None = None,
    token: str | None = None,
    **how: Unpack[Following],
) -> AsyncGenerator[Event[Any], None]:
    """:meth:`Window.subscribe`, at a window that is closed with the feed."""
    window = Window(url, token)
    return _closing(window, window.subscribe(*contracts, **how))


async def _closing(
    window: Window, events: AsyncGenerator[Event[Any], None]
) -> AsyncGenerator[Event[Any], None]:
    async with window, contextlib.aclosing(events):
        async for event in events:
            yield event


@overload
async def lookup(
    contract: type[R], key: str, *, url: str | None = None, token: str | None = None
) -> Found[R]: ...
@overload
async def lookup(
    contract: str, key: str, *, url: str | None = None, token: str | None = None
) -> Found[Fields]: ...
async def lookup(
    contract: Any, key: str, *, url: str | None = None, token: str | None = None
) -> Found[Any]:
    """:meth:`Window.lookup`, on a connection of its own; for many, keep a :class:`Window`."""
    async with Window(url, token) as window:
        found: Found[Any] = await window.lookup(contract, key)
        return found
