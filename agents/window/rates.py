"""How often somebody may come: requests of a visitor, and wrong tokens from an address."""

import ipaddress
from collections import OrderedDict
from collections.abc import Hashable

from agents.base.budget import Budget
from agents.window.rights import Visitor

#: Visitors and addresses remembered; the one not seen for longest is forgotten.
MOST = 10_000
#: Wrong tokens of an address that are answered at once; then each answer waits twice as long as the one
#: before, up to so many seconds. One is forgiven every so many seconds.
FREE, SLOWEST, FORGIVEN = 5, 2.0, 10.0
#: Answers that wait at once.
WAITING = 100


class Rates:
    """A budget for each of whoever comes, made when they first do."""

    def __init__(self) -> None:
        self._budgets: OrderedDict[Hashable, Budget] = OrderedDict()

    def admit(self, visitor: Visitor, now: float) -> float:
        """Count a request; or for how many seconds none is taken."""
        return self.take((visitor.kind, visitor.name), visitor.rate, now) if visitor.rate else 0.0

    def take(self, who: Hashable, rate: float, now: float) -> float:
        """Count one of ``who``, of whom ``rate`` a second are taken; or the seconds to wait."""
        budget = self._budgets.get(who)
        if budget is None or budget.rate != rate:
            budget = self._budgets[who] = Budget(rate, now)
            if len(self._budgets) > MOST:
                self._budgets.popitem(last=False)
        self._budgets.move_to_end(who)
        # One that is refused is not counted: who hammers does not wait for ever.
        wait = budget.take(0, now)
        if not wait:
            budget.take(1, now)
        return wait


class Failures:
    """Wrong tokens by address. A right one never waits, whatever else comes from its address."""

    def __init__(self) -> None:
        self._counts: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def note(self, address: str, now: float) -> tuple[int, float]:
        """Another one: how many there were lately, and the seconds its answer has to wait."""
        place = network(address)
        count, at = self._counts.get(place, (0.0, now))
        count = max(0.0, count - (now - at) / FORGIVEN) + 1
        self._counts[place] = (count, now)
        self._counts.move_to_end(place)
        if len(self._counts) > MOST:
            self._counts.popitem(last=False)
        over = count - FREE
        return round(count), min(SLOWEST, 0.05 * 2 ** min(over, 10.0)) if over > 0 else 0.0


def network(address: str) -> str:
    """Who an address belongs to: in IPv6 a household has 2^64 of them."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    return str(ipaddress.ip_network((found, 64), strict=False)) if found.version == 6 else address
