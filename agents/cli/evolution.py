"""``levelsync contract diff|check``: whom a change of a contract would hurt, before it ships."""

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from agents.cli.findings import Language, findings_told, language, problems_told
from contracts.evolution import compare, harmless
from contracts.examine import examine
from contracts.export.json_schema_reader import contract_of
from contracts.model import Contract, WrongContract
from contracts.publication import (
    PUBLISHED,
    NotPublishable,
    check_published,
    published,
    read_contract,
    record,
)

_NAME = re.compile(r"[a-z][a-z0-9_]*\.v[0-9]+")
_REVISION = re.compile(rf"(?P<name>{_NAME.pattern})/[0-9]+\.[0-9]+")


def add_diff(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``levelsync contract diff``."""
    what = (
        "resident.v2 as it is now, resident.v2/2.0 as it was published, a JSON or JSON Schema file,"
        " or a class's file or module, such as licence.py or bureau.licence:V1"
    )
    parser.add_argument("old", metavar="A", help=what)
    parser.add_argument(
        "new", metavar="B", nargs="?", help="the same; without it A's last published revision is A"
    )
    _add_common(parser)


def add_check(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``levelsync contract check``."""
    parser.add_argument(
        "contracts", metavar="CONTRACTS", nargs="*",
        help="files or modules with contracts, such as licence.py or bureau.licence:V1; without any"
        " those of this version, of which none may be missing",
    )  # fmt: skip
    parser.add_argument(
        "--record", action="store_true", help="write down new revisions that may be published"
    )
    _add_common(parser)


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--published", type=Path, metavar="DIR",
        help="the record of published revisions; by default the one of this version, or the folder"
        " `published` beside the file or module",
    )  # fmt: skip
    parser.add_argument("--lang", choices=["zh", "en"], help="by default the terminal's language")
    parser.add_argument("--json", action="store_true", help="for programs")


def diff(args: argparse.Namespace) -> int:
    """Run ``levelsync contract diff``: 0 when B may follow A in A's major, 1 when not."""
    try:
        (old, whole), (new, also) = _pair(args)
    except WrongContract as error:
        return _wrong(error)
    findings = compare(old, new, promises=whole and also)
    good = harmless(findings)
    if args.json:
        _print_json(
            {"old": old.dataschema, "new": new.dataschema, "compatible": good, "findings": findings}
        )
    else:
        print(findings_told(old, new, findings, _language(args)))
    return 0 if good else 1


def check(args: argparse.Namespace) -> int:
    """Run ``levelsync contract check``: 0 when contracts and record are in line, 1 when not."""
    try:
        contracts = _contracts(args.contracts)
        root = args.published or _beside(*args.contracts)
        if not root.is_dir() and not args.record:
            raise WrongContract(
                f"Expected a record of published revisions at {root}, found none; `--record` begins it"
            )
    except WrongContract as error:
        return _wrong(error)
    written = _recorded(contracts, root) if args.record else []
    problems = check_published(contracts, root, whole=not args.contracts)
    if args.json:
        _print_json(
            {
                "ok": not problems,
                "checked": [each.dataschema for each in contracts],
                "recorded": written,
                "problems": problems,
            }
        )
    else:
        print(problems_told(contracts, written, problems, _language(args)))
    return 1 if problems else 0


def _recorded(contracts: Sequence[Contract], root: Path) -> list[str]:
    """Write down what is new and may be, earlier majors first; answers what was."""
    due = {
        each.dataschema
        for each in check_published(contracts, root, whole=False)
        if each.rule == "not-recorded"
    }
    written = []
    for contract in sorted(contracts, key=lambda each: (each.subject, each.major)):
        if contract.dataschema in due:
            try:
                record(contract, root)
            except NotPublishable:
                continue  # the check that follows says why
            written.append(contract.dataschema)
    return written


# ---- which contract is meant ----------------------------------------------------------------


class _Meant(NamedTuple):
    """A contract that an argument means; ``whole`` when it says its promises too."""

    contract: Contract
    whole: bool = True


def _pair(args: argparse.Namespace) -> tuple[_Meant, _Meant]:
    if args.new is not None:
        return _meant(args.old, args.published), _meant(args.new, args.published)
    new = _meant(args.old, args.published)
    root = args.published or _beside(args.old)
    known = _published(root).get(new.contract.name)
    if not known:
        raise WrongContract(
            f"Expected a published revision of {new.contract.name} in {root}, found none: name B"
        )
    return _Meant(known[-1]), new


def _meant(text: str, root: Path | None) -> _Meant:
    """Raises WrongContract."""
    from contracts.load import load_contracts
    from contracts.subjects import CONTRACTS

    if match := _REVISION.fullmatch(text):
        return _Meant(_revision(match["name"], text, root or PUBLISHED))
    if text in CONTRACTS:
        return _Meant(CONTRACTS[text])
    if text.endswith(".json"):
        return _from_json(Path(text))
    try:
        found = load_contracts(text)
    except WrongContract as error:
        if _NAME.fullmatch(text):
            names = ", ".join(CONTRACTS)
            raise WrongContract(
                f"Expected a contract ({names}), a file or a module, got {text}"
            ) from None
        raise error from None
    if len(found) != 1:
        raise WrongContract(
            f"Expected one contract at {text}, found {', '.join(each.name for each in found)}: name"
            " the attribute behind a colon"
        )
    return _Meant(found[0])


def _revision(name: str, dataschema: str, root: Path) -> Contract:
    known = _published(root).get(name, [])
    for contract in known:
        if contract.dataschema == dataschema:
            return contract
    there = ", ".join(each.dataschema for each in known) or f"none of {name}"
    raise WrongContract(f"Expected a published revision ({there}) of {root}, got {dataschema}")


def _from_json(path: Path) -> _Meant:
    """A contract's own JSON, or a JSON Schema; of one that is not ours only the records are known."""
    try:
        raw = path.read_bytes()
        document = msgspec.json.decode(raw)
        if isinstance(document, dict) and "subject" in document and "fields" in document:
            contract = read_contract(raw)
            examine(contract)
            return _Meant(contract)
    except (OSError, msgspec.DecodeError) as error:
        raise WrongContract(f"Expected a contract or a JSON Schema at {path}: {error}") from None
    if not isinstance(document, dict):
        raise WrongContract(
            f"Expected a contract or a JSON Schema at {path}, got {type(document).__name__}"
        )
    return _Meant(contract_of(document), whole="x-levelsync" in document)


def _contracts(references: Sequence[str]) -> list[Contract]:
    from contracts.load import load_contracts
    from contracts.subjects import CONTRACTS

    if not references:
        return list(CONTRACTS.values())
    return [contract for reference in references for contract in load_contracts(reference)]


def _beside(*references: str) -> Path:
    """The one record that belongs to what arguments mean. Raises WrongContract."""
    places = {_folder(reference) / "published" for reference in references}
    if len(places) > 1:
        found = ", ".join(str(place) for place in sorted(places))
        raise WrongContract(f"Expected one record for all of them by --published, found {found}")
    return places.pop() if places else PUBLISHED


def _folder(reference: str) -> Path:
    """Where the file or module of an argument lies; a name of this version's lies here."""
    from contracts.load import load_module

    place = reference.rpartition(":")[0] if ":" in reference else reference
    if place.endswith(".py"):
        return Path(place).parent
    if _NAME.fullmatch(place):
        return PUBLISHED.parent
    return Path(load_module(place).__file__ or "").parent


def _published(root: Path) -> dict[str, list[Contract]]:
    try:
        return published(root)
    except msgspec.DecodeError as error:
        raise WrongContract(f"Expected published revisions: {error}") from None


# ---- answers --------------------------------------------------------------------------------


def _language(args: argparse.Namespace) -> Language:
    return args.lang or language()


def _print_json(answer: dict[str, object]) -> None:
    print(json.dumps(msgspec.to_builtins(answer), ensure_ascii=False))


def _wrong(error: Exception) -> int:
    print(f"levelsync: {error}", file=sys.stderr)
    return 2
