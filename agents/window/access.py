"""Who looked at what: every look-up, page and subscription is written down, off the request's path."""

from typing import Literal, Protocol

from agents.window.rights import Visitor

#: One record was asked for by its key; a page of records; a feed was followed from here on.
Action = Literal["look-up", "page", "follow"]


class Journal(Protocol):
    """Where accesses are written down. Never waits; raises :class:`agents.window.answers.Problem` where
    it cannot be done and the contract holds personal data, which is then not to be shown."""

    def tell(self, visitor: Visitor, action: Action, contract: str, what: str) -> None:
        """``visitor`` did ``action``: ``what`` is the key, or the query of a page or a feed."""
        ...


class Unwritten:
    """A :class:`Journal` that keeps nothing, for a store that nobody but a test looks into."""

    def tell(self, visitor: Visitor, action: Action, contract: str, what: str) -> None:
        """See :class:`Journal`."""
