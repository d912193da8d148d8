"""The desk where senders come in: who they are, how much they may send, and who takes their records."""

import hashlib
import hmac
import math
import time
from collections import Counter
from collections.abc import Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from agents.base.budget import Budget
from agents.base.config import IntakeTable, Sender
from agents.capture.http_answer import Problem
from agents.capture.http_kept import Kept
from agents.capture.http_source import HttpSource

#: Who takes the records of a contract.
Taker = HttpSource | Kept

#: Requests of one sender at once.
MOST_REQUESTS = 200


class Guest:
    """One sender as the desk knows it, over changes of the node file."""

    def __init__(self, sender: Sender) -> None:
        self.sender = sender
        self.budget = Budget(sender.rate, time.monotonic())
        self.under_way = 0
        #: Events, refused and repeated, by contract.
        self.events: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.repeated: Counter[str] = Counter()


class Desk:
    """Shared by the HTTP sources of one agent; ``use`` is what the node file says of it now."""

    def __init__(self, table: IntakeTable, served: Iterable[str]) -> None:
        self._guests: dict[str, Guest] = {}
        self._sources: dict[str, Taker] = {}
        self.use(table, served)

    def use(self, table: IntakeTable, served: Iterable[str]) -> None:
        """From now on these senders and bounds, and the contracts that have a source here, whether it
        runs or not."""
        self.table = table
        self.served = frozenset(served)
        guests = {}
        for sender in table.sender:
            guest = self._guests.get(sender.name) or Guest(sender)
            if guest.budget.rate != sender.rate:
                guest.budget = Budget(sender.rate, time.monotonic())
            guest.sender = sender
            guests[sender.name] = guest
        self._guests = guests

    # ---- sources -------------------------------------------------------------------------------

    def open(self, contract: str, source: Taker) -> None:
        """``source`` takes records of ``contract`` from now on."""
        self._sources[contract] = source

    def close(self, contract: str, source: Taker) -> None:
        """It does so no more."""
        if self._sources.get(contract) is source:
            del self._sources[contract]

    def source(self, contract: str) -> Taker:
        """Who takes records of ``contract`` at this moment. Raises Problem."""
        found = self._sources.get(contract)
        if found is None:
            raise Problem(
                503,
                "The capture does not run at this moment",
                expected=f"`{contract}` to be captured",
                found="a pause, as while Kafka is away",
                do="Send the same again; `levelsync status` says why.",
                retry=2,
            )
        return found

    # ---- senders -------------------------------------------------------------------------------

    def admit(self, authorization: str | None, contract: str) -> Guest:
        """Who sends, and may do so now. Raises Problem."""
        guest = self._known(authorization)
        sender = guest.sender
        if contract not in self.served:
            raise Problem(
                404,
                "No such contract here",
                expected="a contract that has a source of kind `http` at this node",
                found=f"`{contract}`",
            )
        if contract not in sender.contracts:
            raise Problem(
                403,
                "Not this contract",
                expected=f"one of {', '.join(sender.contracts)}",
                found=f"`{contract}`",
                do=f"Ask the node's operators to add it to `contracts` of `{sender.name}`.",
            )
        wait = guest.budget.take(0, time.monotonic())
        if wait > 0:
            raise Problem(
                429,
                "Too many events",
                expected=f"at most {sender.rate} events a second",
                found="more",
                do="Wait as long as Retry-After says.",
                retry=math.ceil(wait),
            )
        if guest.under_way >= MOST_REQUESTS:
            raise Problem(
                429,
                "Too many requests at once",
                expected=f"at most {MOST_REQUESTS}",
                found="more",
                do="Put several records into one request (application/x-ndjson).",
                retry=1,
            )
        return guest

    def _known(self, authorization: str | None) -> Guest:
        kind, _, token = (authorization or "").partition(" ")
        hashed = f"sha256:{hashlib.sha256(token.strip().encode()).hexdigest()}"
        found = None
        # All are compared, each in a time that does not tell how far it fits.
        for guest in self._guests.values():
            if hmac.compare_digest(guest.sender.token, hashed):
                found = guest
        if kind.lower() != "bearer" or found is None:
            raise Problem(
                401,
                "Who are you?",
                expected="`Authorization: Bearer` with a token of this node's",
                found="none" if not authorization else "another",
                do="Ask the node's operators for one.",
            )
        return found

    # ---- figures -------------------------------------------------------------------------------

    def metrics(self) -> Iterator[Metric]:
        """For Prometheus: what each sender sent."""
        labels = ["sender", "contract"]
        events = CounterMetricFamily("levelsync_intake_events", "Events taken.", labels=labels)
        refused = CounterMetricFamily("levelsync_intake_refused", "Events refused.", labels=labels)
        repeated = CounterMetricFamily(
            "levelsync_intake_repeated", "Events that stood already.", labels=labels
        )
        under_way = GaugeMetricFamily(
            "levelsync_intake_requests", "Requests under way.", labels=["sender"]
        )
        for name, guest in self._guests.items():
            under_way.add_metric([name], guest.under_way)
            for contract in guest.sender.contracts:
                for family, counted in (
                    (events, guest.events), (refused, guest.refused), (repeated, guest.repeated),
                ):  # fmt: skip
                    family.add_metric([name, contract], counted[contract])
        yield from (events, refused, repeated, under_way)
