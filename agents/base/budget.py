"""How much somebody may do in a second, in the long run."""


class Budget:
    """A bucket of ``rate`` tokens a second that holds one second's; it can be in debt. 0: no bound."""

    def __init__(self, rate: float, now: float) -> None:
        self.rate = rate
        self._tokens = float(rate)
        self._at = now

    def take(self, count: int, now: float) -> float:
        """Take tokens, and say for how many seconds nothing more may be taken."""
        if not self.rate:
            return 0.0
        self._tokens = min(self._tokens + (now - self._at) * self.rate, float(self.rate)) - count
        self._at = now
        return max(0.0, -self._tokens / self.rate)
