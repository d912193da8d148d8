"""Which records a reader chose: an expression over the record as that reader sees it."""

from collections.abc import Mapping
from typing import Any

from contracts.expression import Expression, WrongExpression
from contracts.model import Contract


class Where:
    """The expression ``source`` over the records of ``contracts``, each as its reader sees it.

    A field that is not shown is not there to ask about, and a masked one has its mask's value, so an
    answer cannot tell what is hidden. Raises WrongExpression, in which ``found`` names the contract.
    """

    def __init__(self, source: str, contracts: Mapping[str, Contract]) -> None:
        self.source = source
        self._expressions: dict[str, Expression] = {}
        for name, contract in contracts.items():
            try:
                self._expressions[name] = Expression(source, contract.field_names)
            except WrongExpression as wrong:
                raise WrongExpression(wrong.expected, f"{wrong.found} for `{name}`") from None
        self._same = (
            source,
            frozenset((name, tuple(each.field_names)) for name, each in contracts.items()),
        )

    def holds(self, contract: str, record: Mapping[str, Any]) -> bool:
        """Is it true of ``record``? One of which CEL can say neither is not among the chosen."""
        expression = self._expressions[contract]
        try:
            return expression.holds({name: record.get(name) for name in expression.fields})
        except ValueError:
            return False

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Where) and self._same == other._same

    def __hash__(self) -> int:
        return hash(self._same)
