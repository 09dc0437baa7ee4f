"""Calls by TLS, from this machine and as from another; and which addresses are listened on without it."""

import asyncio
import stat
import subprocess
import sys
from pathlib import Path
from typing import TypedDict

import pytest
import vramd
from support.certificates import Pair, self_signed, signed
from support.supervisor_process import BOUND_S, SupervisorProcess, simulated
from typing_extensions import Unpack

MODEL = simulated("a", card="")
OPEN = ("--host", "0.0.0.0", "--port", "0")
LOOPBACK = ("--port", "0")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Pair]:
    folder = tmp_path_factory.mktemp("certificates")
    hosts = {
        "server": ("localhost", "127.0.0.1"),
        "lan": ("machine.lan",),
        "client": ("a.client",),
        "other": ("localhost",),
    }
    return {name: self_signed(folder, name, *names) for name, names in hosts.items()}


def token(supervisor: SupervisorProcess) -> str:
    return supervisor.folder.token_file.read_text().strip()


class Files(TypedDict, total=False):
    ca: Path
    client_cert: Path
    client_key: Path


def pid_seen(supervisor: SupervisorProcess, host: str, **tls: Unpack[Files]) -> int:
    """The supervisor's, as a client of another machine sees it."""
    port = supervisor.address.address.rpartition(":")[2]
    with vramd.Client(address=f"{host}:{port}", token=token(supervisor), **tls) as client:
        return client.status(timeout_s=BOUND_S).supervisor.pid


def test_an_open_address_needs_tls_and_has_it(pairs: dict[str, Pair]) -> None:
    with SupervisorProcess(MODEL, arguments=OPEN) as supervisor:
        assert supervisor.exit_code() == 1
        assert "is open to the network, and without TLS" in supervisor.printed
        assert "--insecure-network" in supervisor.printed
    with SupervisorProcess(MODEL, arguments=(*OPEN, *pairs["server"].serving)) as supervisor:
        client = supervisor.client()
        assert list(client.generate("a", "x", max_tokens=2)), "found by its folder, with the certificate there"
        assert pid_seen(supervisor, "localhost", ca=pairs["server"].cert) == supervisor.pid
        assert pid_seen(supervisor, "127.0.0.1", ca=pairs["server"].cert) == supervisor.pid
        with pytest.raises(vramd.SupervisorUnreachable, match="no TLS with the supervisor"):
            pid_seen(supervisor, "localhost", ca=pairs["other"].cert)
        with pytest.raises(vramd.SupervisorUnreachable):
            pid_seen(supervisor, "localhost")
        with pytest.raises(vramd.InvalidRequest, match="cannot be read"):
            pid_seen(supervisor, "localhost", ca=pairs["server"].cert.with_name("none"))
        certificate = supervisor.folder.certificate_file
        assert stat.S_IMODE(certificate.stat().st_mode) == 0o600
        assert "without TLS" not in supervisor.printed
    assert not certificate.exists()


def test_a_certificate_for_another_name_serves_this_machine_but_no_stranger(pairs: dict[str, Pair]) -> None:
    with SupervisorProcess(MODEL, arguments=(*LOOPBACK, *pairs["lan"].serving)) as supervisor:
        assert supervisor.client().status().supervisor.pid == supervisor.pid
        assert supervisor.address.tls_name == "machine.lan"
        with pytest.raises(vramd.SupervisorUnreachable):
            pid_seen(supervisor, "localhost", ca=pairs["lan"].cert)

        async def status() -> int:
            async with vramd.AsyncClient(supervisor.folder.path) as client:
                return (await client.status()).supervisor.pid

        assert asyncio.run(status()) == supervisor.pid


def test_one_that_an_authority_has_signed(tmp_path: Path) -> None:
    pair, ca = signed(tmp_path, "signed", "localhost")
    with SupervisorProcess(MODEL, arguments=(*LOOPBACK, *pair.serving)) as supervisor:
        assert supervisor.client().status().supervisor.pid == supervisor.pid
        assert pid_seen(supervisor, "localhost", ca=ca) == supervisor.pid


def test_a_client_without_its_certificate_is_not_let_in(pairs: dict[str, Pair]) -> None:
    own, client = pairs["server"], pairs["client"]
    configuration = (
        f'[server]\ntls_cert = "{own.cert}"\ntls_key = "{own.key}"\ntls_client_ca = "{client.cert}"\n{MODEL}'
    )
    with SupervisorProcess(configuration) as supervisor:
        right: Files = {"ca": own.cert, "client_cert": client.cert, "client_key": client.key}
        assert pid_seen(supervisor, "localhost", **right) == supervisor.pid
        strange: Files = {"ca": own.cert, "client_cert": pairs["other"].cert, "client_key": pairs["other"].key}
        for wrong in (Files(ca=own.cert), strange):
            with pytest.raises(vramd.SupervisorUnreachable):
                pid_seen(supervisor, "localhost", **wrong)
        variables = {"VRAMD_CLIENT_CERT": str(client.cert), "VRAMD_CLIENT_KEY": str(client.key)}
        command = [sys.executable, "-m", "vramd", "models", "--runtime-dir", str(supervisor.folder.path)]
        for options, environment in (
            ([], variables),
            (["--client-cert", str(client.cert), "--client-key", str(client.key)], {}),
        ):
            said = subprocess.run(
                [*command, *options], env=environment, capture_output=True, text=True, timeout=BOUND_S, check=False
            )
            assert said.returncode == 0, said.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--tls-cert", "none.pem", "--tls-key", "none.key"), "none.pem: No such file"),
        (("--tls-cert", "none.pem"), "--tls-cert: needs tls_key"),
        (("--tls-client-ca", "none.pem"), "--tls-client-ca: needs tls_cert"),
    ],
)
def test_mistakes_end_the_start(arguments: tuple[str, ...], said: str) -> None:
    with SupervisorProcess(MODEL, arguments=(*LOOPBACK, *arguments)) as supervisor:
        assert supervisor.exit_code() == 2
        assert said in supervisor.printed
        assert "Traceback" not in supervisor.printed


@pytest.mark.unprivileged
def test_a_pair_is_made_and_not_overwritten(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "vramd", "cert", "machine.lan", "10.0.0.7", "--out", str(tmp_path)]
    made = subprocess.run(command, capture_output=True, text=True, timeout=BOUND_S, check=True)
    assert "machine.lan, 10.0.0.7, localhost" in made.stdout
    key = tmp_path / "vramd-key.pem"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    first = key.read_bytes()
    again = subprocess.run(command, capture_output=True, text=True, timeout=BOUND_S, check=False)
    assert (again.returncode, "--force replaces it" in again.stderr, key.read_bytes()) == (1, True, first)
    subprocess.run([*command, "--force"], capture_output=True, timeout=BOUND_S, check=True)
    assert key.read_bytes() != first
    with SupervisorProcess(
        MODEL, arguments=(*LOOPBACK, "--tls-cert", str(tmp_path / "vramd-cert.pem"), "--tls-key", str(key))
    ) as supervisor:
        assert supervisor.address.tls_name == "machine.lan"
        assert pid_seen(supervisor, "localhost", ca=tmp_path / "vramd-cert.pem") == supervisor.pid
    wrong = subprocess.run([*command, "a b/c"], capture_output=True, text=True, timeout=BOUND_S, check=False)
    assert (wrong.returncode, "neither the name of a host" in wrong.stderr) == (2, True)
