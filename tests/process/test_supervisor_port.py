"""What somebody without the token can do to a real supervisor: nothing that others notice."""

import threading
from collections.abc import Iterator

import grpc
import psutil
import pytest
from support import raw_http2
from support.supervisor_process import BOUND_S, SupervisorProcess, busy, simulated, until

MIB = 1024 * 1024
STATUS = b"/vramd.v1.SupervisorService/GetStatus"
CHECK = b"/grpc.health.v1.Health/Check"
ATTACKS = {
    "no preface": b"POST /vramd.v1.SupervisorService/Shutdown HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "garbage": bytes(range(256)) * 40,
    "garbage behind the preface": raw_http2.HELLO + bytes(range(256)) * 40,
    "a path that is no UTF-8": raw_http2.HELLO + raw_http2.call(b"/\xff"),
    "a method that is no UTF-8": raw_http2.HELLO + raw_http2.call(STATUS + b"\xfe"),
    "a value that is no UTF-8": raw_http2.HELLO + raw_http2.call(STATUS, (b"x-name", b"\xff\xfe")),
    "a token that is no UTF-8": raw_http2.HELLO + raw_http2.call(STATUS, (b"authorization", b"Bearer \xff")),
    "junk said to be gzip": raw_http2.HELLO
    + raw_http2.call(CHECK, (b"grpc-encoding", b"gzip"), body=b"\x01\x00\x00\x00\x04junk"),
    "a message of 4 GiB": raw_http2.HELLO + raw_http2.call(CHECK, body=b"\x00\xff\xff\xff\xffjunk"),
    "no message": raw_http2.HELLO + raw_http2.call(CHECK, body=b""),
    "a thousand calls": raw_http2.HELLO + b"".join(raw_http2.call(STATUS, stream=2 * n + 1) for n in range(1000)),
}


@pytest.fixture(scope="module")
def supervisor() -> Iterator[SupervisorProcess]:
    with SupervisorProcess(simulated("a", card="", tokens_per_s=20)) as supervisor:
        yield supervisor.ready()


@pytest.mark.parametrize("attack", ATTACKS)
def test_who_comes_afterwards_is_served(supervisor: SupervisorProcess, attack: str) -> None:
    address = supervisor.address.address
    with busy(supervisor.client(), "a") as running:
        for _ in range(3):
            raw_http2.throw(address, ATTACKS[attack])
        newcomer = supervisor.stranger(supervisor.folder.token_file.read_text().strip())
        assert newcomer.generate("a", "x", max_tokens=1, timeout_s=BOUND_S).text
        assert next(running)
    assert "Traceback" not in supervisor.printed
    assert len(supervisor.log.splitlines()) < 60


@pytest.mark.parametrize("method", [STATUS, b"/vramd.v1.InferenceService/Generate", CHECK, b"/no.such/Method"])
def test_large_messages_of_strangers_leave_nothing(supervisor: SupervisorProcess, method: bytes) -> None:
    process = psutil.Process(supervisor.pid)
    before = process.memory_info().rss

    def ask() -> None:
        with grpc.insecure_channel(supervisor.address.address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method.decode())
            assert call.future(bytes(15 * MIB), timeout=BOUND_S).exception()

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    until("their memory is back", lambda: process.memory_info().rss - before < 130 * MIB)
