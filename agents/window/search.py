"""Looking for records by what is in them: by a searchable field, or by an expression."""

import asyncio
import functools
import re
import time
from collections.abc import Mapping, Sequence

import msgspec

from agents.window.answers import Problem
from agents.window.rights import Sight
from agents.window.store import Entry, Store
from contracts.expression import Expression, WrongExpression
from contracts.model import Contract

#: Records looked at for one page, and seconds of work on it, at most; then the page ends early.
MOST, SECONDS = 20_000, 0.2
#: Records looked at, and seconds, before others have their turn; pages worked on at once.
TURN, TURN_SECONDS, AT_ONCE = 200, 0.005, 2

#: What goes through a list for each element of another takes time as no page has it.
_MACRO = re.compile(r"\.\s*(?:all|exists|exists_one|map|filter)\s*\(")
_QUOTED = re.compile(r"\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'")


def match_of(given: Mapping[str, str], seen: Contract) -> tuple[str, str] | None:
    """The searchable field asked for and its value, of the contract as its reader sees it; None where
    none is. Raises Problem."""
    field, value = given.get("field"), given.get("value")
    if field is None and value is None:
        return None
    if field is None or value is None:
        raise Problem(
            400, "Wrong parameter",
            f"Expected field and value together, got only {'value' if field is None else 'field'}",
        )  # fmt: skip
    if field not in seen.searchable:
        listed = ", ".join(seen.searchable) or "none"
        raise Problem(400, "Wrong parameter", f"Expected field=one of {listed}, got `{field}`")
    return field, value


def where_of(given: Mapping[str, str], seen: Contract) -> Expression | None:
    """The expression that records are to make true, over the fields their reader sees; None without
    one. Raises Problem."""
    text = given.get("where")
    if text is None:
        return None
    try:
        return _compiled(text, seen.field_names)
    except WrongExpression as wrong:
        raise Problem(
            400, "Wrong parameter", f"Expected where={wrong.expected}, got {wrong.found}"
        ) from None


@functools.lru_cache(256)
def _compiled(text: str, names: tuple[str, ...]) -> Expression:
    """Raises WrongExpression, also for what a contract may say and a reader may not: it would take
    longer than others should wait."""
    code = _QUOTED.sub("''", text)
    if len(_MACRO.findall(code)) > 1:
        raise WrongExpression("one of all, exists, exists_one, map and filter at most", "more")
    if re.search(r"\bmatches\s*\(", code):
        raise WrongExpression("contains, startsWith or endsWith", "matches")
    return Expression(text, names)


class Search:
    """Pages of records that make an expression true, a few at once and never long at a time."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._room = asyncio.Semaphore(AT_ONCE)

    async def page(
        self,
        contract: str,
        scopes: Sequence[str] | None,
        after: str,
        limit: int,
        match: tuple[str, str] | None,
        where: Expression,
        sight: Sight,
    ) -> tuple[list[Entry], str | None]:
        """Up to ``limit`` records with keys after ``after`` of which ``where`` is true, as ``sight``
        shows them, and the key after which to go on; None at the end.

        A record on which the expression fails is none of them.
        """
        found: list[Entry] = []
        looked, spent = 0, 0.0
        async with self._room:
            while True:
                begun = time.perf_counter()
                rows = self._store.page(contract, scopes, after, TURN, match)
                for entry in rows:
                    after = entry.key
                    looked += 1
                    if holds(where, sight.shown(entry.value)):
                        found.append(entry)
                        if len(found) == limit:
                            return found, after
                    if time.perf_counter() - begun > TURN_SECONDS:
                        break
                if len(rows) < TURN and (not rows or after == rows[-1].key):
                    return found, None
                spent += time.perf_counter() - begun
                if looked >= MOST or spent >= SECONDS:
                    return found, after
                await asyncio.sleep(0)


def holds(where: Expression, value: bytes) -> bool:
    """Is ``where`` true of a record's JSON? Not where it fails on it."""
    record = msgspec.json.decode(value)
    try:
        return where.holds({name: record.get(name) for name in where.fields})
    except ValueError:
        return False
