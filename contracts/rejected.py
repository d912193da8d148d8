"""What is said of a value that breaks its contract."""

import re

import msgspec


class Rejected(Exception):
    """A value broke a rule of its contract.

    ``path`` is where (``$.id_number``), ``rule`` a stable short name, ``message`` what was expected
    and found, without the value of a personal field.
    """

    def __init__(self, path: str, rule: str, message: str) -> None:
        self.path = path
        self.rule = rule
        self.message = message
        super().__init__(f"{message} - at `{path}` ({rule})")

    def within(self, outer: str) -> "Rejected":
        """The same, seen from further out."""
        return Rejected(outer + self.path, self.rule, self.message)


def explained(error: Exception) -> Rejected:
    """What a decoder's error means."""
    if isinstance(error, RecursionError):
        return Rejected("$", "too-deep", "Expected fewer levels, got more than can be read")
    if isinstance(error, UnicodeError):
        return Rejected("$", "encoding", "Expected UTF-8, got other bytes")
    if isinstance(error, msgspec.ValidationError):
        return _by_rule(str(error))
    return Rejected("$", "json", f"Expected JSON, {error}")


#: Characters of an unknown name that are said.
_NAME = 64
_AT = re.compile(r"^(?P<text>.*?)(?: - at `(?P<path>[^`]*)`)?$", re.DOTALL)
_RULES = (
    ("missing required field", "required"),
    ("contains unknown field", "unknown-field"),
    ("Invalid enum value", "enum"),
    ("of length", "length"),
    ("out of range", "range"),
    ("Invalid", "format"),
    (">", "range"),
    ("<", "range"),
)


def _by_rule(text: str) -> Rejected:
    """msgspec's error as a rule. Its texts name types and limits; an enum's value is left out."""
    match = _AT.match(text)
    assert match
    message = match["text"]
    rule = next((name for part, name in _RULES if part in message), "type")
    path = match["path"] or "$"
    if rule in ("required", "unknown-field") and (named := re.search(r"`([^`]*)`$", message)):
        path = f"{path}.{named[1][:_NAME]}"
        wanted = "this field, got none" if rule == "required" else "a field of the contract"
        message = f"Expected {wanted}"
    if rule == "enum":
        message = "Expected a value of the code table, got another"
    if rule == "range" and "range" in message:
        message = "Expected a smaller number"
    return Rejected(path, rule, message)
