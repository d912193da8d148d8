"""The contracts an agent knows: those it was installed with, and those it learns while it runs."""

import datetime
from collections.abc import Mapping
from typing import NamedTuple

from agents.base.config import is_above_or_at, scope_of
from contracts.evolution import judge
from contracts.identifiers import level_of
from contracts.model import LEVELS, Contract, WrongContract
from contracts.signed import Forged, Signed, opened
from contracts.subjects import CONTRACTS


class NotTaken(ValueError):
    """A published contract is refused; the text says why."""


class Learnt(NamedTuple):
    """What came of one look: contracts that were not known before, and what was refused and why."""

    taken: list[Contract]
    refused: dict[str, str]


class Known:
    """What ``node`` knows. ``trust`` are public keys by publisher, from the node file; of a publisher
    it does not name, the first key that is seen counts from then on.

    A contract is taken from a node at its level or above, on the line between the nation and here; from
    below only while nobody here or above defines the subject. What was published once cannot change, and
    a revision must go with all others of its major.
    """

    def __init__(
        self,
        node: str,
        trust: Mapping[str, tuple[str, ...]],
        installed: Mapping[str, Contract] = CONTRACTS,
    ) -> None:
        self._node = node
        self._trust = trust
        self._installed = installed
        #: The newest revision of each contract by name; the same mapping for as long as the agent lives.
        self.contracts: dict[str, Contract] = dict(installed)
        #: The last day on which a major is filled, where its owner has said so, by contract.
        self.sunsets: dict[str, datetime.date | None] = {}
        #: What was refused and why, by the key under which it was published.
        self.refused: dict[str, str] = {}
        self._revisions: dict[str, dict[int, Contract]] = {
            name: {found.minor: found} for name, found in installed.items()
        }
        #: Who publishes a subject.
        self.publishers: dict[str, str] = {}
        self._keys: dict[str, str] = {}
        self._seen: set[tuple[str, bytes]] = set()
        #: When each was signed: an older one that comes again changes nothing.
        self._times: dict[str, int] = {}
        #: What was taken, as it was published: this is what is passed on.
        self.taken: dict[str, bytes] = {}

    def use(self, trust: Mapping[str, tuple[str, ...]]) -> None:
        """The node file may have other keys now: what was refused is looked at again."""
        if trust != self._trust:
            self._trust = trust
            self._seen = {(key, raw) for key, raw in self._seen if self.taken.get(key) == raw}

    def learn(self, published: Mapping[str, bytes]) -> "Learnt":
        """Take what can be taken of ``published``, signed contracts by ``contract/revision``. Nothing is
        looked at twice."""
        learnt = Learnt([], {})
        for key, raw in sorted(published.items() - self._seen, key=_order):
            self._seen.add((key, raw))
            try:
                if (new := self._take(key, raw)) is not None:
                    learnt.taken.append(new)
                self.refused.pop(key, None)
            except (Forged, WrongContract, NotTaken) as error:
                self.refused[key] = learnt.refused[key] = str(error)
        return learnt

    @property
    def from_here_or_below(self) -> dict[str, bytes]:
        """What was taken that this node or one below it publishes."""
        return {
            key: raw
            for key, raw in self.taken.items()
            if is_above_or_at(self._node, self.publishers[_subject(key)])
        }

    def stands(self, contract: Contract, publisher: str, sunset: datetime.date | None) -> bool:
        """Has ``publisher`` published just this already?"""
        return (
            contract.dataschema in self.taken
            and self._revisions[contract.name][contract.minor] == contract
            and self.publishers[contract.subject] == publisher
            and self.sunsets.get(contract.name) == sunset
        )

    def _take(self, key: str, raw: bytes) -> Contract | None:
        """The contract if it was not known."""
        said, contract = opened(raw)
        if contract.dataschema != key:
            raise NotTaken(f"Expected {key} under this key, got {contract.dataschema}.")
        self._owner(said, contract)
        self._trusted(said)
        outranked = self._outranked(said.publisher, contract.subject)
        before = (
            self._known_before(contract.name)
            if outranked
            else self._revisions.get(contract.name, {})
        )
        same = before.get(contract.minor)
        if same is not None and same != contract:
            raise NotTaken(
                f"{key} was published before with another meaning; what is published is frozen."
                " Publish the change as a new revision."
            )
        for other in before.values():
            if other.minor == contract.minor:
                continue
            older, newer = sorted((other, contract), key=lambda found: found.minor)
            broken = [each for each in judge([older], newer) if each.severity == "break"]
            if broken:
                raise NotTaken(
                    f"{key} does not go with {other.dataschema}: {broken[0].rule} at"
                    f" `{broken[0].path}`. What breaks readers needs a new major."
                )
        if outranked:
            self._forget(contract.subject)
        if same is None or said.time > self._times.get(key, 0):
            self._enter(said, contract, before, key, raw)
        return contract if same is None else None

    def _known_before(self, name: str) -> dict[int, Contract]:
        found = self._installed.get(name)
        return {found.minor: found} if found else {}

    def _forget(self, subject: str) -> None:
        """Somebody above defines the subject from now on: only what was installed still counts of it."""
        for key in [key for key in self.taken if _subject(key) == subject]:
            del self.taken[key], self._times[key]
        for name in [name for name in self._revisions if _subject(name) == subject]:
            self._revisions[name] = self._known_before(name)
            self.sunsets.pop(name, None)
            if name in self._installed:
                self.contracts[name] = self._installed[name]
            else:
                del self.contracts[name], self._revisions[name]

    def _enter(
        self,
        said: Signed,
        contract: Contract,
        before: Mapping[int, Contract],
        key: str,
        raw: bytes,
    ) -> None:
        name = contract.name
        self._keys.setdefault(said.publisher, said.key)
        self.publishers[contract.subject] = said.publisher
        revisions = self._revisions[name] = {**before, contract.minor: contract}
        newest = revisions[max(revisions)]
        if self.contracts.get(name) != newest:
            self.contracts[name] = newest
        if said.time >= max(self._times.get(each.dataschema, 0) for each in revisions.values()):
            self.sunsets[name] = said.sunset
        self.taken[key], self._times[key] = raw, said.time

    def _trusted(self, said: Signed) -> None:
        listed = self._trust.get(said.publisher)
        if listed is None:
            first = self._keys.get(said.publisher, said.key)
            if said.key != first:
                raise NotTaken(
                    f"It is signed by {said.key} in the name of {said.publisher}, whose key was {first}"
                    f" before. If its key was changed, put the new one in [trust]."
                )
        elif said.key not in listed:
            raise NotTaken(
                f"It is signed by {said.key}; [trust] has other keys for {said.publisher}."
            )

    def _owner(self, said: Signed, contract: Contract) -> None:
        """Raises NotTaken unless the publisher may define the subject for this node."""
        publisher, node = said.publisher, self._node
        try:
            level = level_of(scope_of(publisher))
        except ValueError:
            raise NotTaken(f"Expected a node as publisher, got {publisher!r}.") from None
        # What every node keeps of its own the nation defines.
        keeper = LEVELS[0] if contract.level == "every" else contract.level
        if LEVELS.index(level) > LEVELS.index(keeper):
            raise NotTaken(
                f"{contract.name} belongs to the {contract.level}; {publisher} is a {level}."
            )
        above = is_above_or_at(publisher, node)
        if not above and not is_above_or_at(node, publisher):
            raise NotTaken(f"{publisher} neither is above {node} nor below it.")
        former = self.publishers.get(contract.subject)
        if former is None:
            if not above and any(
                contract.subject == found.subject for found in self._installed.values()
            ):
                raise NotTaken(
                    f"{publisher} is below {node}, where {contract.subject} is known already."
                )
        elif former != publisher and not self._outranked(publisher, contract.subject):
            raise NotTaken(f"{contract.subject} is published by {former}, not by {publisher}.")

    def _outranked(self, publisher: str, subject: str) -> bool:
        """Does ``publisher`` stand above who published ``subject`` before?"""
        former = self.publishers.get(subject)
        return (
            former is not None
            and former != publisher
            and scope_of(former) != scope_of(publisher)
            and is_above_or_at(publisher, former)
        )


def _subject(key: str) -> str:
    return key.rpartition(".v")[0]


def _order(published: tuple[str, bytes]) -> tuple[str, int, str]:
    """Older revisions first, so that what is wrong with a newer one is said of it."""
    key = published[0]
    name, _, revision = key.partition("/")
    minor = revision.rpartition(".")[2]
    return name, int(minor) if minor.isdecimal() else 0, key
