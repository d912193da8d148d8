"""Certificates of listeners: renewed ones are taken, and half a renewal harms nobody."""

import asyncio
import ssl
import subprocess
from pathlib import Path

import pytest
from aiohttp import web

from agents.base.errors import ConfigError
from agents.base.health import listening
from agents.base.tls import Certificate, certificate_of


def pair(folder: Path, name: str) -> tuple[bytes, bytes]:
    """A self-signed certificate and its key, in PEM."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
         "-keyout", f"{name}.key", "-out", f"{name}.pem", "-days", "2", "-subj", f"/CN={name}"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    return (folder / f"{name}.pem").read_bytes(), (folder / f"{name}.key").read_bytes()


async def served(port: int) -> bytes:
    """The certificate of what listens there, in DER."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    found: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return found


async def test_a_renewed_certificate_is_taken_while_it_listens(
    tmp_path: Path, unused_tcp_port: int
) -> None:
    old, new = pair(tmp_path, "old"), pair(tmp_path, "new")
    pem, key = tmp_path / "own.pem", tmp_path / "own.key"
    pem.write_bytes(old[0])
    key.write_bytes(old[1])
    certificate = Certificate(pem, key, "window")
    address = f"127.0.0.1:{unused_tcp_port}"
    der = {each: ssl.PEM_cert_to_DER_cert(each.decode()) for each in (old[0], new[0])}
    async with listening(web.Application(), address, "window.listen", certificate.context):
        assert await served(unused_tcp_port) == der[old[0]]
        assert not certificate.renew()
        pem.write_bytes(new[0])
        assert not certificate.renew(), "its key is not there yet"
        assert await served(unused_tcp_port) == der[old[0]]
        pem.unlink()
        assert not certificate.renew()
        assert await served(unused_tcp_port) == der[old[0]]
        pem.write_bytes(new[0])
        key.write_bytes(new[1])
        assert certificate.renew()
        assert await served(unused_tcp_port) == der[new[0]]


def test_a_wrong_certificate_is_named(tmp_path: Path) -> None:
    assert certificate_of(Path(), Path(), "window") is None
    (tmp_path / "no.pem").write_text("nothing")
    for file in ("no.pem", "away.pem"):
        with pytest.raises(
            ConfigError, match=r"window\.certificate: expected a certificate and its"
        ):
            certificate_of(tmp_path / file, tmp_path / file, "window")
