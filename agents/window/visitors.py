"""Who is known at a window at this moment: the systems and clerks of the node file, as visitors."""

import hashlib
import hmac
from collections.abc import Iterable

from agents.base.window import Clerks, System, Window
from agents.window.office import Office
from agents.window.rights import MACHINE, Sight, Visitor, visitor_of
from agents.window.sessions import Session, Sessions, name_of


class Visitors:
    """The visitors of one window. A change of the node file counts from the next request on: a token
    taken out ends its sessions, other rights make another visitor."""

    def __init__(self, office: Office) -> None:
        self.sessions = Sessions(office.sessions)
        self._office = office
        self._table: Window | None = None
        self._secret = ""
        #: By sealed token.
        self._systems: dict[str, tuple[System, Visitor]] = {}
        #: Of sessions met since the start, by name: the rights a visitor was made from.
        self._guests: dict[str, tuple[tuple[System | Clerks, ...], Visitor]] = {}
        #: Whose session a visitor came by, by ``id``; as many as guests.
        self._names: dict[int, str] = {}
        office.still = self.still

    def system(self, token: str) -> tuple[System, Visitor] | None:
        """The window system that has ``token``."""
        self._look()
        sealed = f"sha256:{hashlib.sha256(token.encode(errors='replace')).hexdigest()}"
        found = None
        # All are compared, each in a time that does not tell how far it fits.
        for other, known in self._systems.items():
            if hmac.compare_digest(other, sealed):
                found = known
        return found

    def guest(self, number: str) -> Visitor | None:
        """Whose session the secret ``number`` is of."""
        self._look()
        return self._guest(name_of(number))

    def end(self, number: str) -> None:
        """Log out."""
        name = name_of(number)
        self.sessions.close(name)
        self._forget(name)

    def clerks(self, groups: Iterable[str]) -> tuple[Clerks, ...]:
        """The rights of a clerk of ``groups``, in the order of the node file; empty for none."""
        there = frozenset(groups)
        table = self._office.table
        return tuple(each for each in table.clerks if each.group == "*" or each.group in there)

    def still(self, visitor: Visitor) -> bool:
        """See :class:`agents.window.office.Office`."""
        self._look()
        if visitor is MACHINE:
            return self._office.table.open
        name = self._names.get(id(visitor))
        if name is not None:
            return self._guest(name) is visitor
        return any(known is visitor for _, known in self._systems.values())

    def _guest(self, name: str) -> Visitor | None:
        session = self.sessions.find(name)
        found = self._guests.get(name)
        if session is None:
            self._forget(name)
            return None
        if found is not None:
            return found[1]
        rights = self._rights(session)
        if not rights:
            self.sessions.close(name)
            return None
        if len(self._guests) >= len(self.sessions):
            for other in [other for other in self._guests if self.sessions.find(other) is None]:
                self._forget(other)
        visitor = joined(rights, session.name, self._secret)
        self._guests[name] = (rights, visitor)
        self._names[id(visitor)] = name
        return visitor

    def _rights(self, session: Session) -> tuple[System | Clerks, ...]:
        """What a session gives at this moment; empty for nothing at all."""
        if session.kind == "system":
            known = self._systems.get(session.token)
            return (known[0],) if known and known[0].name == session.name else ()
        login = self._office.table.login
        return self.clerks(session.groups) if login and login.issuer == session.issuer else ()

    def _forget(self, name: str) -> None:
        gone = self._guests.pop(name, None)
        if gone is not None:
            self._names.pop(id(gone[1]), None)

    def _look(self) -> None:
        """Take in a node file read again."""
        office = self._office
        if office.table is self._table and office.secret == self._secret:
            return
        same = office.secret == self._secret
        self._table, self._secret = office.table, office.secret
        before, self._systems = self._systems, {}
        for system in office.table.system:
            known = before.get(system.token)
            if known is None or known[0] != system or not same:
                known = (system, visitor_of(system, system.name, office.secret))
            self._systems[system.token] = known
        for name in self.sessions:
            session = self.sessions.find(name)
            rights = self._rights(session) if session else ()
            if not rights:
                self.sessions.close(name)
            if name in self._guests and (rights != self._guests[name][0] or not same):
                self._forget(name)


def joined(rights: tuple[System | Clerks, ...], name: str, secret: str) -> Visitor:
    """The visitor who has all of ``rights``, at least one: the contracts of each, and where two give the
    same contract, as the first gives it."""
    if len(rights) == 1:
        return visitor_of(rights[0], name, secret)
    sights: dict[str, Sight] = {}
    for each in reversed(rights):
        one = visitor_of(each, name, secret)
        sights |= {contract: sight for contract in each.contracts if (sight := one.sight(contract))}
    return Visitor(
        "clerk",
        name,
        purpose="; ".join(dict.fromkeys(each.purpose for each in rights)),
        sights=sights,
        corrections=any(each.corrections for each in rights),
        rate=max(each.rate for each in rights),
        subscribers=max(each.subscribers for each in rights),
    )
