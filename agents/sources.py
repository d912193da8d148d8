"""The kinds of source there are, and a node file read with them. A new kind is one line here."""

from collections.abc import Mapping
from pathlib import Path

from agents.base import config
from agents.base.config import NodeFile
from agents.capture.files_settings import FilesFolder
from agents.capture.http_source import HttpRecords
from agents.capture.mqtt import MqttTopics
from agents.capture.outbox import OutboxTable
from agents.capture.postgres_settings import PostgresTable
from agents.capture.source import SourceSettings
from contracts.model import Contract
from contracts.subjects import CONTRACTS

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
) -> NodeFile:
    """Read and check a node file; see :func:`agents.base.config.load`. Raises ConfigError."""
    return config.load(path, contracts, kinds)
