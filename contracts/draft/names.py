"""What columns are called: common names in Chinese, pinyin and English, and what they stand for."""

import keyword
import re
from collections.abc import Iterable
from importlib.resources import files
from typing import cast

import msgspec

from contracts.model import Mask
from contracts.text import Text


class Known(msgspec.Struct, frozen=True):
    """A common field: the name a contract gives it, its title, and what it is about.

    ``kind`` is ``name``, ``phone`` and such for personal information, ``division``, ``key``, ``code``,
    ``date``, ``moment`` or empty; ``mask`` is how it is shown to those who need not know it whole.
    """

    field: str
    title: Text
    kind: str = ""
    mask: Mask | None = None


def known(column: str) -> Known | None:
    """What a column of this name is by all experience; None when the name tells nothing.

    ``申请人姓名``, ``sqr_xm`` and ``applicant_name`` end in what they are.
    """
    plain = _plain(column)
    if plain in _KNOWN:
        return _KNOWN[plain]
    if _chinese(column):
        for length in range(len(plain) - 1, 1, -1):
            if plain[-length:] in _KNOWN:
                return _KNOWN[plain[-length:]]
        return None
    parts = words(column)
    for start in range(1, len(parts)):
        found = _KNOWN.get("".join(parts[start:]))
        # `note_id` is no note, and the short initials mean little behind another word.
        if found and (len(parts) - start > 1 or found.kind in _TELLING):
            return found
    return None


def words(name: str) -> list[str]:
    """``legalPerson_id`` → ``legal``, ``person``, ``id``; Chinese is one word."""
    return [
        part.lower()
        for part in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^\W\d_A-Za-z]+", name)
    ] or ["field"]


def identifiers(columns: Iterable[str]) -> dict[str, str]:
    """A field name for each column: its own where that can be one, else the known one, else
    ``field_3``. No two are the same."""
    names: dict[str, str] = {}
    used: set[str] = set()
    columns = list(columns)
    keep = {column for column in columns if is_field_name(column)}
    used |= keep
    for number, column in enumerate(columns, 1):
        if column in names:
            continue
        if column in keep:
            names[column] = column
            continue
        wanted = _wanted(column) or f"field_{number}"
        name, copy = wanted, 1
        while name in used:
            copy += 1
            name = f"{wanted[:58]}_{copy}"
        used.add(name)
        names[column] = name
    return names


def is_field_name(name: str) -> bool:
    """Can a contract call a field so?"""
    return bool(re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,62}", name)) and not keyword.iskeyword(name)


def _wanted(column: str) -> str:
    if column.isascii():
        name = re.sub(r"[^A-Za-z0-9]+", "_", column).strip("_")[:60]
        if keyword.iskeyword(name):
            return f"{name}_"
        return name if is_field_name(name) else ""
    plain = _plain(column)
    if plain in _KNOWN:
        return _KNOWN[plain].field
    found = known(column)
    if found is None:
        return ""
    # 持证人姓名: what stands before the known end may be known too.
    before = next(
        (
            _KNOWN[plain[:end]]
            for end in range(len(plain) - 1, 0, -1)
            if plain[:end] in _KNOWN and plain[end:] in _KNOWN
        ),
        None,
    )
    return f"{before.field}_{found.field}" if before else found.field


def _plain(column: str) -> str:
    return re.sub(r"[\s_\-—()（）/.、]+", "", column).lower()


def title(column: str, comment: str = "") -> tuple[Text, bool]:
    """The title of a column by its comment and name, and whether both languages are more than a
    guess."""
    found = known(column)
    exact = found is not None and _KNOWN.get(_plain(column)) is found
    english = found.title.en if found and exact else " ".join(words(column)).capitalize()
    said = " ".join(comment.split())[:100]
    chinese = said if _chinese(said) else column.strip()[:100] if _chinese(column) else ""
    if said and not _chinese(said):
        english = said
    sure = (bool(chinese) or exact) and (
        exact or column.isascii() or bool(said and not _chinese(said))
    )
    if not chinese:
        chinese = found.title.zh if found and exact else column.strip()[:100]
    if not english.isascii():
        english = " ".join(words(_wanted(column))).capitalize() if found else chinese
    return Text(chinese or "未命名", english or "Unnamed"), sure


def _chinese(text: str) -> bool:
    return any("\u3400" <= character <= "\u9fff" for character in text)


#: Kinds that the last word of an English name tells: ``applicant_phone``.
_TELLING = frozenset(
    {
        "name", "phone", "address", "birth", "email", "citizen", "credit", "division", "date", "moment",
        "key", "code",
    }
)  # fmt: skip


def _read() -> dict[str, Known]:
    """What ``contracts/data/columns.tsv`` says, by what columns are called."""
    table: dict[str, Known] = {}
    lines = (files("contracts") / "data" / "columns.tsv").read_text(encoding="utf-8").splitlines()
    for line in lines[1:]:
        field, zh, en, kind, mask, called = line.split("\t")
        entry = Known(field, Text(zh, en), kind, cast(Mask, mask) if mask else None)
        for name in called.split():
            table.setdefault(name, entry)
    return table


_KNOWN = _read()
