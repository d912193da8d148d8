"""The signing key: made once, read by its owner alone."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from agents.base.keys import WrongKey, signing_key
from contracts.signed import public_text


def test_a_key_is_made_once_and_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "state" / "signing.key"
    with pytest.raises(WrongKey, match="readable key"):
        signing_key(path)
    made = signing_key(path, make=True)
    assert path.stat().st_mode & 0o777 == 0o600
    again = signing_key(path, make=True)
    assert public_text(made.public_key()) == public_text(again.public_key())


def test_a_key_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "signing.key"
    signing_key(path, make=True)
    path.chmod(0o640)
    with pytest.raises(WrongKey, match="chmod 600"):
        signing_key(path)


def test_another_kind_of_key_and_no_key_are_named(tmp_path: Path) -> None:
    path = tmp_path / "signing.key"
    path.write_bytes(
        generate_private_key(65537, 2048).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )
    )
    path.chmod(0o600)
    with pytest.raises(WrongKey, match="Ed25519 key"):
        signing_key(path)
    path.write_text("hello")
    with pytest.raises(WrongKey, match="PEM file"):
        signing_key(path)
