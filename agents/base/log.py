"""Logs: JSON lines, or a console style on a terminal. ``docs/logs.md`` lists every line and field."""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from agents.base.secret import hidden

#: Eighteen characters: a division, a date of birth, a number and a check digit.
_CITIZEN = re.compile(
    r"(?<![0-9A-Za-z])[1-9]\d{5}(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{3}[\dXx]"
    r"(?![0-9A-Za-z])"
)


def without_people(value: Any) -> Any:
    """``value`` without citizens' numbers. We log none; an error of somebody else's may quote one."""
    if isinstance(value, str):
        return _CITIZEN.sub("(a citizen's number)", value)
    if isinstance(value, list | tuple):
        return [without_people(each) for each in value]
    return value


def _about_nobody(_: Any, __: str, line: MutableMapping[str, Any]) -> dict[str, Any]:
    return {name: without_people(value) for name, value in line.items()}


def set_up_command() -> None:
    """Configure structlog for a command: standard output is for its answer."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        # Whatever is standard error when something is said, not now.
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
    )
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL + 1)


def set_up(node: str) -> None:
    """Configure structlog for this process; every line carries ``node``."""
    terminal = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _about_nobody,
            _without_secrets,
            # Its own way to show an error prints the variables, and with them whatever they hold.
            structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
            if terminal
            else structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(node=node)
    # The client repeats itself every 100 ms while a broker is away; the run loop says it once.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL + 1)
    logging.getLogger("asyncio").setLevel(logging.ERROR)


def _without_secrets(
    _: Any, method: str, line: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """What an error of somebody else's quotes may be a secret of the node file."""
    for name, value in line.items():
        if isinstance(value, str):
            line[name] = hidden(value)
    return line
