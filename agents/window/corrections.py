"""Corrections over HTTP (校核纠错): a clerk says that a record is wrong, and sees what became of it."""

import datetime
import hashlib
import json
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from aiohttp import web

from agents.base.outgoing import OutgoingFull
from agents.window.answers import VISITOR, Problem, answer, find, parameters, whole
from agents.window.book import STATES, Book, Known
from agents.window.office import Office
from agents.window.rights import Sight
from contracts.check import Checker
from contracts.model import Contract
from contracts.rejected import Rejected
from contracts.subjects.correction import (
    CORRECTION,
    MOST_EVIDENCE,
    MOST_VALUE,
    CorrectionV1,
)

#: Corrections of one visitor that are open at once, and bytes of a request.
MOST_OPEN, MOST_BODY = 200, 64 * 1024
#: In one page at most, and when not said.
LARGEST_PAGE, PAGE_SIZE = 500, 100


class Desk:
    """Where corrections are filed at a window.

    ``route`` says why a contract's corrections would reach nobody, empty when they do; ``masked`` are the
    fields of a contract that this node itself was given less than whole.
    """

    def __init__(
        self,
        book: Book,
        node: str,
        route: Callable[[str], str],
        masked: Callable[[str], Mapping[str, Any]],
    ) -> None:
        self.book, self.node = book, node
        self.route, self.masked = route, masked

    def new_id(self) -> str:
        """An id that sorts by time."""
        return f"{time.time_ns() // 1000:014x}-{self.node}-{secrets.token_hex(3)}"


class Asked(msgspec.Struct, forbid_unknown_fields=True):
    """What a clerk sends; ``seen`` and ``proposed`` are the field's value as JSON."""

    field: str
    seen: Any
    proposed: Any
    evidence: str = ""


def add_corrections(app: web.Application, office: Office) -> None:
    """Add the addresses to ``app``; without a desk they say that there is none."""
    filing = _Filing(office)
    app.router.add_post("/v1/{contract}/records/{key}/corrections", filing.file)
    app.router.add_get("/v1/corrections", filing.listed)


class _Filing:
    def __init__(self, office: Office) -> None:
        self._office = office
        self._checkers: dict[str, tuple[Contract, Checker]] = {}

    # ---- filing ------------------------------------------------------------------------------

    async def file(self, request: web.Request) -> web.Response:
        """Put a correction on its way."""
        parameters(request)
        visitor, desk = request[VISITOR], self._desk()
        follow = find(self._office, request.match_info["contract"], visitor)
        name, key = follow.contract.name, request.match_info["key"]
        if not visitor.corrections:
            raise Problem(
                403, "Corrections are not allowed", f"`{visitor.name}` may look, not propose"
            )
        asked = _asked(await _body(request))
        who = f"{visitor.kind} {visitor.name}"
        idempotency = request.headers.get("Idempotency-Key", "")[:200]
        digest = _digest(name, key, asked)
        if idempotency and (before := desk.book.filed(who, idempotency)):
            if before[1] != digest:
                raise Problem(
                    422, "Idempotency-Key used before", "Expected the same correction under it"
                )
            known = desk.book.find(before[0])
            assert known
            return answer(_described(known, whole=True), status=201)
        sight = visitor.sight(name)
        assert sight
        entry = self._office.store.get(name, key)
        if entry is None or not sight.covers(entry.scope):
            raise Problem(404, "No such record", f"`{name}` has no `{key}`")
        contract = follow.contract
        self._sees(contract, sight, asked.field)
        record = msgspec.json.decode(entry.value)
        current = record.get(asked.field, _default(contract, asked.field))
        if asked.seen != current or type(asked.seen) is not type(current):
            return _changed(current, entry.id)
        if asked.proposed == current:
            raise Problem(422, "Nothing to correct", "Expected another value than what is there")
        self._fits(contract, record, asked)
        if why := desk.route(name):
            raise Problem(409, "Corrections go nowhere from here", why)
        open_ = sum(
            1
            for line in desk.book.lines()
            if line.open and line.node == desk.node and line.filed_by == visitor.name
        )
        if open_ >= MOST_OPEN:
            raise Problem(
                429, "Too many open corrections",
                f"Expected fewer than {MOST_OPEN} that wait for an answer, got {open_}",
                {"Retry-After": "3600"},
            )  # fmt: skip
        correction = CorrectionV1(
            id=desk.new_id(),
            contract=name,
            key=key,
            record_division=entry.scope,
            field=asked.field,
            seen=_text(asked.seen),
            proposed=_text(asked.proposed),
            evidence=asked.evidence,
            seen_id=entry.id,
            filed_by=visitor.name,
            filed_at=datetime.datetime.now(datetime.UTC),
            node=desk.node,
            division=desk.node.partition("-")[0],
        )
        try:
            desk.book.file(correction, who, idempotency, digest)
        except OutgoingFull as error:
            raise Problem(
                503, "There is no room for it", f"{error} Send the same again.",
                {"Retry-After": "30"},
            ) from None  # fmt: skip
        return answer(_described(Known(correction, None), whole=True), status=201)

    def _desk(self) -> Desk:
        desk = self._office.corrections
        if desk is None:
            raise Problem(404, "No corrections here", "This window takes in no corrections")
        return desk

    def _sees(self, contract: Contract, sight: Sight, field: str) -> None:
        """Raises Problem unless ``field`` is shown whole to the one who has ``sight``."""
        desk = self._desk()
        shown = [
            name
            for name in sight.contract(contract).field_names
            if name not in sight.mask and name not in desk.masked(contract.name)
        ]
        if field not in shown:
            raise Problem(
                422, "Not a field that can be corrected",
                f"Expected one that is shown whole ({', '.join(shown)}), got `{field[:63]}`"
                " - at `$.field`",
            )  # fmt: skip

    def _fits(self, contract: Contract, record: dict[str, Any], asked: Asked) -> None:
        """Raises Problem where the contract would not take the proposed value in this field.

        Rules across fields are not asked: what is right may take more than one correction.
        """
        found = self._checkers.get(contract.name)
        if found is None or found[0] is not contract:
            found = (contract, Checker(msgspec.structs.replace(contract, rules=())))
            self._checkers[contract.name] = found
        try:
            found[1].decode(msgspec.json.encode({**record, asked.field: asked.proposed}))
        except Rejected as refused:
            path = f"$.{asked.field}"
            if refused.path == path or refused.path.startswith((f"{path}.", f"{path}[")):
                raise Problem(
                    422, "The contract does not take it",
                    f"{refused.message} - at `$.proposed`, by rule `{refused.rule}` of"
                    f" `{contract.dataschema}`",
                ) from None  # fmt: skip

    # ---- what became of them -----------------------------------------------------------------

    async def listed(self, request: web.Request) -> web.Response:
        """Corrections that the visitor may see, the newest first."""
        given = parameters(request, "contract", "key", "state", "after", "limit")
        limit = whole(given.get("limit", str(PAGE_SIZE)), "limit", LARGEST_PAGE)
        state = given.get("state", "")
        if state and state not in STATES:
            raise Problem(
                400, "Wrong parameter", f"Expected state={'|'.join(STATES)}, got `{state}`"
            )
        visitor, book = request[VISITOR], self._desk().book
        self._office.journal.tell(visitor, "page", CORRECTION.name, request.query_string)
        found: list[dict[str, Any]] = []
        following = None
        for line in book.lines():
            wanted = (
                (not given.get("after") or line.id < given["after"])
                and line.contract == given.get("contract", line.contract)
                and line.key == given.get("key", line.key)
                and (not state or line.state == state)
            )
            sight = visitor.sight(line.contract) if wanted else None
            if sight is None or (known := book.find(line.id)) is None:
                continue
            if not sight.covers(known.correction.record_division):
                continue
            if len(found) == limit:
                following = found[-1]["id"]
                break
            found.append(_described(known, whole=self._sees_whole(sight, known)))
        return answer({"corrections": found, "next": following})

    def _sees_whole(self, sight: Sight, known: Known) -> bool:
        field, contract = known.correction.field, known.correction.contract
        shown = not sight.fields or field in sight.fields
        return shown and field not in sight.mask and field not in self._desk().masked(contract)


def _asked(raw: bytes) -> Asked:
    try:
        asked = msgspec.json.decode(raw, type=Asked)
    except msgspec.ValidationError as error:
        raise Problem(422, "Not a correction", str(error)) from None
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise Problem(400, "Not JSON", str(error)) from None
    if len(asked.evidence) > MOST_EVIDENCE:
        raise Problem(
            422, "Too much evidence",
            f"Expected at most {MOST_EVIDENCE} characters, got {len(asked.evidence)} - at"
            " `$.evidence`",
        )  # fmt: skip
    for name in ("seen", "proposed"):
        if (length := len(_text(getattr(asked, name)))) > MOST_VALUE:
            raise Problem(
                422, "Too long",
                f"Expected at most {MOST_VALUE} characters of JSON, got {length} - at `$.{name}`",
            )  # fmt: skip
    return asked


async def _body(request: web.Request) -> bytes:
    if (request.content_length or 0) > MOST_BODY:
        raise Problem(413, "Too large", f"Expected at most {MOST_BODY} bytes")
    raw = bytearray()
    async for piece in request.content.iter_chunked(16 * 1024):
        raw += piece
        if len(raw) > MOST_BODY:
            raise Problem(413, "Too large", f"Expected at most {MOST_BODY} bytes")
    return bytes(raw)


def _digest(contract: str, key: str, asked: Asked) -> str:
    said = msgspec.json.encode([contract, key, asked], order="sorted")
    return hashlib.sha256(said).hexdigest()


def _text(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _default(contract: Contract, name: str) -> Any:
    return next((field.default for field in contract.fields if field.name == name), None)


def _changed(current: Any, identity: str) -> web.Response:
    """The record is another by now; with what it is."""
    body = {
        "type": "about:blank",
        "title": "The record has changed",
        "status": 409,
        "detail": "Expected `seen` to be the value that is there; look at the record again",
        "current": current,
        "id": identity,
    }
    return web.Response(
        status=409,
        body=json.dumps(body, ensure_ascii=False).encode(),
        content_type="application/problem+json",
    )


def _described(known: Known, *, whole: bool) -> dict[str, Any]:
    """A correction as shown; without values and words to one who does not see the field whole."""
    correction, said = known.correction, known.answer
    return {
        "id": correction.id,
        "contract": correction.contract,
        "key": correction.key,
        "field": correction.field,
        "seen": json.loads(correction.seen) if whole else None,
        "proposed": json.loads(correction.proposed) if whole else None,
        "evidence": correction.evidence if whole else None,
        "filed_at": correction.filed_at,
        "filed_by": correction.filed_by,
        "node": correction.node,
        "state": known.state,
        "due": said.due if said else None,
        "overdue": known.overdue(time.time()),
        "note": (said.note or None) if said and whole else None,
        "answered_by": (said.answered_by or None) if said else None,
        "answered_at": said.answered_at if said else None,
    }
