"""Fixtures for tests of the clients: a scripted supervisor, and the SDK and the command line that find it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import vramd
from click.testing import CliRunner, Result
from support.command_line import Shell
from support.driven_client import Connect, DrivenClient, Naps
from support.fake_supervisor import FakeSupervisor
from vramd_cli.main import vramd as command_line

OWN_ENVIRONMENT = ("VRAMD_ADDRESS", "VRAMD_TOKEN", "VRAMD_MODELS", "VRAMD_CONFIG")


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeSupervisor]:
    with FakeSupervisor(tmp_path / "run") as supervisor:
        yield supervisor


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """Runs a command in this process, with the fake supervisor's folder as that of the environment."""

    def call(*arguments: str, stdin: str | bytes | None = None, **environment: str) -> Result:
        own = {"VRAMD_RUNTIME_DIR": str(tmp_path / "run"), **dict.fromkeys(OWN_ENVIRONMENT)}
        return CliRunner(env={**own, **environment}).invoke(command_line, arguments, input=stdin)

    return call


@pytest.fixture
def naps() -> Naps:
    """The waits of the client between two attempts, noted instead of waited."""
    return Naps()


@pytest.fixture
def client(fake: FakeSupervisor, naps: Naps) -> Iterator[vramd.Client]:
    with vramd.Client(fake.folder.path, sleep=naps) as connected:
        yield connected


@pytest.fixture(params=[vramd.Client, DrivenClient], ids=["blocking", "async"])
def connect(request: pytest.FixtureRequest) -> Connect:
    """Each kind of client in turn, with the methods of the blocking one."""
    kind: Connect = request.param
    return kind


@pytest.fixture
def either(connect: Connect, fake: FakeSupervisor, naps: Naps) -> Iterator[vramd.Client]:
    with connect(fake.folder.path, sleep=naps) as connected:
        yield connected
