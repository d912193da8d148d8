"""``[kafka.tls]`` and ``[kafka.sasl]``: what may stand there, what is said otherwise, and what never is."""

from pathlib import Path

import pytest

from agents.agent import _own_address
from agents.base.errors import ConfigError
from agents.sources import load
from tests.certificates import Authority

NODE = """
[node]
id = "3701"
name = "济南市"
level = "city"

[kafka]
bootstrap = "127.0.0.1:9092"
{kafka}

[parent]
id = "37"
bootstrap = "127.0.0.1:9192"
{parent}
"""
SCRAM = '[{0}.sasl]\nmechanism = "SCRAM-SHA-512"\nuser = "3701"\npassword = "${{SCRAM}}"\n'


def node(folder: Path, kafka: str = "", parent: str = "") -> Path:
    path = folder / "node.toml"
    path.write_text(NODE.format(kafka=kafka, parent=parent))
    return path


def test_each_cluster_has_its_own_and_files_lie_beside_the_node_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCRAM", "hidden")
    mutual = '[parent.tls]\nca = "ca.pem"\ncertificate = "own.pem"\nkey = "own.key"\n'
    config = load(node(tmp_path, SCRAM.format("kafka"), mutual))
    assert config.kafka
    assert config.kafka.sasl
    assert config.kafka.tls is None
    assert config.kafka.sasl.password == "hidden"
    assert config.parent
    assert config.parent.tls
    assert config.parent.tls.certificate == tmp_path / "own.pem"
    assert config.parent.kafka.tls == config.parent.tls
    assert "hidden" not in repr(config)


def test_a_changed_password_needs_no_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = set()
    for password in ("one", "two"):
        monkeypatch.setenv("SCRAM", password)
        config = load(node(tmp_path, SCRAM.format("kafka")))
        found.add(_own_address(config))
    assert len(found) == 1


TLS = "[kafka.tls]\n"


@pytest.mark.parametrize(
    ("kafka", "said"),
    [
        ('[kafka.tls]\ncertificate = "a.pem"\n', "`key` beside `certificate`, got none, at `kafka.tls.key`"),
        ('[kafka.sasl]\nmechanism = "PLAIN"\nuser = "a"\npassword = "b"\n', "[kafka.tls] beside it"),
        ('[kafka.sasl]\nmechanism = "SCRAM-SHA-512"\nuser = "a"\n', "`password`, which SCRAM-SHA-512 needs"),
        ('[kafka.sasl]\nmechanism = "GSSAPI"\n', "Invalid enum value 'GSSAPI'"),
        (TLS + '[kafka.sasl]\nmechanism = "OAUTHBEARER"\n', "`url`, or `token`, a file with one"),
        (
            TLS + '[kafka.sasl]\nmechanism = "OAUTHBEARER"\nurl = "http://id.example/t"\nclient = "a"\n'
            'secret = "b"\n',
            "begins with `https://`",
        ),
        (
            TLS + '[kafka.sasl]\nmechanism = "OAUTHBEARER"\ntoken = "t"\nuser = "a"\n',
            "no `user` where `mechanism` is OAUTHBEARER",
        ),
        ('principal = "3701"\n', "`User:` and a name, got `3701`, at `kafka.principal`"),
    ],
)  # fmt: skip
def test_what_lets_nobody_in_is_refused_with_its_place(
    tmp_path: Path, kafka: str, said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(node(tmp_path, kafka))
    assert said in str(caught.value)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    from agents.kafka.cluster import nearest_cluster

    config = load(node(tmp_path, '[kafka.tls]\nca = "none.pem"\n'))
    with pytest.raises(ConfigError, match=r"kafka\.tls\.ca: expected .*none\.pem"):
        nearest_cluster(config)
    authority, other = Authority(tmp_path), Authority(tmp_path / "other")
    authority.issue("own", "3701")
    other.issue("own", "3701")
    mixed = '[kafka.tls]\nca = "ca.pem"\ncertificate = "own.pem"\nkey = "other/own.key"\n'
    with pytest.raises(ConfigError, match=r"kafka\.tls\.certificate"):
        nearest_cluster(load(node(tmp_path, mixed)))
