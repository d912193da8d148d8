"""Another major of the same subject, made from each record as it comes by."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from agents.base.stream import Record
from agents.kafka.copy import Unfit
from agents.relay.terms import Terms
from contracts.check import Checker
from contracts.envelope import Header
from contracts.load import stepped_class
from contracts.model import Contract

#: From a record of one major to one of another; None where the other has no place for it.
StepFunction = Callable[[Any], Any]


class Misstepped(Unfit):
    """A step made no record of the other major."""

    rule = "step"
    hint = "Mend the step beside the contract, then bring the copy in line by `levelsync resync`."


class Step:
    """What a view gives that holds records of ``into``, made by ``function`` from those of ``source``.

    ``ended`` once the major's last day is over. Raises WrongContract for a function that does not say
    which class it takes.
    """

    def __init__(
        self,
        function: StepFunction,
        *,
        source: Contract,
        into: Contract,
        ended: bool = False,
    ) -> None:
        self.terms = Terms(step=f"{source.dataschema} {into.dataschema}", ended=ended)
        self._function = function
        self._decoder = msgspec.json.Decoder(stepped_class(function))
        self._into = into
        self._checker = Checker(into)
        self._type = re.compile(rf"^{re.escape(source.name)}\.".encode())

    def given(self, record: Record) -> bytes | None:
        """The record's value in the other major; None when it has no place there. Raises Misstepped."""
        if record.value is None or self.terms.ended:
            return None
        try:
            stepped = self._function(self._decoder.decode(record.value))
            if stepped is None:
                return None
            return self._checker.check(msgspec.to_builtins(stepped)).value
        except Exception as error:  # the step is code of the contract's own
            raise Misstepped(into=self._into.dataschema, error=str(error)) from error

    def headers(self, record: Record) -> Sequence[Header]:
        """The record's headers as those of the other major's event."""
        schema = self._into.dataschema.encode()
        name = f"{self._into.name}.".encode()
        return [
            (key, schema if key == "ce_dataschema"
             else self._type.sub(name, value) if key == "ce_type" else value)
            for key, value in record.headers
        ]  # fmt: skip
