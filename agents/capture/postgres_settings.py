"""What a node file says of one PostgreSQL table."""

from typing import Literal
from zoneinfo import ZoneInfo

from agents.base.findings import Finding
from agents.base.table import Wrong
from agents.capture import postgres_name
from agents.capture.postgres import PostgresSource
from agents.capture.postgres_dsn import check_dsn
from agents.capture.postgres_rights import examine_table
from agents.capture.postgres_setup import Table
from agents.capture.postgres_slot import Failover
from agents.capture.postgres_types import CHINA
from agents.capture.postgres_wal import parse_size
from agents.capture.source import Place, SourceSettings


class PostgresTable(SourceSettings, frozen=True, kw_only=True, tag="postgres"):
    """One table, whose changes are read from the database's own log."""

    dsn: str
    #: ``schema.table``; a part with a dot or a blank in it stands in double quotes.
    table: str
    #: Where the clocks stand by which a ``timestamp`` without time zone was written.
    timezone: str = CHINA
    #: By which plugin the server tells of its log; auto: pgoutput, or wal2json where there is none.
    plugin: Literal["auto", "pgoutput", "wal2json"] = "auto"
    #: Seconds after which a message in the log moves on a stream that nothing else moves; 0 for none.
    heartbeat: float = 10.0
    #: How much of its log the server may hold back for us: people are told at half of it, and alarmed
    #: at 90 %; ``0`` for no bound.
    wal_budget: str = "10GB"
    #: ``auto``: the slot is kept on standbys too, where the server can (17 and newer).
    failover: Failover = "auto"

    def __repr__(self) -> str:
        return f"PostgresTable(contract={self.contract!r}, table={self.table!r}, dsn=…)"

    @property
    def collects(self) -> str:
        """See :class:`agents.base.config.SourceTable`."""
        return self.table

    def validate(self) -> None:
        """See :class:`agents.base.config.SourceTable`."""
        try:
            postgres_name.split(self.table)
        except ValueError:
            raise Wrong("`schema.table`", f"`{self.table}`", "table") from None
        try:
            ZoneInfo(self.timezone)
        except (KeyError, ValueError, OSError):
            raise Wrong(
                "a time zone such as `Asia/Shanghai`", f"`{self.timezone}`", "timezone"
            ) from None
        check_dsn(self.dsn, "dsn")
        if self.heartbeat < 0:
            raise Wrong("seconds, 0 for none", f"`{self.heartbeat}`", "heartbeat")
        try:
            parse_size(self.wal_budget)
        except ValueError:
            raise Wrong("a size such as `10GB`", f"`{self.wal_budget}`", "wal_budget") from None

    def source(self, place: Place) -> PostgresSource:
        """See :class:`agents.capture.source.SourceSettings`."""
        contract = place.contract
        return PostgresSource(
            dsn=self.dsn,
            table=self.table,
            columns={field: field for field in contract.field_names} | self.columns,
            key=contract.key,
            name=place.name,
            shapes={field: contract.shape_of(field) for field in contract.field_names},
            timezone=self.timezone,
            plugin=self.plugin,
            place=place,
            heartbeat=self.heartbeat,
            wal_budget=parse_size(self.wal_budget),
            failover=self.failover,
        )

    async def examine(self, place: Place) -> list[Finding]:
        """See :class:`agents.capture.source.SourceSettings`."""
        contract = place.contract
        columns = {field: field for field in contract.field_names} | self.columns
        table = Table(self.table, columns, contract.key, place.name)
        return await examine_table(self.dsn, table, parse_size(self.wal_budget), self.plugin)
