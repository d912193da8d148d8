"""What keeps those who work beside the hops from their topics: said once, shown while it lasts."""

import structlog

from agents.kafka.cluster import NotAllowed, NotLetIn

log = structlog.get_logger()


class Trouble:
    """Why ``topic`` cannot be used, for want of rights or of a way in; empty while nothing is known to be
    wrong. That brokers are away the hops say."""

    def __init__(self, topic: str) -> None:
        self.why = ""
        self._topic = topic

    def met(self, error: BaseException) -> None:
        """This went wrong."""
        if isinstance(error, (NotAllowed, NotLetIn)) and str(error) != self.why:
            self.why = str(error)
            log.warning("lost", topic=self._topic, error=self.why)

    def over(self) -> None:
        """It works."""
        if self.why:
            self.why = ""
            log.info("back", topic=self._topic)
