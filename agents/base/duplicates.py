"""多头采集: the same thing collected more than once, and nobody has said whom to believe first.

A citizen is asked again for what another office knows, and two answers differ. Who collects what is in
the contracts; ``[precedence]`` of a node file says whose word counts first, for a subject or for a field
of a person.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping

import msgspec

from agents.base.config import NodeFile
from contracts.model import Contract
from contracts.shape import Field, String

_PERSON = "citizen-number"


class Collector(msgspec.Struct, frozen=True):
    """Who collects it: the contract, its owner and level, and the source where it is one of ours."""

    contract: str
    owner: str
    level: str
    source: str = ""

    def __str__(self) -> str:
        here = f", here from {self.source}" if self.source else ""
        return f"{self.contract} ({self.owner}, {self.level}{here})"


class Duplicate(msgspec.Struct, frozen=True):
    """``what`` is collected by each of ``by``: a subject, or a field of a person."""

    what: str
    by: tuple[Collector, ...]

    def __str__(self) -> str:
        return f"{self.what} is collected by {' and by '.join(map(str, self.by))}"


def duplicates(config: NodeFile, contracts: Mapping[str, Contract]) -> list[Duplicate]:
    """What a source of this node collects that another contract here does too, without a precedence
    that names all who do.

    Looked at are the contracts the node owns, pulls or pushes and that are among ``contracts``.
    """
    sources = {source.contract: source.collects for source in config.source}
    collectors: dict[str, list[Collector]] = defaultdict(list)
    for name in sorted(config.expected & contracts.keys()):
        contract = contracts[name]
        if name in config.derived:
            continue  # made from another major: collected once
        one = Collector(name, contract.owner.zh, contract.level, sources.get(name, ""))
        collectors[contract.subject].append(one)
        for field in _of_a_person(contract):
            collectors[field].append(one)
    found = []
    for what, by in collectors.items():
        # Two majors of a subject are told once, as the subject.
        subjects = {each.contract.rpartition(".v")[0] for each in by}
        several = len(by) > 1 and (len(subjects) > 1 or what in subjects)
        ours = any(each.source for each in by)
        stated = {each.contract for each in by} <= set(config.precedence.get(what, ()))
        if several and ours and not stated:
            found.append(Duplicate(what, tuple(by)))
    return found


def _of_a_person(contract: Contract) -> Iterator[str]:
    """The personal fields of a contract whose records are about one citizen, but for the numbers and
    the name by which the citizen is found."""
    numbers = [field.name for field in contract.fields if _is_citizen_number(field)]
    if "id_number" not in numbers:
        return
    for field in contract.personal:
        if field not in (*numbers, "name", contract.key):
            yield field


def _is_citizen_number(field: Field) -> bool:
    return isinstance(field.shape, String) and field.shape.format == _PERSON
