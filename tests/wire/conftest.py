"""One supervisor for all the tests of the wire, and a channel to it."""

from collections.abc import Iterator

import grpc
import pytest
from support.supervisor_process import CARD, SupervisorProcess, simulated
from support.wire import CHANNEL_OPTIONS, Caller

STOP = "[scheduling]\nstop_s = 10\n"
"""A process that is asked to go may be held up: none here has to be killed."""
MODELS = simulated("talker", tokens_per_s=2000) + simulated("slow", tokens_per_s=20) + simulated("unused")


@pytest.fixture(scope="session")
def supervisor() -> Iterator[SupervisorProcess]:
    with SupervisorProcess(STOP + CARD + MODELS) as process:
        yield process.ready()


@pytest.fixture
def caller(supervisor: SupervisorProcess) -> Iterator[Caller]:
    with grpc.insecure_channel(supervisor.address.address, CHANNEL_OPTIONS) as channel:
        yield Caller(channel, supervisor.folder.token_file.read_text().strip())
