"""What a contract is: a typed record and the promises its owner makes about it."""

from collections.abc import Callable
from typing import Any, Literal

import msgspec

Level = Literal["nation", "province", "city", "county", "township", "village"]

#: 数据分级, Data Security Law of the PRC, article 21.
Classification = Literal["general", "important", "core"]

#: 共享属性, Regulations on Government Data Sharing (2025), article 13.
Sharing = Literal["unconditional", "conditional", "not_shared"]


class Text(msgspec.Struct, frozen=True):
    """The same words for a reader of Chinese and of English."""

    zh: str
    en: str


class Rule(msgspec.Struct, frozen=True):
    """A rule of one field that its type cannot say.

    ``fault`` answers the stable name of what is broken, or None; ``expected`` completes "Expected …".
    """

    field: str
    fault: Callable[[Any], str | None]
    expected: str


class Contract(msgspec.Struct, frozen=True, kw_only=True):
    """A subject at a major version, with a revision that grows only compatibly.

    ``record`` is the class every value of the subject is checked against; ``key`` and ``scope``
    name its fields that identify a record and say which division it belongs to.
    """

    subject: str
    major: int
    minor: int = 0
    record: type[msgspec.Struct]
    title: Text
    #: The department that keeps the record (数源部门), and the level at which it does.
    owner: Text
    level: Level
    key: str
    scope: str
    classification: Classification
    sharing: Sharing
    #: Seconds from commit at the source to the window within which a change is promised.
    freshness: float
    #: Fields that hold personal information (PIPL, article 4).
    personal: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()
    partitions: int = 3

    @property
    def name(self) -> str:
        """``resident.v2``: the name of the contract and of the owner's topic."""
        return f"{self.subject}.v{self.major}"

    @property
    def dataschema(self) -> str:
        """``resident.v2/2.1``: contract and revision, as events carry them."""
        return f"{self.name}/{self.major}.{self.minor}"
