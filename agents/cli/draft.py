"""``levelsync contract new``: a first contract from a table, a sample or another description."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from agents.base.errors import LevelsyncError
from contracts.draft.guess import PROMISE, Draft, draft, of_contract
from contracts.draft.layout import spoken
from contracts.draft.sample import Sample, WrongSample
from contracts.draft.samples import LARGEST, csv_sample, json_sample, parsed
from contracts.draft.source_text import source_text
from contracts.export.json_schema_reader import contract_of
from contracts.export.odcs_reader import contract_of_odcs
from contracts.model import WrongContract

#: Open questions that are printed; the file has all.
SHOWN = 30
_KINDS = "FILE.csv, .json, .ndjson, .schema.json, .odcs.yaml or postgresql://…?table=schema.table"

_ODCS = (".odcs.yaml", ".odcs.yml")
_TABLES = (".csv", ".tsv", ".txt")
_RECORDS = (".json", ".ndjson", ".jsonl")


def add_new(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``levelsync contract new``."""
    parser.add_argument("subject", metavar="SUBJECT", help="what it is about: business_licence")
    parser.add_argument("--from", dest="source", metavar="SOURCE", help=_KINDS)
    parser.add_argument("--dsn", help="PostgreSQL, with --table instead of --from")
    parser.add_argument("--table", metavar="SCHEMA.TABLE", help="the table, with --dsn")
    parser.add_argument("--out", metavar="FILE.py", help="SUBJECT.py; `-` to print it")
    parser.add_argument("--json", action="store_true", help="for programs")


def new(args: argparse.Namespace) -> int:
    """Draft a contract and write it to a file that does not exist yet."""
    if bool(args.source) == bool(args.dsn) or bool(args.table) != bool(args.dsn):
        print(f"Expected --from {_KINDS}, or --dsn and --table", file=sys.stderr)
        return 2
    out = args.out or f"{args.subject}.py"
    if out != "-" and Path(out).exists():
        print(f"Expected no file yet at {out}, found one; name another with --out", file=sys.stderr)
        return 1
    try:
        made = _drafted(args)
        text = source_text(made.contract, origin=made.origin, questions=made.questions)
        if out == "-":
            print(text, end="")
        else:
            # "x": nobody's file is written over, also not one that came up meanwhile.
            with Path(out).open("x", encoding="utf-8") as file:
                file.write(text)
    except (WrongSample, WrongContract, LevelsyncError, OSError) as error:
        if args.json:
            print(json.dumps({"ok": False, "error": str(error)}, ensure_ascii=False))
        else:
            print(f"levelsync: {error}", file=sys.stderr)
        return 1
    told = sys.stderr if out == "-" else sys.stdout
    if args.json:
        print(json.dumps(_summary(made, out), ensure_ascii=False), file=told)
    else:
        print("\n".join(_told(made, out, args)), file=told)
    return 0


def _drafted(args: argparse.Namespace) -> Draft:
    if args.dsn:
        return draft(_described(args.dsn, args.table), args.subject)
    source: str = args.source
    if source.startswith(("postgresql://", "postgres://")):
        dsn, table = _parted(source)
        return draft(_described(dsn, table), args.subject)
    return _from_file(Path(source), args.subject)


def _described(dsn: str, table: str) -> Sample:
    from agents.capture.postgres_describe import describe

    return describe(dsn, table)


def _parted(address: str) -> tuple[str, str]:
    """A connection string with ``?table=`` as the string without it, and the table."""
    parts = urlsplit(address)
    given = parse_qsl(parts.query, keep_blank_values=True)
    table = next((value for name, value in given if name == "table"), "")
    if not table:
        raise WrongSample(
            "Expected the table behind the connection string, `…?table=schema.table`, found none"
        )
    rest = urlencode([(name, value) for name, value in given if name != "table"])
    return urlunsplit(parts._replace(query=rest)), unquote(table)


def _from_file(path: Path, subject: str) -> Draft:
    name = path.name.lower()
    if not name.endswith((*_ODCS, *_TABLES, *_RECORDS)):
        raise WrongSample(f"Expected {_KINDS}, got {path.name}")
    data, whole = _read(path)
    if name.endswith(_ODCS):
        contract = contract_of_odcs(_text(data, path, whole))
        return of_contract(contract, subject, f"the ODCS file {path.name}")
    if name.endswith(_TABLES):
        return draft(csv_sample(data, path.name, whole=whole), subject)
    if name.endswith(".schema.json") or (whole and b'"$schema"' in data[:4096]):
        return _from_schema(data, path, whole, subject)
    return draft(json_sample(data, path.name, whole=whole), subject)


def _from_schema(data: bytes, path: Path, whole: bool, subject: str) -> Draft:
    document = parsed(_text(data, path, whole), path.name)
    if not isinstance(document, dict):
        raise WrongSample(f"Expected a JSON Schema in {path.name}, found {type(document).__name__}")
    contract = contract_of(document)
    return of_contract(contract, subject, f"the JSON Schema {path.name}")


def _read(path: Path) -> tuple[bytes, bool]:
    """The first bytes of a file, and whether they are all."""
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except OSError as error:
        raise WrongSample(f"Expected a file that can be read at {path}: {error.strerror}") from None
    return data[:LARGEST], len(data) <= LARGEST


def _text(data: bytes, path: Path, whole: bool) -> str:
    if not whole:
        raise WrongSample(f"Expected at most {LARGEST} bytes in {path.name}, found more")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise WrongSample(
            f"Expected UTF-8 in {path.name}, found other at byte {error.start}"
        ) from None


# ---- what is said ----------------------------------------------------------------------------


def _asked(made: Draft) -> list[tuple[str, str]]:
    """The questions in the order of the file, fields first."""
    fields = made.contract.field_names
    order = {name: at for at, name in enumerate(fields)}
    where = sorted(made.questions, key=lambda name: order.get(name, len(order)))
    return [(name, question) for name in where for question in made.questions[name]]


def _summary(made: Draft, out: str) -> dict[str, Any]:
    contract = made.contract
    return {
        "ok": True,
        "file": out,
        "contract": contract.name,
        "revision": contract.revision,
        "fields": list(contract.field_names),
        "key": contract.key,
        "scope": contract.scope,
        "personal": contract.personal,
        "columns": made.columns,
        "notes": list(made.notes),
        "questions": [{"at": name, "question": question} for name, question in _asked(made)],
    }


def _told(made: Draft, out: str, args: argparse.Namespace) -> list[str]:
    contract = made.contract
    masked = ", ".join(f"{name} ({mask})" for name, mask in contract.personal.items())
    asked = _asked(made)
    lines = [
        f"{out}: {contract.name} drafted from {spoken(made.origin)}",
        *(f"  {note}" for note in made.notes),
        f"  {len(contract.fields)} fields, key {contract.key}, scope {contract.scope}",
        f"  personal: {masked or 'none found'}",
        "",
        f"{len(asked)} open questions, marked `# OPEN:` in the file:",
        *(f"  {_place(name):20} {spoken(question)}" for name, question in asked[:SHOWN]),
    ]
    if len(asked) > SHOWN:
        lines.append(f"  … and {len(asked) - SHOWN} more")
    file = out if out != "-" else "FILE.py"
    lines += ["", "When they are answered:", f"  levelsync contract check {file} --record"]
    lines.append(f"  levelsync contract publish {file} --node NODE.toml")
    lines += ["", "In the node file of the office that owns it:", *_source(made, args)]
    return lines


def _place(name: str) -> str:
    return name.removeprefix(PROMISE) if name.startswith(PROMISE) else f"$.{name}"


def _source(made: Draft, args: argparse.Namespace) -> list[str]:
    """The ``[[source]]`` that captures it."""
    table = args.table or "SCHEMA.TABLE"
    if args.source and args.source.startswith(("postgresql://", "postgres://")):
        table = _parted(args.source)[1]
    lines = [
        "  [[source]]",
        '  kind = "postgres"',
        f"  contract = {_toml(made.contract.name)}",
        f'  dsn = "${{{made.contract.subject.upper()}_DSN}}"',
        f"  table = {_toml(table)}",
    ]
    if made.columns:
        pairs = (f"{field} = {_toml(column)}" for field, column in made.columns.items())
        lines.append(f"  columns = {{ {', '.join(pairs)} }}")
    return lines


def _toml(text: str) -> str:
    """A basic string of TOML: JSON's escapes, and one more character that needs one."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
