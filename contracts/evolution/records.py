"""Two revisions' records: their fields, and the rules across them."""

import re
from collections.abc import Iterator

from contracts.evolution.findings import Finding, found, said
from contracts.evolution.rules import Affected
from contracts.evolution.shapes import Fields, kind, shapes_compared
from contracts.expression import Expression, WrongExpression
from contracts.model import Contract, Rule
from contracts.shape import Array, Field, Map, Object, Shape


def records_compared(old: Contract, new: Contract) -> Iterator[Finding]:
    """What changed in the values that are written and read."""
    yield from fields_compared(old.fields, new.fields, "$")
    yield from _rules_compared(old, new)


def fields_compared(old: Fields, new: Fields, path: str) -> Iterator[Finding]:
    """What changed in the fields of the record at ``path``; their order means nothing.

    A writer writes every field, also one that its source left out. So whether a field is required
    matters only to readers of revisions that do not have it.
    """
    before, after = {each.name: each for each in old}, {each.name: each for each in new}
    removed = [each for each in old if each.name not in after]
    added = [each for each in new if each.name not in before]
    for gone in removed:
        renamed = next((each for each in added if _same(gone, each)), None)
        breaks: tuple[Affected, ...] = ("granted children",)
        if gone.required:
            breaks = ("old readers", *breaks)
        if renamed is None:
            yield found("field-removed", f"{path}.{gone.name}", kind(gone.shape), None, breaks)
            continue
        added.remove(renamed)
        if renamed.required:
            breaks = (*breaks, "new readers", "stored state")
        yield found("field-renamed", f"{path}.{gone.name}", gone.name, renamed.name, breaks)
    for field in added:
        rule = "field-added-without-default" if field.required else "field-added"
        yield found(rule, f"{path}.{field.name}", None, kind(field.shape))
    for field in old:
        if field.name in after:
            yield from _field_compared(field, after[field.name], f"{path}.{field.name}")


def _same(one: Field, other: Field) -> bool:
    """Is it the same field under another name?"""
    return (one.shape, one.title, one.required) == (other.shape, other.title, other.required)


def _field_compared(old: Field, new: Field, path: str) -> Iterator[Finding]:
    if old.required and not new.required:
        yield found("field-became-optional", path, None, new.default)
    elif new.required and not old.required:
        yield found("field-became-required", path, old.default, None)
    elif old.default != new.default and kind(old.shape) == kind(new.shape):
        yield found("default-changed", path, old.default, new.default)
    if (old.title, old.description) != (new.title, new.description):
        words = said((old.title, new.title), (old.description, new.description))
        yield found("words-changed", path, *words)
    yield from shapes_compared(old.shape, new.shape, path, fields_compared)


# ---- rules across fields --------------------------------------------------------------------


def _rules_compared(old: Contract, new: Contract) -> Iterator[Finding]:
    """The same expression is the same rule, whatever it is called."""
    before, after = {rule.when: rule for rule in old.rules}, {rule.when: rule for rule in new.rules}
    lost = {rule.name: rule for rule in old.rules if rule.when not in after}
    for rule in new.rules:
        if rule.when in before:
            yield from _rule_compared(before[rule.when], rule, old, new)
        elif rule.name in lost:
            was = lost.pop(rule.name)
            yield found("rule-changed", f"rules.{rule.name}", was.when, rule.when)
        else:
            yield found("rule-added", f"rules.{rule.name}", None, rule.when)
    for rule in lost.values():
        yield found("rule-removed", f"rules.{rule.name}", rule.when, None)


def _rule_compared(was: Rule, now: Rule, old: Contract, new: Contract) -> Iterator[Finding]:
    path = f"rules.{now.name}"
    if was.name != now.name:
        yield found("rule-renamed", path, was.name, now.name)
    if was.message != now.message:
        yield found("words-changed", path, *said((was.message, now.message)))
    elif was.path != now.path:
        yield found("words-changed", path, was.path, now.path)
    for field in _read_otherwise(now.when, old, new):
        yield found("rule-reads-otherwise", path, f"$.{field}", f"$.{field}")


def _read_otherwise(when: str, old: Contract, new: Contract) -> list[str]:
    """Fields in which the expression may see another value in the same bytes."""
    try:
        seen = Expression(when, old.field_names).fields
        if set(Expression(when, new.field_names).fields) != set(seen):
            return sorted(set(new.field_names) - set(old.field_names))
    except WrongExpression:
        return ["*"]
    return [name for name in seen if not _alike(when, name, old.shape_of(name), new.shape_of(name))]


def _alike(when: str, name: str, old: Shape, new: Shape) -> bool:
    """Does the expression see the same in the field ``name``, read as ``old`` and as ``new``?"""
    if _seen_alike(old, new):
        return True
    parts = re.finditer(rf"(?<![\w.]){name}\b((?:\.\w+)*)(\s*\()?", when)
    for found_ in parts:
        steps = found_[1].split(".")[1:]
        if found_[2] and steps:
            steps.pop()  # a call: `tags.size()`
        if not _seen_alike(*_inner(old, new, steps)):
            return False
    return True


def _inner(old: Shape, new: Shape, steps: list[str]) -> tuple[Shape, Shape]:
    for step in steps:
        if not (isinstance(old, Object) and isinstance(new, Object)):
            break
        before = {each.name: each.shape for each in old.fields}
        after = {each.name: each.shape for each in new.fields}
        if step not in before or step not in after:
            break
        old, new = before[step], after[step]
    return old, new


def _seen_alike(old: Shape, new: Shape) -> bool:
    """Is what CEL is given the same for every value that both read? A record within the record has
    all the fields its reader knows."""
    if type(old) is not type(new):
        return False
    match old, new:
        case Array(), Array():
            return _seen_alike(old.items, new.items)
        case Map(), Map():
            return _seen_alike(old.values, new.values)
        case Object(), Object():
            before = {each.name: each.shape for each in old.fields}
            after = {each.name: each.shape for each in new.fields}
            return before.keys() == after.keys() and all(
                _seen_alike(before[name], after[name]) for name in before
            )
    return True
