"""What a grant lets through: which rows, which fields, and how much of each."""

import hmac
from collections.abc import Sequence
from typing import Any, Protocol

import msgspec
import structlog

from agents.base.reduction import Reduction
from agents.base.stream import Record
from contracts.envelope import Header, header
from contracts.expression import Expression
from contracts.identifiers import within
from contracts.model import Contract, Mask

log = structlog.get_logger()

#: Scopes whose verdict is remembered.
_SCOPES = 100_000


class Terms(msgspec.Struct, frozen=True, omit_defaults=True):
    """A grant as the view's own watermarks carry it, so that a change of it is noticed.

    ``scope`` is the division rows must lie in, ``where`` a CEL expression over the record's fields,
    ``fields`` those that are given, ``key`` tells two secrets of ``hash`` masks apart without telling
    them.
    """

    scope: str = "0"
    where: str = ""
    fields: tuple[str, ...] = ()
    mask: dict[str, Mask] = {}
    key: str = ""
    #: From and to which revision records are stepped, where the copy is of another major.
    step: str = ""
    ended: bool = False

    @property
    def whole(self) -> bool:
        """Are all fields given as they are?"""
        return not (self.fields or self.mask or self.step)

    @property
    def everything(self) -> bool:
        """Is every row given, and whole?"""
        return self.scope == "0" and not self.where and self.whole and not self.ended


class Giving(Protocol):
    """What of each record goes on, and under which headers."""

    def given(self, record: Record) -> bytes | None:
        """The value, None when the record does not go on. Raises Unfit for one that should, but
        cannot."""
        ...

    def headers(self, record: Record) -> Sequence[Header]:
        """The headers it goes on with."""
        ...


class Whole:
    """Everything as it is."""

    def given(self, record: Record) -> bytes | None:
        """See :class:`Giving`."""
        return record.value

    def headers(self, record: Record) -> Sequence[Header]:
        """See :class:`Giving`."""
        return record.headers


def fingerprint(secret: str) -> str:
    """Tells whether a secret changed, and nothing else of it."""
    return hmac.digest(secret.encode(), b"levelsync mask fingerprint", "sha256").hex()[:16]


class Rule:
    """``Terms`` made ready: what of each record may be given away."""

    def __init__(self, terms: Terms, contract: Contract, *, to: str, secret: str = "") -> None:
        self.terms = terms
        self._where = Expression(terms.where, contract.field_names) if terms.where else None
        self._reduction = Reduction(terms.fields, terms.mask, to=to, secret=secret)
        self._verdicts: dict[bytes, bool] = {}
        self._failed = False
        self._plain = not (terms.where or terms.fields or terms.mask)

    def given(self, record: Record) -> bytes | None:
        """The value to give away, None when the record is not to be given at all.

        A record on which the expression fails is not given: better too little than too much.
        """
        if record.value is None or self.terms.ended or not self._within(record):
            return None
        if self._plain:
            return record.value
        kind = header(record.headers, "content-type") or b""
        form: Any = msgspec.msgpack if b"msgpack" in kind else msgspec.json
        try:
            fields = form.decode(record.value)
        except msgspec.DecodeError as error:
            self._left_out(error)
            return None
        if not isinstance(fields, dict):
            return None
        if self._where and not self._true(fields):
            return None
        if self.terms.whole:
            return record.value
        reduced: bytes = form.encode(self._reduction(fields))
        return reduced

    def headers(self, record: Record) -> Sequence[Header]:
        """See :class:`Giving`."""
        return record.headers

    def _within(self, record: Record) -> bool:
        scope = header(record.headers, "ce_scope") or b""
        verdict = self._verdicts.get(scope)
        if verdict is None:
            verdict = within(scope.decode(errors="replace"), self.terms.scope)
            if len(self._verdicts) < _SCOPES:
                self._verdicts[scope] = verdict
        return verdict

    def _true(self, fields: dict[str, Any]) -> bool:
        assert self._where
        try:
            return self._where.holds({name: fields.get(name) for name in self._where.fields})
        except ValueError as error:
            self._left_out(error)
            return False

    def _left_out(self, error: Exception) -> None:
        if not self._failed:
            self._failed = True
            log.warning("a grant's rule fails on records; they are left out", error=str(error))
