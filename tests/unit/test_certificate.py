"""Certificates: which one can be served with, and what is said of the others."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from support.certificates import Pair, self_signed, signed
from vramd_supervisor.certificate import CertificateError, read_certificate
from vramd_supervisor.domain.config import ServerConfig


def server(pair: Pair) -> ServerConfig:
    return ServerConfig(tls_cert=str(pair.cert), tls_key=str(pair.key))


@pytest.mark.parametrize(
    ("hosts", "name"),
    [
        (("machine.lan",), "machine.lan"),
        (("10.0.0.7", "machine.lan", "localhost"), "machine.lan"),
        (("10.0.0.7", "::1"), "10.0.0.7"),
        (("*.lan", "10.0.0.7"), "10.0.0.7"),
    ],
)
def test_clients_of_this_machine_check_a_name_of_the_certificate(
    hosts: tuple[str, ...], name: str, tmp_path: Path
) -> None:
    pair = self_signed(tmp_path, "own", *hosts)
    found = read_certificate(server(pair))
    assert (found.name, found.chain, found.client_ca) == (name, pair.cert.read_bytes(), None)
    assert found.key == pair.key.read_bytes()
    assert "PRIVATE" not in repr(found)


def test_one_that_an_authority_has_signed(tmp_path: Path) -> None:
    pair, ca = signed(tmp_path, "signed", "machine.lan")
    found = read_certificate(replace(server(pair), tls_client_ca=str(ca)))
    assert (found.name, found.client_ca) == ("machine.lan", ca.read_bytes())


def test_what_cannot_be_served_with(tmp_path: Path) -> None:
    good, other = self_signed(tmp_path, "good", "a"), self_signed(tmp_path, "other", "a")
    old = self_signed(tmp_path, "old", "a", valid=timedelta(minutes=1))
    wild = self_signed(tmp_path, "wild", "*.lan")
    text = tmp_path / "text.pem"
    text.write_text("no certificate")
    none = str(tmp_path / "none.pem")
    for config, said in (
        (server(old), "would be refused by every client: certificate has expired"),
        (server(wild), "names no host"),
        (replace(server(good), tls_key=str(other.key)), "are no certificate and its key"),
        (replace(server(good), tls_cert=str(text)), "are no certificate and its key"),
        (replace(server(good), tls_cert=none), "none.pem: No such file"),
        (replace(server(good), tls_key=none), "are no certificate and its key"),
        (replace(server(good), tls_client_ca=str(text)), "text.pem has no certificate in PEM"),
        (replace(server(good), tls_client_ca=str(tmp_path)), "Is a directory"),
    ):
        with pytest.raises(CertificateError, match=said):
            read_certificate(config)
