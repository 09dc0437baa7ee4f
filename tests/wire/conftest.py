"""One supervisor for all the tests of the wire, and a channel to it."""

from collections.abc import Iterator

import grpc
import pytest
from support.served import served
from support.wire import Caller
from vramd_proto.v1.rendezvous import Address, RuntimeDir


@pytest.fixture(scope="session")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeDir]:
    with served(tmp_path_factory.mktemp("served")) as folder:
        yield folder


@pytest.fixture
def caller(runtime: RuntimeDir) -> Iterator[Caller]:
    address = Address.read(runtime.address_file)
    assert address is not None
    with grpc.insecure_channel(address.address, (("grpc.use_local_subchannel_pool", 1),)) as channel:
        yield Caller(channel, runtime.token_file.read_text().strip())
