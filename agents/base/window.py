"""The window's tables in a node file: where it answers, who may see what, and where else it delivers."""

import datetime
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from agents.base.mqtt_address import check_url, place_of
from agents.base.table import (
    Table,
    Wrong,
    check_address,
    check_contract,
    check_token,
    sealed_token,
)
from contracts.identifiers import level_of, within
from contracts.model import Contract, Mask

#: Addresses that only this machine reaches.
LOOPBACK = ("127.0.0.1", "::1", "localhost")


class Rights(Table, frozen=True):
    """What somebody may see at a window, and what for."""

    #: What the data is for: written into the audit with every look.
    purpose: str
    contracts: tuple[str, ...]
    #: Records of these divisions; of every one that is here when left out.
    scopes: tuple[str, ...] = ()
    #: By contract, only these fields; all when left out.
    fields: dict[str, tuple[str, ...]] = {}
    #: By contract, fields that are given less than whole, as in a grant.
    mask: dict[str, dict[str, Mask]] = {}
    #: May corrections be proposed?
    corrections: bool = True


class System(Rights, frozen=True, kw_only=True):
    """A window system or a kiosk; :func:`agents.base.config.load` keeps a hash of its token alone."""

    name: str
    #: Its bearer token, at least 16 characters; or ``sha256:`` and the hash of it in hexadecimal.
    token: str
    #: Requests a second in the long run, and connections that follow the feed at once.
    rate: int = 200
    subscribers: int = 100

    def __repr__(self) -> str:
        return f"System(name={self.name!r}, token=…, contracts={self.contracts!r})"


class Login(Table, frozen=True, kw_only=True):
    """Clerks are known by the office's own OpenID Connect provider."""

    issuer: str
    client: str
    secret: str = ""
    #: Where browsers reach this window: ``https://window.lixia.gov.cn``.
    url: str
    #: The claim that names a clerk's groups, and the one that names the clerk.
    groups: str = "groups"
    name: str = "preferred_username"
    #: Hours after which a clerk has to log in again.
    hours: int = 8

    def __repr__(self) -> str:
        return f"Login(issuer={self.issuer!r}, client={self.client!r}, secret=…)"


class Clerks(Rights, frozen=True, kw_only=True):
    """The clerks of a group, as the login's provider names it; ``*`` for everyone who logs in."""

    group: str
    #: Requests a second of each clerk, and connections that follow the feed at once.
    rate: int = 20
    subscribers: int = 10


class MqttOut(Table, frozen=True, kw_only=True):
    """Retained state by key and a change topic on the node's MQTT broker, for kiosks and screens."""

    #: ``mqtt://host:1883`` or ``mqtts://host:8883``.
    url: str
    contracts: tuple[str, ...]
    username: str = ""
    password: str = ""
    #: PEM files: whom to trust, and who we are.
    ca: Path = Path()
    certificate: Path = Path()
    key: Path = Path()
    #: Begins every topic: ``levelsync/resident.v2/state/<key>`` and ``levelsync/resident.v2/changes``.
    prefix: str = "levelsync"
    scopes: tuple[str, ...] = ()
    fields: dict[str, tuple[str, ...]] = {}
    mask: dict[str, dict[str, Mask]] = {}
    purpose: str

    def __repr__(self) -> str:
        return f"MqttOut(url={self.url!r}, contracts={self.contracts!r}, password=…)"


class SqlOut(Table, frozen=True, kw_only=True):
    """A table of the window's own system in PostgreSQL, kept as the contract is."""

    dsn: str
    contract: str
    #: ``schema.table``; made from the contract when ``create`` is true and it is not there.
    table: str
    create: bool = False
    #: Contract field = column, where the two names differ.
    columns: dict[str, str] = {}
    scopes: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    mask: dict[str, Mask] = {}
    purpose: str

    def __repr__(self) -> str:
        return f"SqlOut(contract={self.contract!r}, table={self.table!r}, dsn=…)"


class Window(Table, frozen=True, kw_only=True):
    listen: str = "127.0.0.1:8700"
    #: PEM files; with them it speaks TLS alone.
    certificate: Path = Path()
    key: Path = Path()
    #: Changes that are kept for those who were away, of all contracts together.
    feed: int = 100_000
    #: Who may see what. Without any system or login everybody on this machine may see everything, and
    #: nobody else reaches it.
    system: tuple[System, ...] = ()
    login: Login | None = None
    clerks: tuple[Clerks, ...] = ()
    mqtt: MqttOut | None = None
    sql: tuple[SqlOut, ...] = ()

    @property
    def open(self) -> bool:
        """May whoever reaches it see everything?"""
        return not self.system and self.login is None


class Corrections(Table, frozen=True, kw_only=True):
    """How an owner takes in what windows say is wrong (校核纠错)."""

    #: Working days within which each is answered.
    days: int = 5
    #: Days that are off, or worked, otherwise than the national calendar says.
    off: tuple[datetime.date, ...] = ()
    worked: tuple[datetime.date, ...] = ()
    #: A PostgreSQL table into which each is entered, and from which answers are read.
    dsn: str = ""
    table: str = ""
    #: Where each is posted as JSON; ``secret`` signs it.
    webhook: str = ""
    secret: str = ""

    def __repr__(self) -> str:
        return f"Corrections(days={self.days}, table={self.table!r}, webhook={self.webhook!r})"


def check_corrections(corrections: Corrections) -> None:
    """Raise :class:`Wrong` for the first setting that cannot be."""
    if not 1 <= corrections.days <= 365:
        raise Wrong("1 to 365 working days", f"{corrections.days}", "corrections.days")
    if both := sorted({*corrections.off} & {*corrections.worked}):
        raise Wrong("a day that is off or worked", f"{both[0]} as both", "corrections.worked")
    for one, other in (("table", "dsn"), ("dsn", "table"), ("webhook", "secret")):
        if getattr(corrections, one) and not getattr(corrections, other):
            raise Wrong(f"`{other}` beside `{one}`", "none", f"corrections.{other}")
    if corrections.table and not re.fullmatch(r"\w+\.\w+", corrections.table):
        raise Wrong("`schema.table`", f"`{corrections.table}`", "corrections.table")
    if corrections.webhook:
        _web(corrections.webhook, "corrections.webhook")
        if len(corrections.secret) < 16:
            raise Wrong("a secret of 16 characters or more", "less", "corrections.secret")


def sealed(window: Window, folder: Path) -> Window:
    """``window`` with its files found, and a hash in the place of each token."""

    def found(file: Path) -> Path:
        return folder / file if file != Path() else file

    mqtt = window.mqtt and msgspec.structs.replace(
        window.mqtt,
        ca=found(window.mqtt.ca),
        certificate=found(window.mqtt.certificate),
        key=found(window.mqtt.key),
    )
    return msgspec.structs.replace(
        window,
        certificate=found(window.certificate),
        key=found(window.key),
        system=tuple(
            msgspec.structs.replace(each, token=sealed_token(each.token)) for each in window.system
        ),
        mqtt=mqtt,
    )


def check(window: Window, listen: str, scope: str) -> None:
    """Raise :class:`Wrong` for the first setting that cannot be; ``listen`` is the agent's own address,
    ``scope`` the node's."""
    check_address(window.listen, "window.listen")
    if window.listen == listen:
        raise Wrong("an address of its own", f"`{window.listen}`", "window.listen")
    for one, other in (("certificate", "key"), ("key", "certificate")):
        if getattr(window, one) != Path() and getattr(window, other) == Path():
            raise Wrong(f"`{other}` beside `{one}`", "none", f"window.{other}")
    if not 1_000 <= window.feed <= 10_000_000:
        raise Wrong("1000 to 10000000 changes", f"{window.feed}", "window.feed")
    if window.open and window.listen.rpartition(":")[0].strip("[]") not in LOOPBACK:
        raise Wrong(
            "[[window.system]] or [window.login], which say who may see what, or an address that only"
            " this machine reaches",
            f"`{window.listen}` for everybody",
            "window.listen",
        )
    tokens: dict[str, str] = {}
    for index, system in enumerate(window.system):
        check_token(system.name, system.token, tokens, f"window.system[{index}]")
    if window.clerks and window.login is None:
        raise Wrong("[window.login] beside [[window.clerks]]", "none", "window.login")
    if window.login:
        for name in ("issuer", "url"):
            _web(getattr(window.login, name), f"window.login.{name}")
        if not 1 <= window.login.hours <= 72:
            raise Wrong("1 to 72 hours", f"{window.login.hours}", "window.login.hours")
        if not window.clerks:
            raise Wrong("[[window.clerks]], who may log in", "none", "window.clerks")
    for path, rights in _rights(window):
        _check_rights(rights, scope, path)
    if window.mqtt:
        _check_mqtt(window.mqtt)
    tables: set[tuple[str, str]] = set()
    for index, sql in enumerate(window.sql):
        _check_sql(sql, f"window.sql[{index}]")
        if (sql.dsn, sql.table) in tables:
            raise Wrong("each table once", f"`{sql.table}`", f"window.sql[{index}].table")
        tables.add((sql.dsn, sql.table))


def _check_mqtt(out: MqttOut) -> None:
    check_url(out.url, "window.mqtt.url")
    if not out.contracts:
        raise Wrong("one contract or more", "none", "window.mqtt.contracts")
    for name in ("ca", "certificate", "key"):
        if getattr(out, name) != Path() and not place_of(out.url)[2]:
            raise Wrong(
                "`mqtts://`, which files for TLS are for", f"`{out.url}`", "window.mqtt.url"
            )
    if out.key != Path() and out.certificate == Path():
        raise Wrong("`certificate` beside `key`", "none", "window.mqtt.certificate")
    if out.password and not out.username:
        raise Wrong("`username` beside `password`", "none", "window.mqtt.username")
    if not re.fullmatch(r"[^$/+#\0][^+#\0]*", out.prefix) or out.prefix.endswith("/"):
        raise Wrong(
            "the first levels of a topic, without `+`, `#` and a `$` or `/` at the beginning",
            f"`{out.prefix}`", "window.mqtt.prefix",
        )  # fmt: skip


def _check_sql(out: SqlOut, path: str) -> None:
    if not out.dsn.strip():
        raise Wrong("`host=… dbname=… user=…` or `postgresql://…`", "nothing", f"{path}.dsn")
    names = out.table.split(".")
    if len(names) != 2 or not all(_is_identifier(each) for each in names):
        raise Wrong("`schema.table`", f"`{out.table}`", f"{path}.table")
    if names[1] in ("levelsync_position", "levelsync_refused"):
        raise Wrong("a table of its own", f"`{out.table}`, the window's", f"{path}.table")
    for name in out.columns.values():
        if not _is_identifier(name):
            raise Wrong("a column of 1 to 63 bytes", f"`{name}`", f"{path}.columns")


def _is_identifier(name: str) -> bool:
    return 0 < len(name.encode()) <= 63 and "\0" not in name


def hashed(window: Window) -> Iterator[str]:
    """The paths of the masks that need a secret."""
    for path, rights in _rights(window):
        masks = [rights.mask] if isinstance(rights, SqlOut) else rights.mask.values()
        if any("hash" in each.values() for each in masks):
            yield f"{path}.mask"


def _rights(window: Window) -> Iterator[tuple[str, System | Clerks | MqttOut | SqlOut]]:
    for kind in ("system", "clerks", "sql"):
        for index, each in enumerate(getattr(window, kind)):
            yield f"window.{kind}[{index}]", each
    if window.mqtt:
        yield "window.mqtt", window.mqtt


def _check_rights(rights: System | Clerks | MqttOut | SqlOut, scope: str, path: str) -> None:
    if not rights.purpose.strip():
        raise Wrong("what the data is for", "nothing", f"{path}.purpose")
    if isinstance(rights, SqlOut):
        check_contract(rights.contract, f"{path}.contract")
    else:
        for name in rights.contracts:
            check_contract(name, f"{path}.contracts")
        for what in ("fields", "mask"):
            for name in getattr(rights, what):
                if name not in rights.contracts:
                    raise Wrong("one of its contracts", f"`{name}`", f"{path}.{what}")
    for each in rights.scopes:
        if not _is_division(each) or not within(each, scope):
            raise Wrong(f"a division within `{scope}`", f"`{each}`", f"{path}.scopes")
    if isinstance(rights, (System, Clerks)) and (rights.rate < 1 or rights.subscribers < 0):
        raise Wrong("1 or more requests a second, 0 or more subscribers", "less", f"{path}.rate")


def _is_division(code: str) -> bool:
    try:
        level_of(code)
    except ValueError:
        return False
    return True


def _web(url: str, path: str) -> None:
    """An address a login may come over: TLS, but for this machine alone."""
    parts = urlsplit(url)
    if parts.scheme == "https" and parts.hostname:
        return
    if parts.scheme != "http" or parts.hostname not in LOOPBACK:
        raise Wrong("`https://host`", f"`{url}`", path)


def misfits(window: Window, contract: Contract) -> Iterator[Wrong]:
    """What of ``window`` does not fit ``contract``: fields it does not have, a key or a scope left out
    or masked."""
    for path, rights in _rights(window):
        if isinstance(rights, SqlOut):
            if rights.contract == contract.name:
                yield from _fields_fit(rights.fields, rights.mask, contract, path)
                yield from _columns_fit(rights, contract, f"{path}.columns")
        elif contract.name in rights.contracts:
            fields, mask = rights.fields.get(contract.name, ()), rights.mask.get(contract.name, {})
            yield from _fields_fit(fields, mask, contract, path)


def _columns_fit(out: SqlOut, contract: Contract, path: str) -> Iterator[Wrong]:
    given = out.fields or contract.field_names
    for name in out.columns:
        if name not in given:
            yield Wrong(f"a field of the table ({', '.join(given)})", f"`{name}`", path)
    taken: dict[str, str] = {}
    for name in given:
        column = out.columns.get(name, name)
        if column in taken:
            yield Wrong(f"a column of its own for `{name}`", f"that of `{taken[column]}`", path)
        taken[column] = name


def _fields_fit(
    fields: tuple[str, ...], mask: dict[str, Mask], contract: Contract, path: str
) -> Iterator[Wrong]:
    for name in (*fields, *mask):
        if name not in contract.field_names:
            listed = ", ".join(contract.field_names)
            where = "fields" if name in fields else "mask"
            yield Wrong(f"a field of `{contract.name}` ({listed})", f"`{name}`", f"{path}.{where}")
    for name in (contract.key, contract.scope):
        if fields and name not in fields:
            yield Wrong(f"`{name}` too, by which records are found", "without", f"{path}.fields")
        if name in mask:
            yield Wrong("no mask on what records are found by", f"`{name}`", f"{path}.mask")
