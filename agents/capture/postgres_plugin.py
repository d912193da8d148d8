"""The plugins by which a server tells of its log; a new one is one line in :data:`PLUGINS`."""

from collections.abc import Callable, Mapping
from typing import Protocol

from agents.capture import pgoutput, wal2json
from agents.capture.postgres_copy import PREFIX
from agents.capture.postgres_setup import Table


class Plugin(Protocol):
    """``generated``: does it tell of stored generated columns on any version? ``again``: must bytes that
    were a :class:`pgoutput.Relation` be decoded once more? ``wished`` are options that older ones
    may not know."""

    name: str
    generated: bool
    again: bool
    wished: Mapping[str, str]

    def options(self) -> Mapping[str, str]: ...

    def decode(self, data: bytes) -> pgoutput.Decoded | None: ...


class PgOutput:
    """PostgreSQL's own. Proto version 1: a large transaction comes whole after its commit, spilled to
    the server's disk until then, so that nothing which may yet be rolled back is ever told."""

    name = "pgoutput"
    generated = False
    again = False
    wished: Mapping[str, str] = {}

    def __init__(self, table: Table, readings: Mapping[int, pgoutput.Reading]) -> None:
        self._table = table
        self._readings = readings

    def options(self) -> Mapping[str, str]:
        return {
            "proto_version": "1",
            "publication_names": f'"{self._table.name}"',
            "messages": "true",
        }

    def decode(self, data: bytes) -> pgoutput.Decoded | None:
        return pgoutput.decode(data, self._readings)


class Wal2Json:
    """For servers without pgoutput; needs no publication."""

    name = "wal2json"
    generated = True
    again = True
    #: From 2.6 on: NaN and Infinity are told as they are.
    wished: Mapping[str, str] = {"numeric-data-types-as-string": "true"}

    def __init__(self, table: Table, readings: Mapping[int, pgoutput.Reading]) -> None:
        self._table = table
        self._decoder = wal2json.Decoder(readings)

    def options(self) -> Mapping[str, str]:
        return {
            **wal2json.OPTIONS,
            "add-tables": ".".join(map(wal2json.escaped, self._table.parts)),
            "add-msg-prefixes": PREFIX,
        }

    def decode(self, data: bytes) -> pgoutput.Decoded | None:
        return self._decoder.decode(data)


#: In the order in which they are tried.
PLUGINS: Mapping[str, Callable[[Table, Mapping[int, pgoutput.Reading]], Plugin]] = {
    "pgoutput": PgOutput,
    "wal2json": Wal2Json,
}


def candidates(wanted: str) -> list[str]:
    """The names of the plugins to try when a source says ``wanted``."""
    return list(PLUGINS) if wanted == "auto" else [wanted]
