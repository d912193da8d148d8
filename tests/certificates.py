"""Authorities for a test, and certificates they sign."""

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_PEM = serialization.Encoding.PEM


class Authority:
    """Signs certificates into ``folder``; its own is ``ca``."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._name = folder, _named(name)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.ca = folder / f"{name}.pem"
        made = self._made(self._name, self._key, (-1, 3650), None)
        self.ca.write_bytes(made.public_bytes(_PEM))

    def issue(
        self,
        file: str,
        name: str,
        *,
        days: tuple[int, int] = (-1, 365),
        address: str = "127.0.0.1",
    ) -> tuple[Path, Path]:
        """A certificate for ``CN=name`` and its key, ``file.pem`` and ``file.key``, valid between two days
        from today; ``address`` is the one it is for. What stands there is replaced."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate, private = self._folder / f"{file}.pem", self._folder / f"{file}.key"
        made = self._made(_named(name), key, days, address)
        certificate.write_bytes(made.public_bytes(_PEM))
        private.write_bytes(
            key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )
        return certificate, private

    def _made(
        self,
        name: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        days: tuple[int, int],
        address: str | None,
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        begins, ends = (now + datetime.timedelta(days=each) for each in days)
        building = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begins)
            .not_valid_after(ends)
            .add_extension(x509.BasicConstraints(ca=address is None, path_length=None), True)
        )
        if address:
            named = x509.IPAddress(ipaddress.ip_address(address))
            building = building.add_extension(x509.SubjectAlternativeName([named]), False)
        return building.sign(self._key, hashes.SHA256())


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
