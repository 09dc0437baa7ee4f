"""Any bytes at the port: recordings of real calls with faults in them, and bytes that are nothing at all."""

import contextlib
import itertools
import socket
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from random import Random

import psutil
import pytest
import vramd
from support import raw_http2
from support.recording_proxy import RecordingProxy
from support.spoiling import spoilt
from support.supervisor_process import BOUND_S, CARD, SupervisorProcess, simulated, until

SEED = 1
COUNTS = [pytest.param(400, id="short"), pytest.param(20_000, id="long", marks=pytest.mark.long)]
AT_ONCE = 4
MOST_GROWTH_BYTES = 32 << 20
# Without a spare: its descriptors would come at any moment.
CONFIGURATION = f"[server]\nspare = false\n{CARD}" + simulated("talker", load_s=0)


def recorded(supervisor: SupervisorProcess) -> list[bytes]:
    """Bytes of whole calls, with their token, as the SDK has sent them: a connection for each."""
    token = supervisor.folder.token_file.read_text("utf-8").strip()
    with RecordingProxy(supervisor.address.address) as proxy:

        def client() -> vramd.Client:
            return vramd.Client(address=proxy.address, token=token)

        with client() as one:
            one.status()
        with client() as one:
            one.load("talker")
        with client() as one:
            assert one.chat("talker", "hello", max_tokens=5).text
        with client() as one:
            one.embed("talker", ["a cat", "a dog"])
        with client() as one, one.watch(after_sequence=1) as feed:
            one.update("talker", priority="batch")
            next(feed)
        with client() as one, pytest.raises(vramd.VramdError):
            one.load("nothing")
        return [bytes(sent) for sent in proxy.sent]


def anything(calls: Sequence[bytes]) -> Iterator[bytes]:
    dice = Random(SEED)
    while True:
        yield spoilt(dice.choice(calls), dice, order=">")
        yield spoilt(raw_http2.HELLO + raw_http2.call(b"/vramd.v1.ModelService/ListModels"), dice, order=">")
        yield raw_http2.HELLO + dice.randbytes(dice.randrange(200))
        yield dice.randbytes(dice.randrange(200))


def throw(address: str, data: bytes) -> None:
    """Sends this, says that it is all, and reads to the end. Fails if the end does not come."""
    with raw_http2.connection(address, data) as sock:
        sock.settimeout(BOUND_S)
        with contextlib.suppress(ConnectionError):
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(1 << 16):
                pass


def descriptors(process: psutil.Process) -> int:
    if sys.platform == "win32":
        return process.num_handles()
    else:  # noqa: RET505  mypy takes what follows a platform's return for unreachable
        return process.num_fds()


@pytest.mark.parametrize("count", COUNTS)
def test_any_bytes_at_the_port_harm_nothing(shared: SupervisorProcess, count: int) -> None:
    calls, address, client = recorded(shared), shared.address.address, shared.client()
    whole = psutil.Process(shared.pid)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        thrown = anything(calls)
        list(pool.map(lambda data: throw(address, data), itertools.islice(thrown, 50)))
        before_bytes, before_files = whole.memory_info().rss, descriptors(whole)
        list(pool.map(lambda data: throw(address, data), itertools.islice(thrown, count)))
    assert client.chat("talker", "hello", max_tokens=5).text
    assert shared.process.poll() is None
    assert not [decision for decision in client.decisions() if decision.cause == "crashed"]
    assert "Traceback" not in shared.log
    until("connections are closed", lambda: descriptors(whole) <= before_files + 2)
    assert whole.memory_info().rss - before_bytes < MOST_GROWTH_BYTES
