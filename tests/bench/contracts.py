"""Contracts beside pydantic 2, fastavro and jsonschema-rs: an event from the bytes of a record to its
checked fields, and back to bytes.

Every side takes the same residents. Headers and value of a record become an event whose value is checked
against its contract, and that becomes headers and value again. What each peer is given to do:

- pydantic checks all the contract does, with the check digit by the same function, and the envelope by a
  model of its own;
- fastavro reads and writes its own bytes, which carry types and codes alone, so patterns, lengths and
  check digits go unchecked; the envelope is read and written by ours;
- jsonschema-rs judges the exported JSON Schema with the check digit as a format by the same function,
  beside ``json``; the envelope is read and written by ours.

Rules across fields are left out there and measured by themselves in ``rules``.
"""

import gc
import io
import json
import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal

import fastavro
import jsonschema_rs
import msgspec
import pydantic

from agents.demo.office import resident_columns
from agents.demo.people import COUNTY, People
from contracts.check import Checker
from contracts.envelope import Event, Header, event_of, headers_of
from contracts.identifiers import citizen_fault
from contracts.model import Contract
from contracts.shape import Date, DateTime, Enum
from contracts.subjects import CONTRACTS
from tests.bench.figures import percentile
from tests.bench.usage import machine

NAMES = ("pydantic", "fastavro", "jsonschema-rs", "rules")
#: Residents, and how long each side works on them.
RECORDS, SECONDS, ROUNDS = 2_000, 1.0, 5

Work = Callable[[], Any]
Wire = tuple[list[Header], bytes]


async def run(cases: Sequence[str], quick: bool) -> dict[str, Any]:
    """Run the cases named, all when none is; see :mod:`tests.bench`."""
    seconds = 0.2 if quick else SECONDS
    events = _events()
    made = {
        "pydantic": lambda: _beside("pydantic", events, _pydantic(events), seconds),
        "fastavro": lambda: _beside("fastavro", events, _fastavro(events), seconds),
        "jsonschema-rs": lambda: _beside("jsonschema-rs", events, _jsonschema(events), seconds),
        "rules": lambda: _rules(events, seconds),
    }
    return {
        "bench": "contracts",
        "machine": machine(),
        "cases": [made[name]() for name in cases or NAMES],
    }


def _plain() -> Contract:
    return msgspec.structs.replace(CONTRACTS["resident.v2"], rules=())


def _events() -> list[Wire]:
    """Residents as their owner's agent writes them."""
    people, checker = People(11), Checker(CONTRACTS["resident.v2"])
    columns = resident_columns()
    found = []
    for number in range(RECORDS):
        row = people.resident(COUNTY)
        checked = checker.check({field: row[column] for field, column in columns.items()})
        event = Event(
            key=checked.key,
            value=checked.value,
            id=f"7321684/16/B374D848/{number}",
            source="/37/resident.v2",
            type="resident.v2.changed",
            time=1_795_000_000_000_000 + number * 3_917,
            dataschema="resident.v2/2.0",
            sequence=f"000000016B374D848-{number:08}",
            scope=checked.scope,
        )
        found.append((headers_of(event), checked.value))
    return found


# ---- the sides -------------------------------------------------------------------------------


def _ours(events: list[Wire]) -> Callable[[Wire], Wire]:
    accept = Checker(_plain()).accept

    def both(wire: Wire) -> Wire:
        headers, value = wire
        event = event_of(value, headers)
        checked = accept(value)
        return headers_of(event), checked.value

    return both


def _pydantic(events: list[Wire]) -> Callable[[Wire], Wire]:
    def citizen(number: str) -> str:
        if (fault := citizen_fault(number)) is not None:
            raise ValueError(fault)
        return number

    fields: dict[str, Any] = {}
    for field in _plain().fields:
        shape = field.shape
        kind: Any
        if isinstance(shape, Enum):
            kind = Literal[shape.values]
        elif isinstance(shape, Date):
            kind = date
        elif isinstance(shape, DateTime):
            kind = pydantic.AwareDatetime
        elif getattr(shape, "format", None) == "citizen-number":
            kind = Annotated[str, pydantic.AfterValidator(citizen)]
        else:
            kind = Annotated[
                str,
                pydantic.StringConstraints(
                    min_length=getattr(shape, "min_length", 0),
                    max_length=getattr(shape, "max_length", None),
                    pattern=getattr(shape, "pattern", None),
                ),
            ]
        kind = kind | None if shape.nullable else kind
        fields[field.name] = (kind, ... if field.required else field.default)
    resident = pydantic.create_model(
        "Resident", __config__=pydantic.ConfigDict(extra="forbid", strict=False), **fields
    )

    class Envelope(pydantic.BaseModel):
        ce_specversion: Literal["1.0"]
        ce_type: str
        ce_id: str
        ce_source: str
        ce_subject: str
        ce_time: pydantic.AwareDatetime
        ce_dataschema: str
        ce_sequence: str
        ce_scope: str = ""
        ce_traceparent: str | None = None
        content_type: str = pydantic.Field(alias="content-type")

    def both(wire: Wire) -> Wire:
        headers, value = wire
        envelope = Envelope.model_validate({name: text.decode() for name, text in headers})
        record = resident.model_validate_json(value)
        back = envelope.model_dump(mode="json", by_alias=True, exclude_none=True)
        return (
            [(name, text.encode()) for name, text in back.items()],
            record.model_dump_json().encode(),
        )

    return both


def _fastavro(events: list[Wire]) -> Callable[[Wire], Wire]:
    fields = []
    for field in _plain().fields:
        shape = field.shape
        kind: Any = "string"
        if isinstance(shape, Date):
            kind = {"type": "int", "logicalType": "date"}
        elif isinstance(shape, DateTime):
            kind = {"type": "long", "logicalType": "timestamp-micros"}
        fields.append({"name": field.name, "type": ["null", kind] if shape.nullable else kind})
    schema: Any = fastavro.parse_schema({"type": "record", "name": "Resident", "fields": fields})
    packed = {}
    for _, value in events:
        row = json.loads(value)
        row["birth_date"] = date.fromisoformat(row["birth_date"])
        row["registered_at"] = datetime.fromisoformat(row["registered_at"]).astimezone(UTC)
        out = io.BytesIO()
        fastavro.schemaless_writer(out, schema, row)
        packed[value] = out.getvalue()

    def both(wire: Wire) -> Wire:
        headers, value = wire
        raw = packed[value]
        event = event_of(raw, headers)
        record = fastavro.schemaless_reader(io.BytesIO(raw), schema, None)
        out = io.BytesIO()
        fastavro.schemaless_writer(out, schema, record)
        return headers_of(event), value if out.getvalue() == raw else b""

    return both


def _jsonschema(events: list[Wire]) -> Callable[[Wire], Wire]:
    from contracts.export.json_schema import json_schema

    validator = jsonschema_rs.validator_for(
        json_schema(_plain()),
        validate_formats=True,
        formats={"citizen-number": lambda number: citizen_fault(number) is None},
    )

    def both(wire: Wire) -> Wire:
        headers, value = wire
        event = event_of(value, headers)
        record = json.loads(value)
        validator.validate(record)
        text = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
        return headers_of(event), text.encode()

    return both


# ---- measuring -------------------------------------------------------------------------------


def _beside(
    name: str, events: list[Wire], peer: Callable[[Wire], Wire], seconds: float
) -> dict[str, Any]:
    ours = _ours(events)
    mine, theirs = _alternate(_over(events, ours), _over(events, peer), seconds)
    right = [_read(ours(wire)) for wire in events] == [_read(wire) for wire in events]
    equal = [_read(peer(wire)) for wire in events] == [_read(wire) for wire in events]
    return {
        "case": name,
        "equal": right and equal,
        "levelsync": _side(mine, len(events), right),
        "peer": {"name": name, **_side(theirs, len(events), equal)},
    }


def _read(wire: Wire) -> Any:
    headers, value = wire
    moments = ("birth_date", "registered_at")
    record = json.loads(value)
    for each in moments:
        record[each] = datetime.fromisoformat(record[each])
    found = dict(headers)
    found["ce_time"] = datetime.fromisoformat(found["ce_time"].decode())  # type: ignore[assignment]
    return sorted(found.items(), key=lambda pair: pair[0]), record


def _rules(events: list[Wire], seconds: float) -> dict[str, Any]:
    """What each rule of the residents' contract costs, beside the same said in Python to pydantic."""
    whole, plain = Checker(CONTRACTS["resident.v2"]), Checker(_plain())
    values = [value for _, value in events]
    with_rules, without = _alternate(
        _over(values, whole.decode), _over(values, plain.decode), seconds
    )
    count = max(len(CONTRACTS["resident.v2"].rules), 1)
    cost = (percentile(with_rules, 0.5) - percentile(without, 0.5)) / len(values) / count * 1e6
    return {
        "case": "rules",
        "equal": True,
        "levelsync": {**_side(with_rules, len(values), True), "us_per_rule": round(cost, 2)},
        "peer": {
            "name": "the same contract without its rules",
            **_side(without, len(values), True),
        },
        "note": f"each of the {count} rules in CEL costs {cost:.2f} µs",
    }


def _over(items: Sequence[Any], work: Callable[[Any], Any]) -> Work:
    """``work`` on one after the other, keeping nothing, as an agent does."""
    return lambda: deque(map(work, items), maxlen=0)


def _alternate(ours: Work, theirs: Work, seconds: float) -> tuple[list[float], list[float]]:
    """Seconds that each run of both sides took, in turns, so that both meet the same machine."""
    mine: list[float] = []
    peers: list[float] = []
    ours()
    theirs()
    gc.collect()
    gc.disable()
    try:
        end = time.perf_counter() + seconds * ROUNDS * 2
        while time.perf_counter() < end or len(mine) < 3:
            for work, took in ((ours, mine), (theirs, peers)):
                began = time.process_time()
                work()
                took.append(time.process_time() - began)
    finally:
        gc.enable()
    return mine, peers


def _side(took: list[float], records: int, equal: bool) -> dict[str, Any]:
    middle = percentile(took, 0.5)
    return {
        "records_per_cpu_s": round(records / middle),
        "us_per_record": round(middle / records * 1e6, 2),
        "equal": equal,
    }
