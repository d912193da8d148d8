"""Code tables: what the codes in records mean, and whose standard says so."""

import msgspec

from contracts.text import Text


class CodeTable(msgspec.Struct, frozen=True):
    """``codes`` with their meaning, by ``standard`` (``GB/T 2261.1``); empty for a contract's own."""

    standard: str
    title: Text
    codes: dict[str, Text]


SEX = CodeTable(
    "GB/T 2261.1",
    Text("性别", "Sex"),
    {
        "0": Text("未知", "Unknown"),
        "1": Text("男", "Male"),
        "2": Text("女", "Female"),
        "9": Text("未说明", "Not stated"),
    },
)
