"""The name of a table as a node file has it: ``schema.table``, either part in double quotes."""

import re

_PART = r'(?:"((?:[^"]|"")+)"|([^".\s]+))'
_NAME = re.compile(rf"{_PART}\.{_PART}")


def split(name: str) -> tuple[str, str]:
    """Schema and table. Letters are taken as they stand; a part that holds a dot, a quote or a blank
    needs quotes, as in SQL: ``"人口.库"."Person"``. Raises ValueError."""
    found = _NAME.fullmatch(name)
    if found is None:
        raise ValueError(name)
    schema, plain_schema, table, plain_table = found.groups()
    return _part(schema, plain_schema), _part(table, plain_table)


def _part(quoted: str | None, plain: str) -> str:
    return plain if quoted is None else quoted.replace('""', '"')
