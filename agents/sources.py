"""The kinds of source there are, and a node file read with them. A new kind is one line here."""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from agents.base import config
from agents.base.config import NodeFile
from agents.base.errors import ConfigError
from agents.base.table import Wrong
from agents.capture.files_settings import FilesFolder
from agents.capture.http_source import HttpRecords
from agents.capture.mqtt import MqttTopics
from agents.capture.outbox import OutboxTable
from agents.capture.outgoing import OutgoingRecords
from agents.capture.postgres_dsn import check_dsn
from agents.capture.postgres_settings import PostgresTable
from agents.capture.source import SourceSettings
from contracts.model import Contract
from contracts.subjects import CONTRACTS
from contracts.subjects.access import ACCESS
from contracts.subjects.correction import ANSWER, CORRECTION

KINDS: tuple[type[SourceSettings], ...] = (
    PostgresTable,
    OutboxTable,
    MqttTopics,
    HttpRecords,
    FilesFolder,
)


def load(
    path: Path,
    contracts: Mapping[str, Contract] = CONTRACTS,
    kinds: tuple[type[SourceSettings], ...] = KINDS,
    *,
    secrets: bool = True,
) -> NodeFile:
    """Read and check a node file; see :func:`agents.base.config.load`. Raises ConfigError."""
    found = config.load(path, contracts, kinds, secrets=secrets)
    tables = found.window.sql if found.window else ()
    dsns = {f"window.sql[{index}].dsn": each.dsn for index, each in enumerate(tables)}
    if found.corrections and found.corrections.dsn:
        dsns["corrections.dsn"] = found.corrections.dsn
    for where, dsn in dsns.items():
        try:
            check_dsn(dsn, where)
        except Wrong as wrong:
            raise ConfigError(
                f"{path}: Expected {wrong.expected}, got {wrong.found}, at `{where}`"
            ) from None
    return implied(found)


def implied(found: NodeFile) -> NodeFile:
    """``found`` with the sources that follow from its window and its corrections. Raises ConfigError."""
    names = [CORRECTION.name, ACCESS.name] if found.window else []
    if found.kafka is None and found.parent:
        # A leaf keeps nothing that does not go up.
        names = [name for name in names if name in found.parent.push]
    names += [ANSWER.name] if found.corrections else []
    if taken := sorted(found.owned.intersection(names)):
        raise ConfigError(
            f"Expected no [[source]] of `{taken[0]}`, which this agent fills itself, got one"
        )
    more = tuple(OutgoingRecords(contract=name) for name in names)
    return msgspec.structs.replace(found, source=(*found.source, *more))
