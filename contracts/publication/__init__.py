"""What has been published stays as it is: the record of every revision, and what may follow it.

``published/resident.v2/2.0.json`` holds revision 2.0 of ``resident.v2`` as JSON, ``published/SHA256SUMS``
the SHA-256 of each such file, as ``sha256sum --check`` reads it: a revision that was changed after the
fact does not match it.

A revision is frozen whole, its words too. What a label of a code or the message of a rule says is part
of what a record means, no line between the two would hold, and a next revision costs nobody anything: it
asks nothing of any reader.
"""

import datetime
import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from contracts.evolution import harmless, judge
from contracts.model import Contract
from contracts.publication.rules import Problem, problem

#: The record of this version's own contracts.
PUBLISHED = Path(__file__).parents[1] / "published"
SUMS = "SHA256SUMS"
#: Beside the revisions of a contract that is no longer there: the day from which it was not, and why.
ENDED = "ENDED"


def digest(contract: Contract) -> str:
    """SHA-256 of all that a contract says, as hexadecimal digits.

    It is of JSON with sorted names in which what is the default is left out. So it stays the same
    when the model learns a new promise that the contract does not make.
    """
    return hashlib.sha256(
        msgspec.json.encode(msgspec.to_builtins(contract), order="sorted")
    ).hexdigest()


def pretty(contract: Contract) -> str:
    """A contract as the record keeps it: one fact a line, so that a change of it reads well."""
    return json.dumps(msgspec.to_builtins(contract), ensure_ascii=False, indent=2) + "\n"


def read_contract(raw: bytes) -> Contract:
    """The contract in JSON. Raises msgspec.DecodeError."""
    return msgspec.json.decode(raw, type=Contract)


def published(root: Path = PUBLISHED) -> dict[str, list[Contract]]:
    """The recorded revisions of each contract, oldest first. Raises msgspec.DecodeError that names
    the file."""
    found: dict[str, list[Contract]] = {}
    for path in sorted(root.glob("*/*.json")):
        try:
            contract = read_contract(path.read_bytes())
        except msgspec.DecodeError as error:
            raise msgspec.DecodeError(f"{path}: {error}") from None
        found.setdefault(contract.name, []).append(contract)
    for revisions in found.values():
        revisions.sort(key=lambda contract: contract.minor)
    return found


def record(contract: Contract, root: Path = PUBLISHED) -> Path:
    """Write down a new revision; the answer is its file. What stands there already is left alone.

    Raises NotPublishable when the revision may not follow those that are recorded, or when these are
    no longer what was written.
    """
    path = root / _place(contract)
    found = [*_altered(root), *_checked(contract, _intact(root))]
    if faults := [each for each in found if each.rule != "not-recorded"]:
        raise NotPublishable(faults)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(pretty(contract), encoding="utf-8", newline="\n")
        sums = {**_sums(root), _place(contract): _sum(path)}
        lines = [f"{sum_}  {place}\n" for place, sum_ in sorted(sums.items(), key=_by_revision)]
        (root / SUMS).write_text("".join(lines), encoding="utf-8", newline="\n")
    return path


class NotPublishable(ValueError):
    """A revision that may not be recorded; ``problems`` say why."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(f"{each.dataschema}: {each.message.en}" for each in problems))


def check_published(
    contracts: Iterable[Contract], root: Path = PUBLISHED, *, whole: bool = True
) -> list[Problem]:
    """Are the ``contracts`` of today and the record in line, and the record as it was written?

    Empty when they are. Without ``whole`` there are others beside them, so that of another subject none
    is missed.
    """
    found = _altered(root)
    altered = {each.dataschema for each in found}
    revisions = _intact(root)
    now = {contract.name: contract for contract in contracts}
    for name, known in revisions.items():
        there = {contract.minor for contract in known}
        for minor in range(known[-1].minor):
            revision = f"{known[-1].major}.{minor}"
            if minor not in there and f"{name}/{revision}" not in altered:
                found.append(problem("revision-missing", known[-1], revision))
        missed = whole or known[-1].subject in {each.subject for each in now.values()}
        if missed and name not in now and not _ended(name, root):
            found.append(problem("contract-vanished", known[-1], f"{name}/{ENDED}"))
    for contract in now.values():
        if contract.dataschema not in altered:
            found += _checked(contract, revisions)
    return found


# ---- may it follow? -------------------------------------------------------------------------


def _checked(contract: Contract, revisions: dict[str, list[Contract]]) -> list[Problem]:
    """What is wrong with today's ``contract`` beside the recorded ``revisions``."""
    history = [each for each in revisions.get(contract.name, ()) if each.minor < contract.minor]
    later = [each for each in revisions.get(contract.name, ()) if each.minor >= contract.minor]
    if later:
        return _unchanged(contract, later, revisions[contract.name])
    due = history[-1].minor + 1 if history else 0
    if contract.minor != due:
        return [problem("revision-skipped", contract, f"{contract.major}.{due}")]
    if history and digest(msgspec.structs.replace(contract, minor=due - 1)) == digest(history[-1]):
        return [problem("revision-without-change", contract, history[-1].revision)]
    findings = judge(history, contract)
    if not harmless(findings):
        return [problem("revision-breaks", contract, f"{contract.major + 1}.0", findings)]
    former = _former(contract, revisions)
    if not history and former and harmless(judge(former, contract)):
        due = former[-1].minor + 1
        return [problem("major-not-needed", contract, f"{former[-1].major}.{due}")]
    return [problem("not-recorded", contract)]


def _unchanged(
    contract: Contract, later: Sequence[Contract], known: Sequence[Contract]
) -> list[Problem]:
    """Is the contract, whose revision is recorded, still what the record says, and the last?"""
    recorded = next((each for each in later if each.minor == contract.minor), None)
    following = msgspec.structs.replace(contract, minor=known[-1].minor + 1)
    if recorded is not None and digest(recorded) == digest(contract):
        if later[-1] is recorded:
            return []
        return [problem("revision-behind", contract, later[-1].revision)]
    findings = judge(known, following)
    if harmless(findings):
        return [problem("revision-not-raised", contract, following.revision, findings)]
    return [problem("published-changed", contract, f"{contract.major + 1}.0", findings)]


def _former(contract: Contract, revisions: dict[str, list[Contract]]) -> list[Contract]:
    """The recorded revisions of the major before: all of them, since a revision follows all."""
    before = [
        known
        for known in revisions.values()
        if known[-1].subject == contract.subject and known[-1].major < contract.major
    ]
    return max(before, key=lambda known: known[-1].major, default=[])


def _ended(name: str, root: Path) -> bool:
    """Was the contract ended, and has the day come?"""
    file = root / name / ENDED
    first = file.read_text(encoding="utf-8").split() if file.is_file() else []
    try:
        return bool(first) and datetime.date.fromisoformat(first[0]) <= datetime.date.today()
    except ValueError:
        return False


# ---- the record as it was written -----------------------------------------------------------


def _intact(root: Path) -> dict[str, list[Contract]]:
    """The recorded revisions that are as they were written."""
    found: dict[str, list[Contract]] = {}
    for place, sum_ in _sums(root).items():
        path = root / place
        if path.is_file() and _sum(path) == sum_:
            try:
                contract = read_contract(path.read_bytes())
            except msgspec.DecodeError:
                continue  # written by another version of the model; _altered says so
            found.setdefault(contract.name, []).append(contract)
    for revisions in found.values():
        revisions.sort(key=lambda contract: contract.minor)
    return found


def _altered(root: Path) -> list[Problem]:
    found = []
    sums = _sums(root)
    there = {path.relative_to(root).as_posix() for path in root.glob("*/*.json")}
    for place in sorted(there | sums.keys()):
        rule = None
        if place not in there:
            rule = "record-lost"
        elif place not in sums:
            rule = "record-unlisted"
        elif _sum(root / place) != sums[place]:
            rule = "record-changed"
        elif not _readable(root / place):
            rule = "record-unreadable"
        if rule is not None:
            found.append(problem(rule, place.removesuffix(".json"), place))
    return found


def _readable(path: Path) -> bool:
    try:
        contract = read_contract(path.read_bytes())
    except msgspec.DecodeError:
        return False
    return path.parts[-2:] == Path(_place(contract)).parts


def _place(contract: Contract) -> str:
    return f"{contract.dataschema}.json"


def _sum(path: Path) -> str:
    """SHA-256 of a file, whatever line ends a checkout gave it."""
    return hashlib.sha256(path.read_bytes().replace(b"\r\n", b"\n")).hexdigest()


def _sums(root: Path) -> dict[str, str]:
    file = root / SUMS
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return {place: sum_ for sum_, _, place in (line.partition("  ") for line in lines) if place}


def _by_revision(entry: tuple[str, str]) -> tuple[str, list[int]]:
    name, _, revision = entry[0].removesuffix(".json").partition("/")
    return name, [int(part) for part in revision.split(".") if part.isdecimal()]
