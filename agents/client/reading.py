"""From a window's JSON to what the caller asked for: dicts by a contract's name, or its class."""

import datetime
import re
from collections.abc import Callable, Mapping
from typing import Any, Generic, Literal, cast

import msgspec
from msgspec import inspect

from agents.client.errors import RecordMisfit
from agents.client.events import Change, Found, R, Watermark


class _Body(msgspec.Struct):
    """A record as windows write it, in the feed and elsewhere."""

    contract: str = ""
    key: str = ""
    record: msgspec.Raw = msgspec.Raw(b"null")
    scope: str = ""
    time: datetime.datetime | None = None
    id: str = ""
    sequence: str = ""
    source: str = ""
    dataschema: str = ""
    op: Literal["put", "delete"] = "put"
    state: bool = False
    refused: dict[str, Any] | None = None


_body = msgspec.json.Decoder(_Body).decode
_fields = msgspec.json.Decoder(dict[str, Any] | None).decode
_watermark = msgspec.json.Decoder(Watermark).decode
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def contract_name(contract: str | type) -> str:
    """``resident.v2`` of ``ResidentV2``. Raises TypeError for a class that is no contract's."""
    if isinstance(contract, str):
        return contract
    from contracts.subjects import RECORDS

    for name, record in RECORDS.items():
        if record is contract:
            return name
    # One of the caller's own, named as `levelsync contract new` names them.
    found = re.fullmatch(r"(\w+?)V(\d+)", contract.__name__)
    if not (found and issubclass(contract, msgspec.Struct)):
        raise TypeError(
            f"Expected a contract's name, or its class such as ResidentV2, got {contract!r}"
        )
    subject = re.sub(r"(?<!^)(?=[A-Z])", "_", found[1]).lower()
    return f"{subject}.v{found[2]}"


class Reading(Generic[R]):
    """How one caller gets records."""

    def __init__(self, contract: str | type[R]) -> None:
        self._record = _into_dict if isinstance(contract, str) else _into(contract)

    def change(self, data: bytes, token: str | None) -> Change[R]:
        """A ``change`` message of the feed. Raises RecordMisfit."""
        return self._change(_body(data), token)

    def _change(self, body: _Body, token: str | None) -> Change[R]:
        return Change(
            op=body.op,
            contract=body.contract,
            key=body.key,
            record=self._record(body),
            scope=body.scope,
            time=body.time or _EPOCH,
            id=body.id,
            sequence=body.sequence,
            source=body.source,
            state=body.state,
            token=token,
        )

    def past(self, contract: str, key: str, data: bytes) -> list[Change[R]]:
        """The changes of an answer to ``history``. Raises RecordMisfit."""
        rows = msgspec.json.decode(data, type=_Past).changes
        for body in rows:
            body.contract, body.key = contract, key
        return [self._change(body, None) for body in rows]

    def found(self, data: bytes, as_of: str | None) -> Found[R]:
        """One answered record. Raises RecordMisfit."""
        return self._found(_body(data), moment(as_of))

    def page(self, data: bytes, as_of: str | None) -> tuple[list[Found[R]], str | None]:
        """The records of a page, and after which key the next begins. Raises RecordMisfit."""
        page, time = msgspec.json.decode(data, type=_Page), moment(as_of)
        return [self._found(body, time) for body in page.records], page.next

    def _found(self, body: _Body, as_of: datetime.datetime | None) -> Found[R]:
        return Found(
            contract=body.contract,
            key=body.key,
            record=self._record(body),
            complete_as_of=as_of,
            scope=body.scope,
            time=body.time,
            id=body.id,
            sequence=body.sequence,
            source=body.source,
            dataschema=body.dataschema,
            refused=body.refused,
        )


class _Page(msgspec.Struct):
    records: list[_Body]
    next: str | None = None


class _Past(msgspec.Struct):
    changes: list[_Body]


def watermark(data: bytes) -> Watermark:
    """A ``watermark`` message of the feed."""
    return _watermark(data)


def moment(text: str | None) -> datetime.datetime | None:
    """``Complete-As-Of`` as a time; None for ``unknown``."""
    if not text or text == "unknown":
        return None
    return datetime.datetime.fromisoformat(text)


def _into_dict(body: _Body) -> Any:
    return _fields(body.record)


def _into(cls: type[R]) -> Callable[[_Body], R | None]:
    decode = msgspec.json.Decoder(cls | None).decode
    known = _known(inspect.type_info(cls))

    def record(body: _Body) -> R | None:
        try:
            return cast("R | None", decode(body.record))
        except msgspec.ValidationError:
            pass
        # A later revision of the contract may have more fields than the class.
        try:
            return msgspec.convert(known(_fields(body.record)), cls)
        except msgspec.ValidationError as error:
            raise RecordMisfit(
                f"{cls.__name__} cannot be filled with `{body.key}` of `{body.contract}`: {error}."
                " This window may show you fewer fields, or masks: see `fields` in /v1/contracts."
                f' Ask by the name, "{body.contract}", which gives dicts'
            ) from None

    return record


def _known(found: inspect.Type) -> Callable[[Any], Any]:
    """A function that leaves out of a JSON value what the type does not know."""
    match found:
        case inspect.Metadata():
            return _known(found.type)
        case inspect.UnionType():
            inside = [each for each in found.types if not isinstance(each, inspect.NoneType)]
            return _known(inside[0]) if len(inside) == 1 else _same
        case inspect.ListType() | inspect.VarTupleType():
            item = _known(found.item_type)
            return lambda value: (
                [item(each) for each in value] if isinstance(value, list) else value
            )
        case inspect.StructType():
            fields = {field.encode_name: _known(field.type) for field in found.fields}
            return lambda value: (
                {name: fields[name](each) for name, each in value.items() if name in fields}
                if isinstance(value, Mapping)
                else value
            )
    return _same


def _same(value: Any) -> Any:
    return value
