"""A wrong node file is refused with file, path, what was expected and what was found."""

import datetime
from pathlib import Path

import pytest

from agents.base.config import is_below, is_beside
from agents.base.errors import ConfigError
from agents.capture.postgres_settings import PostgresTable
from agents.demo.servers import node_examples
from agents.sources import load

GOOD = """
[node]
id = "370102"
name = "历下区"
level = "county"

[kafka]
bootstrap = "127.0.0.1:9292"

[parent]
id = "3701"
bootstrap = "127.0.0.1:9192"
pull = ["resident.v2"]
push = ["business_licence.v1"]

[[source]]
kind = "postgres"
contract = "business_licence.v1"
dsn = "${LICENCE_DSN}"
table = "licence.certificate"
columns = { credit_code = "cert_no" }

[[grant]]
contract = "resident.v2"
to = "370102001"
purpose = "over-the-counter services"

[window]
listen = "127.0.0.1:8739"
"""


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LICENCE_DSN", "CIVIL_DSN", "POPULATION_DSN"):
        monkeypatch.setenv(name, "host=127.0.0.1 password=secret")


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "node.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_right_file_is_read_with_its_secrets(tmp_path: Path) -> None:
    config = load(written(tmp_path, GOOD))
    source, *implied = config.source
    assert isinstance(source, PostgresTable)
    assert source.dsn.endswith("password=secret")
    # A window tells what is wrong in what it shows, and who looked.
    assert [(each.contract, each.implied) for each in implied] == [
        ("correction.v1", True), ("access.v1", True),
    ]  # fmt: skip
    assert config.written == {"business_licence.v1", *(config.parent.pull if config.parent else ())}
    assert config.agent.state == tmp_path / "state"
    assert "secret" not in repr(config)


def test_a_secret_may_lie_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "dsn").write_text("host=db\n")
    text = GOOD.replace("${LICENCE_DSN}", f"${{file:{tmp_path}/dsn}}")
    source, *_ = load(written(tmp_path, text)).source
    assert isinstance(source, PostgresTable)
    assert source.dsn == "host=db"


@pytest.mark.parametrize("name", ["37", "3701", "370102", "370102001"])
def test_the_examples_are_right(name: str) -> None:
    assert load(node_examples() / f"{name}.toml").node.id == name


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('name = "历下区"', "name = 7", "Expected `str`, got `int`, at `node.name`"),
        ('name = "历下区"', "", "missing required field `name`, at `node`"),
        ("[window]", "[windows]", "unknown field `windows`"),
        ('level = "county"', 'level = "city"', "Expected `county`, the level of `370102`, got `city`"),
        ('id = "370102"', 'id = "37010"', "Expected a division code such as `370102`, got `37010`"),
        ('"127.0.0.1:9292"', '"127.0.0.1"', "Expected `host:port`, got `127.0.0.1`, at `kafka.bootstrap`"),
        ('id = "3701"', 'id = "3702"', "Expected a node above `370102`, got `3702`, at `parent.id`"),
        ('pull = ["resident.v2"]', 'pull = ["resident"]', "at `parent.pull[0]`"),
        ('push = ["bus', 'push = ["resident.v2", "bus', "`resident.v2` in pull and push"),
        ('contract = "business_licence.v1"\ndsn', 'contract = "resident.v2"\ndsn', "level `province`, which owns `resident.v2`"),
        ('credit_code = "cert_no"', 'code = "cert_no"', "got `code`, at `source[0].columns`"),
        ('"licence.certificate"', '"certificate"', "Expected `schema.table`"),
        ('to = "370102001"', 'to = "370103"', "Expected a node below `370102`, or a department beside it, got `370103`"),
        ("${LICENCE_DSN}", "${NOWHERE}", "Expected the environment variable `NOWHERE`, got none, at `source[0].dsn`"),
        ("${LICENCE_DSN}", "${file:/nowhere}", "readable file"),
        ("[node]", "[node", "expected TOML"),
        ('kind = "postgres"', 'kind = "oracle"', "at `source[0].kind`"),
        ("8739", "8600", "Expected an address of its own"),
        ('purpose = "over', 'scope = "3702"\npurpose = "over', "Expected a division within `370102`, or `0` for every row, got `3702`, at `grant[0].scope`"),
        ('purpose = "over', 'where = "status =="\npurpose = "over', "Expected a CEL expression, got"),
        ('purpose = "over', "where = \"state == 'active'\"\npurpose = \"over", "got `state`, at `grant[0].where`"),
        ('purpose = "over', 'fields = ["nick"]\npurpose = "over', "got `nick`, at `grant[0].fields`"),
        ('purpose = "over', 'fields = ["name"]\npurpose = "over', "Expected `id_number` too"),
        ('purpose = "over', 'mask = { id_number = "last4" }\npurpose = "over', "no mask on the field by which records are found"),
        ('purpose = "over', 'mask = { name = "first3" }\npurpose = "over', "at `grant[0].mask[...]`"),
        ('purpose = "over', 'mask = { name = "hash" }\npurpose = "over', "Expected [masking] secret"),
        ('purpose = "over', 'until = "soon"\npurpose = "over', "at `grant[0].until`"),
        ('purpose = "over-the-counter services"', 'purpose = " "', "Expected what the data is for"),
        ("[kafka]", '[agent]\nshare = "3/2"\n[kafka]', "Expected a share such as `1/2`, got `3/2`"),
        ('id = "370102"', 'id = "370102-housing"', "Expected a node above of the same department as `370102-housing`"),
    ],
)  # fmt: skip
def test_each_mistake_is_named(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert old in GOOD
    path = written(tmp_path, GOOD.replace(old, new, 1))
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert says in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing\.toml"):
        load(tmp_path / "nothing.toml")


def test_who_is_below_whom() -> None:
    assert is_below("370102", "3701")
    assert is_below("37", "0")
    assert is_below("370102-housing", "3701-housing")
    assert not is_below("370102-housing", "3701"), "a department's line is its own"
    assert not is_below("3701", "3701-housing")
    assert not is_below("3702", "3701")
    assert is_beside("3701-housing", "3701")
    assert is_beside("3701-housing", "3701-civil")
    assert not is_beside("3701", "3701")
    assert not is_beside("370102-housing", "3701-housing")


def test_a_grant_holds_to_the_end_of_its_last_day_in_china(tmp_path: Path) -> None:
    text = GOOD.replace('purpose = "over', 'until = 2027-12-31\npurpose = "over')
    (grant,) = load(written(tmp_path, text)).grant
    assert not grant.ended(
        datetime.datetime(2027, 12, 31, 15, 59, 59, tzinfo=datetime.UTC).timestamp()
    )
    assert grant.ended(datetime.datetime(2027, 12, 31, 16, 0, 0, tzinfo=datetime.UTC).timestamp())


def test_the_secret_of_masks_never_prints(tmp_path: Path) -> None:
    text = GOOD.replace('purpose = "over', 'mask = { name = "hash" }\npurpose = "over')
    config = load(written(tmp_path, text + '\n[masking]\nsecret = "${LICENCE_DSN}"\n'))
    assert config.masking
    assert config.masking.secret
    assert "password" not in repr(config)


def test_two_agents_of_a_node_share_its_contracts(tmp_path: Path) -> None:
    first, second = (
        load(written(tmp_path, GOOD.replace("[kafka]", f'[agent]\nshare = "{n}/2"\n[kafka]')))
        for n in (1, 2)
    )
    for contract in ("resident.v2", "business_licence.v1"):
        assert first.takes(contract) != second.takes(contract)
    assert first.takes("business_licence.v1")
    assert first.takes("division.v1"), "what is not named is the first one's"
    assert not second.takes("division.v1")


def test_answers_follow_from_corrections_and_cannot_be_filled_twice(tmp_path: Path) -> None:
    config = load(written(tmp_path, GOOD + "\n[corrections]\n"))
    assert "correction_answer.v1" in config.owned
    twice = '\n[[source]]\nkind = "postgres"\ncontract = "correction.v1"\ndsn = "host=db"\ntable = "a.b"\n'
    with pytest.raises(ConfigError, match=r"Expected no \[\[source\]\] of `correction\.v1`"):
        load(written(tmp_path, GOOD + twice))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("days = 0", "1 to 365 working days"),
        ("off = [2026-05-04]\nworked = [2026-05-04]", "corrections.worked"),
        ('table = "a.b"', "`dsn` beside `table`"),
        ('dsn = "host=db"\ntable = "a"', "`schema.table`"),
        ('webhook = "http://elsewhere/x"\nsecret = "sixteen letters!"', "`https://host`"),
        ('webhook = "https://elsewhere/x"\nsecret = "short"', "16 characters"),
    ],
)
def test_wrong_corrections_are_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(written(tmp_path, f"{GOOD}\n[corrections]\n{text}\n"))
    assert said in str(caught.value)


LEAF = """
[node]
id = "370102001"
name = "解放路街道"
level = "township"

[parent]
id = "370102"
bootstrap = "127.0.0.1:9292"
pull = ["resident.v2"]
push = ["visit.v1", "access.v1"]

[[source]]
kind = "files"
contract = "visit.v1"
folder = "in"

[window]
listen = "127.0.0.1:8739"
"""


def test_a_file_without_kafka_is_a_leaf_s(tmp_path: Path) -> None:
    config = load(written(tmp_path, LEAF))
    assert config.kafka is None
    assert config.nearest.bootstrap == "127.0.0.1:9292"


def test_a_leaf_may_push_what_its_window_tells(tmp_path: Path) -> None:
    text = LEAF.replace(
        'push = ["visit.v1", "access.v1"]', 'push = ["visit.v1", "access.v1", "correction.v1"]'
    )
    assert load(written(tmp_path, text)).kafka is None


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('[parent]\nid = "370102"\nbootstrap = "127.0.0.1:9292"\npull = ["resident.v2"]\npush = ["visit.v1", "access.v1"]\n', "",
         "Expected [kafka], or [parent], which a node without Kafka works from, got neither, at `kafka`"),
        ("[window]", '[[grant]]\ncontract = "resident.v2"\nto = "370102001001"\npurpose = "x"\n[window]',
         "a leaf gives nothing, got a grant of `resident.v2` to `370102001001`, at `grant[0]`"),
        ('folder = "in"', 'folder = "in"\nalso = ["visit.v2"]',
         "on which other majors are made: a leaf makes none, got `visit.v2`, at `source[0].also`"),
        ("[window]", '[agent]\nshare = "1/2"\n[window]', "a leaf has nothing to share out, got `1/2`, at `agent.share`"),
        ("[window]", "[corrections]\ndays = 5\n[window]", "which takes corrections in, got a leaf, at `corrections`"),
        ('[window]\nlisten = "127.0.0.1:8739"\n', "", "Expected [window], in which a leaf keeps what it pulls, got none, at `parent.pull`"),
        ('push = ["visit.v1", "access.v1"]', 'push = ["access.v1"]', "Expected `visit.v1` among them: what a leaf collects goes to its parent, got ['access.v1'], at `parent.push`"),
        ('push = ["visit.v1", "access.v1"]', 'push = ["visit.v1"]', "Expected `access.v1` among them: who looks at what at this window"),
        ('push = ["visit.v1", "access.v1"]', 'push = ["visit.v1", "other.v1", "access.v1"]',
         "a leaf has nothing else to push, got `other.v1`, at `parent.push[1]`"),
    ],
)  # fmt: skip
def test_what_needs_kafka_is_refused_at_a_leaf(
    tmp_path: Path, old: str, new: str, says: str
) -> None:
    assert old in LEAF
    with pytest.raises(ConfigError) as caught:
        load(written(tmp_path, LEAF.replace(old, new, 1)))
    assert says in str(caught.value)
