"""Who needs which rights, by the node files alone."""

import datetime
from pathlib import Path

import pytest

from agents.cli.doctor_kafka import judged
from agents.kafka.rights import TOPIC, WRITER, Cluster, Need, Right, above, command, covers
from agents.sources import load
from contracts.subjects import CONTRACTS
from tests.certificates import Authority

_NODE = '[node]\nid = "{0}"\nname = "{0}"\nlevel = "{1}"\n[kafka]\nbootstrap = "127.0.0.1:1"\n'


def node(folder: Path, name: str, level: str, more: str = "") -> Path:
    path = folder / f"{name}.toml"
    path.write_text(_NODE.format(name, level) + more)
    return path


def grant(contract: str, to: str, more: str = "") -> str:
    return f'[[grant]]\ncontract = "{contract}"\nto = "{to}"\npurpose = "p"\n{more}\n'


def cluster(*files: Path) -> Cluster:
    home, *others = (load(each, secrets=False) for each in files)
    return Cluster(home, others, CONTRACTS)


def rights(needs: list[Need], who: str, kind: str = TOPIC) -> dict[str, tuple[str, ...]]:
    return {each.name: each.operations for each in needs if each.who == who and each.kind == kind}


COPY = ("Alter", "Create", "DescribeConfigs", "Read", "Write")
PULLS = '[parent]\nid = "37"\nbootstrap = "127.0.0.1:2"\npull = ["division.v1"]\n'
SOURCE = '[[source]]\nkind = "files"\ncontract = "division.v1"\nfolder = "d"\n'


def test_a_child_reads_its_view_or_what_is_given_whole(tmp_path: Path) -> None:
    whole = grant("division.v1", "3701", 'scope = "0"') + grant("division.v1", "3702")
    found = cluster(node(tmp_path, "37", "province", SOURCE + whole))
    needs = found.needs()
    assert found.unknown == ["3701", "3702"]
    plain = {"levelsync.grants": ("Read",), "levelsync.contracts": ("Read",)}
    assert rights(needs, "3701") == plain | {"division.v1": ("Read",)}
    assert rights(needs, "3702") == plain | {"division.v1.to.3702": ("Read",)}
    mine = rights(needs, "37")
    assert mine["division.v1.to.3702"] == COPY
    assert "division.v1.to.3701" not in mine
    assert rights(needs, "3701", WRITER) == {}


def test_what_is_given_whole_from_several_topics_is_a_view(tmp_path: Path) -> None:
    """Two children push it: what the third gets is merged."""
    home = node(tmp_path, "3701", "city", grant("business_licence.v1", "370104", 'scope = "0"'))
    pushes = '[parent]\nid = "3701"\nbootstrap = "127.0.0.1:2"\npush = ["business_licence.v1"]\n'
    children = [node(tmp_path, each, "county", pushes) for each in ("370102", "370103")]
    needs = cluster(home, *children).needs()
    view = "business_licence.v1.to.370104"
    assert rights(needs, "370104")[view] == ("Read",)
    assert rights(needs, "3701")[view] == COPY
    assert rights(needs, "3701")["business_licence.v1.from.370102"] == ("Read",)
    assert rights(needs, "370102")["business_licence.v1.from.370102"] == COPY
    assert rights(needs, "370102", WRITER) == {
        "levelsync-business_licence.v1.from.370102": ("Write",)
    }
    # With one child there is one topic, and no view of it.
    needs = cluster(home, children[0]).needs()
    assert rights(needs, "370104")["business_licence.v1.from.370102"] == ("Read",)
    assert view not in rights(needs, "3701")


def test_nobody_but_its_agent_may_write_what_is_named_after_it(tmp_path: Path) -> None:
    """Whoever may write to a topic is whose name it bears."""
    home = node(tmp_path, "37", "province", SOURCE + grant("division.v1", "3701"))
    push = PULLS + 'push = ["business_licence.v1", "access.v1"]\n'
    needs = cluster(home, node(tmp_path, "3701", "city", push)).needs({"hall": ["division.v1"]})
    for need in needs:
        if need.kind == TOPIC and "Write" in need.operations and need.who == "3701":
            assert need.name.endswith(".from.3701") or need.name == "levelsync.contracts"
        if need.who == "hall":
            assert need.operations == ("Read",)
    assert rights(needs, "hall") == {"division.v1": ("Read",)}
    assert not any("*" in need.name or not need.name for need in needs)
    assert all(need.kind == WRITER for need in needs if need.prefixed)


def test_a_leaf_works_on_its_parents_kafka_alone(tmp_path: Path) -> None:
    leaf = tmp_path / "leaf.toml"
    leaf.write_text(
        '[node]\nid = "370102001"\nname = "l"\nlevel = "township"\n[window]\n'
        '[parent]\nid = "370102"\nbootstrap = "127.0.0.1:2"\npull = ["division.v1"]\n'
        'push = ["access.v1"]\n'
    )
    home = node(tmp_path, "370102", "county", grant("division.v1", "370102001"))
    needs = cluster(home, leaf).needs()
    mine = rights(needs, "370102001")
    topic = "access.v1.from.370102001"
    assert mine[topic] == mine[f"{topic}.dead"] == ("Create", "DescribeConfigs", "Read", "Write")
    assert rights(needs, "370102001", WRITER) == {"levelsync-370102001-access.v1": ("Write",)}
    assert rights(needs, "370102")[topic] == ("Read",)
    config = load(leaf)
    assert {each.name for each in above(config)} >= {topic, "division.v1.to.370102001"}
    told = {each.name for each in above(config, told={"division.v1": "division.v1.from.3701"})}
    assert "division.v1.from.3701" in told
    assert "division.v1.to.370102001" not in told


def test_a_department_shares_the_kafka_of_its_place(tmp_path: Path) -> None:
    home = node(tmp_path, "37", "province", grant("division.v1", "3701", 'scope = "0"'))
    beside = node(
        tmp_path, "37-civil", "province", SOURCE + grant("division.v1", "37", 'scope = "0"')
    )
    needs = cluster(home, beside).needs()
    assert rights(needs, "37")["division.v1"] == ("Read",), "it reads it in place"
    assert rights(needs, "37-civil")["division.v1"] == COPY[1:]
    assert rights(needs, "3701")["division.v1"] == ("Read",)


@pytest.mark.parametrize(
    ("more", "principal"),
    [
        ("", "User:3701"),
        ('[parent.sasl]\nmechanism = "SCRAM-SHA-512"\nuser = "jinan"\npassword = "${NOT_HERE}"\n', "User:jinan"),
        ('[parent.tls]\ncertificate = "own.pem"\nkey = "own.key"\n', "User:CN=agent of 3701"),
        ('principal = "User:other"\n', "User:other"),
    ],
)  # fmt: skip
def test_a_child_is_called_as_it_logs_in(tmp_path: Path, more: str, principal: str) -> None:
    Authority(tmp_path).issue("own", "agent of 3701")
    home = node(tmp_path, "37", "province", grant("division.v1", "3701"))
    child = node(tmp_path, "3701", "city", PULLS + more)
    found = {each.principal for each in cluster(home, child).needs() if each.who == "3701"}
    assert found == {principal}
    named = Cluster(load(home), [load(child, secrets=False)], CONTRACTS, {"3701": "CN=x"})
    assert {each.principal for each in named.needs() if each.who == "3701"} == {"User:CN=x"}


def test_an_entry_covers_what_it_names_and_no_more() -> None:
    need = Right("User:a", TOPIC, "x.v1.to.a", False, "Read")
    assert covers(need, need)
    assert covers(Right("User:*", TOPIC, "x.v1.", True, "All"), need)
    assert covers(Right("User:a", TOPIC, "*", False, "Read"), need)
    for other in (
        Right("User:b", TOPIC, "x.v1.to.a", False, "Read"),
        Right("User:a", TOPIC, "x.v1.to", False, "Read"),
        Right("User:a", TOPIC, "x.v1.to.a", False, "Write"),
        Right("User:a", WRITER, "x.v1.to.a", False, "Read"),
    ):
        assert not covers(other, need)


def test_a_line_for_kafkas_tool() -> None:
    need = Need("37", "User:37", WRITER, "levelsync-x.dead-", True, ("Write",), "letters")
    assert command(need, "k:1") == (
        "kafka-acls.sh --bootstrap-server k:1 --command-config admin.properties --add"
        " --allow-principal 'User:37' --operation Write --transactional-id 'levelsync-x.dead-'"
        " --resource-pattern-type prefixed"
    )


@pytest.mark.parametrize(
    ("days", "judgement"), [(-1, "wrong"), (6, "wrong"), (29, "warning"), (31, "ok")]
)
def test_days_left_of_a_certificate(days: int, judgement: str) -> None:
    found = judged("kafka.tls.certificate", "a.pem", datetime.timedelta(days=days, hours=1))
    assert found.judgement == judgement


def test_what_only_a_childs_file_tells_is_not_said_to_be_in_want(tmp_path: Path) -> None:
    """Whether what children push needs a view upwards: asked for to be safe, not missed by doctor."""
    push = PULLS + 'push = ["business_licence.v1"]\n'
    home = load(node(tmp_path, "3701", "city", push + grant("division.v1", "370102")))
    view = "business_licence.v1.to.37"
    assert view in rights(Cluster(home, (), CONTRACTS).needs(), "3701")
    assert view not in rights(Cluster(home, (), CONTRACTS, certain=True).needs(), "3701")
