"""The window's tables in a node file: each mistake is named with its path, and what fits is taken."""

from pathlib import Path

import pytest

from agents.base.config import NodeFile, misfits
from agents.base.errors import ConfigError
from agents.base.table import sealed_token
from agents.base.window import Window
from agents.sources import load
from contracts.subjects import CONTRACTS

GOOD = """
[node]
id = "370102"
name = "历下区"
level = "county"

[kafka]
bootstrap = "127.0.0.1:9292"

[masking]
secret = "what hashes are keyed by"

[window]
listen = "0.0.0.0:8739"
certificate = "own.pem"
key = "own.key"

[[window.system]]
name = "queue-kiosk"
token = "kiosk-token-kiosk-token"
purpose = "queue numbers at the counter"
contracts = ["resident.v2"]
scopes = ["370102001"]
fields = { "resident.v2" = ["id_number", "division_code", "name"] }
mask = { "resident.v2" = { name = "hash" } }
rate = 50
subscribers = 5

[window.login]
issuer = "https://login.lixia.example"
client = "window"
secret = "client-secret-client-secret"
url = "https://window.lixia.example"

[[window.clerks]]
group = "counter"
purpose = "over-the-counter services"
contracts = ["resident.v2", "division.v1"]

[window.mqtt]
url = "mqtt://127.0.0.1:1883"
contracts = ["division.v1"]
purpose = "screens in the hall"

[[window.sql]]
dsn = "host=db"
contract = "division.v1"
table = "office.division"
purpose = "the office's own system"
"""


def read(tmp_path: Path, text: str) -> NodeFile:
    path = tmp_path / "node.toml"
    path.write_text(text, encoding="utf-8")
    return load(path)


def window_of(tmp_path: Path, text: str = GOOD) -> Window:
    window = read(tmp_path, text).window
    assert window
    return window


def test_a_right_window_is_read_and_keeps_no_token(tmp_path: Path) -> None:
    window = window_of(tmp_path)
    assert window.certificate == tmp_path / "own.pem"
    assert window.system[0].token == sealed_token("kiosk-token-kiosk-token")
    assert not window.open
    shown = repr(read(tmp_path, GOOD))
    assert "client-secret" not in shown
    assert "kiosk-token" not in shown


def test_without_systems_and_login_it_is_open_to_this_machine(tmp_path: Path) -> None:
    for host in ("127.0.0.1", "localhost", "[::1]"):
        text = GOOD[: GOOD.index("[window]")] + f'[window]\nlisten = "{host}:8739"\n'
        assert window_of(tmp_path, text).open


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('"0.0.0.0:8739"', '"8739"', "Expected `host:port`, got `8739`, at `window.listen`"),
        ('"0.0.0.0:8739"', '"127.0.0.1:8600"', "Expected an address of its own, got `127.0.0.1:8600`, at `window.listen`"),
        ('key = "own.key"', "", "Expected `key` beside `certificate`, got none, at `window.key`"),
        ('certificate = "own.pem"', "", "Expected `certificate` beside `key`, got none, at `window.certificate`"),
        ('key = "own.key"', 'key = "own.key"\nfeed = 999', "Expected 1000 to 10000000 changes, got 999, at `window.feed`"),
        ('key = "own.key"', 'key = "own.key"\nfeed = 10000001', "got 10000001, at `window.feed`"),
        ('key = "own.key"', 'key = "own.key"\nopen = true', "unknown field `open`"),
        ('"queue-kiosk"', '"Queue kiosk"', "Expected a name such as `civil-affairs`, got `Queue kiosk`, at `window.system[0].name`"),
        ('"kiosk-token-kiosk-token"', '"short"', "Expected a token of 16 characters or more, got 5, at `window.system[0].token`"),
        ('"kiosk-token-kiosk-token"', '"sha256:12"', "Expected `sha256:` and 64 hexadecimal digits, got others, at `window.system[0].token`"),
        ("[window.login]", '[[window.system]]\nname = "queue-kiosk"\ntoken = "another-token-another"\npurpose = "p"\ncontracts = []\n[window.login]', "Expected each name once, got `queue-kiosk`, at `window.system[1].name`"),
        ("[window.login]", '[[window.system]]\nname = "b"\ntoken = "kiosk-token-kiosk-token"\npurpose = "p"\ncontracts = []\n[window.login]', "Expected a token of its own, got that of `queue-kiosk`, at `window.system[1].token`"),
        ("https://login.lixia.example", "http://login.lixia.example", "Expected `https://host`, got `http://login.lixia.example`, at `window.login.issuer`"),
        ("https://window.lixia.example", "window.lixia.example", "Expected `https://host`, got `window.lixia.example`, at `window.login.url`"),
        ('client = "window"', 'client = "window"\nhours = 0', "Expected 1 to 72 hours, got 0, at `window.login.hours`"),
        ('[[window.clerks]]\ngroup = "counter"\npurpose = "over-the-counter services"\ncontracts = ["resident.v2", "division.v1"]', "", "Expected [[window.clerks]], who may log in, got none, at `window.clerks`"),
        (GOOD[GOOD.index("[window.login]") : GOOD.index("[[window.clerks]]")], "", "Expected [window.login] beside [[window.clerks]], got none, at `window.login`"),
        ('"queue numbers at the counter"', '" "', "Expected what the data is for, got nothing, at `window.system[0].purpose`"),
        ('"over-the-counter services"', '""', "at `window.clerks[0].purpose`"),
        ('"screens in the hall"', '""', "at `window.mqtt.purpose`"),
        ("\"the office's own system\"", '""', "at `window.sql[0].purpose`"),
        ('contracts = ["resident.v2"]', 'contracts = ["resident"]', "Expected a contract such as `resident.v2`, got `resident`, at `window.system[0].contracts`"),
        ('contract = "division.v1"', 'contract = "division"', "got `division`, at `window.sql[0].contract`"),
        ('fields = { "resident.v2"', 'fields = { "birth.v1"', "Expected one of its contracts, got `birth.v1`, at `window.system[0].fields`"),
        ('mask = { "resident.v2"', 'mask = { "birth.v1"', "got `birth.v1`, at `window.system[0].mask`"),
        ('"370102001"', '"370103"', "Expected a division within `370102`, got `370103`, at `window.system[0].scopes`"),
        ('"370102001"', '"3701020"', "got `3701020`, at `window.system[0].scopes`"),
        ("rate = 50", "rate = 0", "Expected 1 or more requests a second, 0 or more subscribers, got less, at `window.system[0].rate`"),
        ("subscribers = 5", "subscribers = -1", "at `window.system[0].rate`"),
        ('[masking]\nsecret = "what hashes are keyed by"', "", "Expected [masking] secret, which hashes are keyed by, got none, at `window.system[0].mask`"),
        ('"name"]', '"nick"]', "Expected a field of `resident.v2` (id_number, "),
        ('{ name = "hash" }', '{ nick = "last4" }', "got `nick`, at `window.system[0].mask`"),
        ('"division_code", "name"', '"name"', "Expected `division_code` too, by which records are found, got without, at `window.system[0].fields`"),
        ('{ name = "hash" }', '{ id_number = "last4" }', "Expected no mask on what records are found by, got `id_number`, at `window.system[0].mask`"),
        ('{ name = "hash" }', '{ name = "first3" }', "at `window.system[0].mask[...][...]`"),
    ],
)  # fmt: skip
def test_each_mistake_is_named(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert GOOD.count(old) >= 1
    with pytest.raises(ConfigError) as wrong:
        read(tmp_path, GOOD.replace(old, new))
    assert says in str(wrong.value)


def test_an_open_window_on_an_address_that_others_reach_is_refused(tmp_path: Path) -> None:
    for host in ("0.0.0.0", "10.1.2.3", "[::]", "127.0.0.2"):
        text = GOOD[: GOOD.index("[window]")] + f'[window]\nlisten = "{host}:8739"\n'
        with pytest.raises(ConfigError, match=r"or an address that only this machine reaches"):
            read(tmp_path, text)


def test_a_hash_mask_of_a_table_needs_the_secret_too(tmp_path: Path) -> None:
    text = GOOD.replace('[masking]\nsecret = "what hashes are keyed by"', "")
    text = text.replace('{ name = "hash" }', '{ name = "last4" }')
    assert window_of(tmp_path, text)
    with pytest.raises(ConfigError, match=r"\[masking\] secret.*window\.sql\[0\]\.mask"):
        window_of(tmp_path, f'{text}mask = {{ name = "hash" }}\n')


def test_what_does_not_fit_a_contract_published_later_is_told_of_that_contract(
    tmp_path: Path,
) -> None:
    path = tmp_path / "node.toml"
    text = GOOD.replace('"name"]', '"nick"]').replace('{ name = "hash" }', "{}")
    path.write_text(text.replace('"office.division"', '"office.division"\nfields = ["level"]'))
    config = load(path, {})
    wrong = misfits(config, CONTRACTS)
    assert set(wrong) == {"resident.v2", "division.v1"}
    assert "got `nick`, at `window.system[0].fields`" in wrong["resident.v2"]
    assert "at `window.sql[0].fields`" in wrong["division.v1"]
