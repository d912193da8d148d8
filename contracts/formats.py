"""Formats: texts with a structure of their own, most with a check character, by name."""

from collections.abc import Callable

import msgspec

from contracts.identifiers import citizen_fault, credit_fault
from contracts.text import Text


class Format(msgspec.Struct, frozen=True):
    """``pattern`` (portable) is what every such text matches. ``fault`` answers the stable short
    name of the rule a text breaks (``check-digit``), None when it is right."""

    name: str
    standard: str
    title: Text
    pattern: str
    fault: Callable[[str], str | None]


def shape_alone(text: str) -> None:
    """The pattern says all there is."""


FORMATS: dict[str, Format] = {
    found.name: found
    for found in (
        Format(
            "citizen-number",
            "GB 11643",
            Text("公民身份号码", "citizen number"),
            "^[0-9]{17}[0-9X]$",
            citizen_fault,
        ),
        Format(
            "credit-code",
            "GB 32100",
            Text("统一社会信用代码", "unified social credit code"),
            "^[0-9A-HJ-NPQRTUWXY]{2}[0-9]{6}[0-9A-HJ-NPQRTUWXY]{10}$",
            credit_fault,
        ),
        Format(
            "division-code",
            "GB/T 2260",
            Text("行政区划代码", "division code of 2, 4, 6, 9 or 12 digits"),
            "^[0-9]{2}(?:[0-9]{2}(?:[0-9]{2}(?:[0-9]{3}(?:[0-9]{3})?)?)?)?$",
            shape_alone,
        ),
    )
}
