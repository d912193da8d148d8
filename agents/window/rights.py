"""Who reads at a window, and what of each contract they see."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Literal

import msgspec

from agents.base.reduction import Reduction
from agents.base.window import Clerks, MqttOut, Rights, SqlOut, System
from agents.window.where import Where
from contracts.identifiers import within
from contracts.model import Contract, Mask
from contracts.projection import project


class Sight:
    """What one reader sees of one contract: whose records, and how much of each.

    Two readers with the same rights have equal sights, so what is made for one serves the other, unless
    a ``hash`` mask is among them, which is every reader's own.
    """

    def __init__(
        self,
        scopes: Sequence[str] = (),
        fields: Sequence[str] = (),
        mask: Mapping[str, Mask] | None = None,
        *,
        to: str = "",
        secret: str = "",
    ) -> None:
        mask = mask or {}
        self.scopes, self.fields, self.mask = tuple(scopes), tuple(fields), dict(mask)
        #: Is each record shown as it is?
        self.whole = not (self.fields or self.mask)
        self._reduction = Reduction(fields, mask, to=to, secret=secret)
        #: What was made of a contract last: it compiles every rule to find the fields it looks at.
        self._projected: tuple[Contract, Contract] | None = None
        self._same = (
            frozenset(scopes), frozenset(fields), frozenset(mask.items()),
            to if "hash" in mask.values() else "",
        )  # fmt: skip

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sight) and self._same == other._same

    def __hash__(self) -> int:
        return hash(self._same)

    def covers(self, scope: str) -> bool:
        """Are records of division ``scope`` seen?"""
        return not self.scopes or any(within(scope, each) for each in self.scopes)

    def shown(self, value: bytes) -> bytes:
        """A record's JSON as it is seen."""
        if self.whole:
            return value
        return msgspec.json.encode(self._reduction(msgspec.json.decode(value)))

    def contract(self, contract: Contract) -> Contract:
        """``contract`` as it is seen: its fields, and by which of them records can be searched."""
        if self.whole:
            return contract
        if self._projected is None or self._projected[0] is not contract:
            self._projected = (contract, project(contract, self.fields, self.mask))
        return self._projected[1]


#: Everything of a contract.
ALL = Sight()

Kind = Literal["system", "clerk", "machine", "mqtt", "sql"]


class Visitor:
    """Somebody who reads at this window: a window system, a clerk, or whoever is at this machine while
    nothing says who may see what."""

    def __init__(
        self,
        kind: Kind,
        name: str,
        *,
        purpose: str,
        sights: Mapping[str, Sight] | None = None,
        corrections: bool = True,
        rate: int = 0,
        subscribers: int = 0,
    ) -> None:
        self.kind, self.name, self.purpose = kind, name, purpose
        #: By contract; None for everything of every contract.
        self._sights = sights
        self.corrections = corrections
        #: Requests a second and subscribers at once; 0 for as many as come.
        self.rate, self.subscribers = rate, subscribers

    def sight(self, contract: str) -> Sight | None:
        """What is seen of ``contract``; None for nothing at all."""
        return ALL if self._sights is None else self._sights.get(contract)


#: Whoever is at this machine, where a window is open.
MACHINE = Visitor("machine", "this machine", purpose="at this machine")


def visitor_of(rights: System | Clerks, name: str, secret: str) -> Visitor:
    """The visitor called ``name`` who has ``rights``; ``secret`` keys ``hash`` masks."""
    return Visitor(
        "system" if isinstance(rights, System) else "clerk",
        name,
        purpose=rights.purpose,
        sights=_sights(rights, name, secret),
        corrections=rights.corrections,
        rate=rights.rate,
        subscribers=rights.subscribers,
    )


def _sights(rights: Rights | MqttOut, name: str, secret: str) -> dict[str, Sight]:
    return {
        contract: Sight(
            rights.scopes,
            rights.fields.get(contract, ()),
            rights.mask.get(contract),
            to=name,
            secret=secret,
        )
        for contract in rights.contracts
    }


def sights_of(out: MqttOut, secret: str) -> dict[str, Sight]:
    """What goes out over MQTT, by contract."""
    return _sights(out, "mqtt", secret)


def sight_of(out: SqlOut, secret: str) -> Sight:
    """What goes into a table."""
    return Sight(out.scopes, out.fields, out.mask, to=f"sql {out.table}", secret=secret)


class Wanted(msgspec.Struct, frozen=True):
    """What a subscriber is to be told: of which contracts how much, of which division (every one when
    empty), and which records only.

    ``where`` holds for a record of the subscriber's own choosing; what leaves it is a deletion to them.
    """

    sights: Mapping[str, Sight]
    scope: str = ""
    where: Where | None = None

    def covers(self, contract: str, scope: str) -> bool:
        """Is a record of ``contract`` in division ``scope`` among it, as far as divisions go?"""
        sight = self.sights.get(contract)
        return (
            sight is not None
            and sight.covers(scope)
            and (not self.scope or within(scope, self.scope))
        )

    @property
    def same(self) -> Hashable:
        """Equal for those who are told the same."""
        return frozenset(self.sights.items()), self.scope, self.where
