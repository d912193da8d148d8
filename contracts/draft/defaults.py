"""Defaults and limits, which a contract has as JSON, as Python."""

import datetime
from typing import Any

from contracts.draft.layout import literal
from contracts.shape import Date, Decimal, Shape, String


def default_text(value: Any, shape: Shape) -> str:
    """The default of a field of ``shape``."""
    if isinstance(value, str):
        return _of_text(value, shape)
    if isinstance(value, list):
        return f"[{', '.join(default_text(each, String()) for each in value)}]"
    if isinstance(value, dict):
        inside = (f"{literal(k)}: {default_text(each, String())}" for k, each in value.items())
        return f"{{{', '.join(inside)}}}"
    return number_text(value)


def _of_text(value: str, shape: Shape) -> str:
    if isinstance(shape, Decimal):
        return f"Decimal({literal(value)})"
    if isinstance(shape, Date):
        found = datetime.date.fromisoformat(value)
        if found.isoformat() == value:
            return f"datetime.date({found.year}, {found.month}, {found.day})"
    return literal(value)


def number_text(value: Any) -> str:
    """A number, True, False or None as ``repr``, but ``1e300`` for ``1e+300``."""
    return repr(value).replace("e+", "e")
