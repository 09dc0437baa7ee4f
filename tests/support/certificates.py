"""Certificates for tests: the pairs that `vramd cert` makes, and one that an authority has signed."""

from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from vramd_cli.self_signed import make

YEAR = timedelta(days=365)


class Pair:
    """A certificate and its key, in files."""

    def __init__(self, folder: Path, name: str, chain: bytes, key: bytes) -> None:
        self.cert, self.key = folder / f"{name}.pem", folder / f"{name}.key"
        self.cert.write_bytes(chain)
        self.key.write_bytes(key)

    @property
    def serving(self) -> list[str]:
        """Options of `serve`."""
        return ["--tls-cert", str(self.cert), "--tls-key", str(self.key)]


def self_signed(folder: Path, name: str, *hosts: str, valid: timedelta = YEAR) -> Pair:
    return Pair(folder, name, *make(hosts, valid))


def signed(folder: Path, name: str, host: str) -> tuple[Pair, Path]:
    """One that an authority has signed, and the authority's certificate."""
    keys = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority, subject = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, who)]) for who in ("authority", name))
    alternative = x509.SubjectAlternativeName([x509.DNSName(host)])
    certs = [
        x509.CertificateBuilder()
        .subject_name(who)
        .issuer_name(authority)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now(timezone.utc) - timedelta(hours=1))
        .not_valid_after(datetime.now(timezone.utc) + YEAR)
        .add_extension(x509.BasicConstraints(ca=who is authority, path_length=None), critical=True)
        .add_extension(alternative, critical=False)
        .sign(keys[0], hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
        for who, key in zip((authority, subject), keys, strict=True)
    ]
    private = keys[1].private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    ca = folder / "authority.pem"
    ca.write_bytes(certs[0])
    return Pair(folder, name, certs[1], private), ca
