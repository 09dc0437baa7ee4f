"""Certificates: which one can be served with, and what is said of the others."""

import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from support.certificates import Pair, self_signed, signed
from vramd_cli.main import vramd
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


@pytest.mark.skipif(sys.platform == "win32", reason="modes are Unix's")
def test_a_key_that_others_can_read_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pair = self_signed(tmp_path, "own", "machine.lan")
    for mode, warnings in ((0o600, 0), (0o640, 0), (0o644, 1)):
        caplog.clear()
        pair.key.chmod(mode)
        read_certificate(server(pair))
        assert caplog.text.count("can be read by other users") == warnings


@pytest.mark.parametrize("there", ["vramd-cert.pem", "vramd-key.pem"])
def test_where_one_file_is_there_neither_is_written(there: str, tmp_path: Path) -> None:
    (tmp_path / there).write_text("of before")
    done = CliRunner().invoke(vramd, ["cert", "machine.lan", "--out", str(tmp_path)])
    assert done.exit_code == 1
    assert f"{there} is there already; --force replaces it" in done.stderr
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [(there, "of before")]


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
