"""What a contract is: the fields of a record, as data, and the promises its owner makes about it.

A contract is written as a typed class (:func:`contracts.define.define`) or comes as JSON from
whoever published it; both are this one structure, and decoders, comparisons and exports are made from
it alone. So a contract works the same where its class is and where it is not.
"""

from typing import Literal

import msgspec

from contracts.shape import Field, Shape
from contracts.text import Text

Level = Literal["nation", "province", "city", "county", "township", "village"]

#: From the widest to the narrowest.
LEVELS: tuple[Level, ...] = ("nation", "province", "city", "county", "township", "village")

#: The level that keeps a contract's records; ``every`` for what each node keeps of its own work.
Keeper = Literal["nation", "province", "city", "county", "township", "village", "every"]

#: 数据分级, Data Security Law of the PRC, article 21.
Classification = Literal["general", "important", "core"]

#: 共享属性, Regulations on Government Data Sharing (State Council Decree 809, in force since 2025-08-01).
Sharing = Literal["unconditional", "conditional", "not_shared"]

#: 更新频率.
Updates = Literal["realtime", "daily", "weekly", "monthly", "quarterly", "yearly", "irregular"]

OnRefusal = Literal["follow", "wait"]

#: How a field is given away less than whole; see :mod:`agents.relay.terms`.
Mask = Literal["last4", "hash", "year", "null"]


class Rule(msgspec.Struct, frozen=True, omit_defaults=True):
    """A rule across fields: ``when`` is a CEL expression over the record as JSON that must be true.

    A field that is not filled in is null. ``path`` is the field a clerk should look at first.
    Beside CEL's own functions there are those of :mod:`contracts.functions`.
    """

    name: str
    when: str
    message: Text
    path: str = "$"


class Contract(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A subject at a major version, with a revision that grows only compatibly.

    ``key`` and ``scope`` name the fields that identify a record and say which division it belongs
    to.
    """

    subject: str
    major: int
    minor: int = 0
    title: Text
    description: Text | None = None
    #: 目录代码: its number in the catalogue of government data.
    catalogue: str
    #: The department that keeps the record (数源部门), and the level at which it does.
    owner: Text
    level: Keeper
    key: str
    scope: str
    classification: Classification
    sharing: Sharing
    #: The law, regulation or document the sharing class rests on.
    basis: Text
    #: What a conditional sharing asks for.
    condition: Text | None = None
    #: What the data may be used for; empty for anything lawful.
    purposes: tuple[Text, ...] = ()
    updates: Updates = "realtime"
    #: Seconds from commit at the source to the window within which a change is promised.
    freshness: float
    #: Days a receiver may keep a record after it was deleted or its grant ended; None without limit.
    retention: int | None = None
    #: Fields that hold personal information (PIPL, article 4), and how each is masked for a reader
    #: who need not know it whole.
    personal: dict[str, Mask] = {}
    #: Fields besides the key by which windows may look records up.
    searchable: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()
    #: What later changes of a key do while one of it is a dead letter: ``follow``, as if it had not been,
    #: or ``wait`` behind it as dead letters of their own until it is replayed or dropped.
    on_refusal: OnRefusal = "follow"
    #: Days a record stays where records are never changed, a journal; None for state by key.
    journal: int | None = None
    partitions: int = 3
    fields: tuple[Field, ...]

    @property
    def name(self) -> str:
        """``resident.v2``: the name of the contract and of the owner's topic."""
        return f"{self.subject}.v{self.major}"

    @property
    def revision(self) -> str:
        """``2.1``"""
        return f"{self.major}.{self.minor}"

    @property
    def dataschema(self) -> str:
        """``resident.v2/2.1``: contract and revision, as events carry them."""
        return f"{self.name}/{self.revision}"

    @property
    def field_names(self) -> tuple[str, ...]:
        """The names of a record's fields, in their order."""
        return tuple(field.name for field in self.fields)

    def shape_of(self, field: str) -> Shape:
        """The shape of a field of the record. Raises KeyError."""
        for found in self.fields:
            if found.name == field:
                return found.shape
        raise KeyError(field)


class WrongContract(ValueError):
    """A contract that cannot be: says which, where in it, what was expected and what came."""
