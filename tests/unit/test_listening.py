"""Addresses that are listened on, and those that are not, each with its reason."""

import errno
import socket
from collections.abc import Iterator

import pytest
from vramd_supervisor.listening import AddressError, listen

WITHOUT_IPV6 = not socket.has_ipv6


class Server:
    """Takes what it is given."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def add_insecure_port(self, address: str) -> int:
        self.asked.append(address)
        return int(address.rpartition(":")[2]) or 4711


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as held:
        yield int(held.getsockname()[1])


@pytest.mark.parametrize(
    ("host", "asked", "address", "real", "is_open"),
    [
        ("127.0.0.1", "127.0.0.1:0", "127.0.0.1:4711", "127.0.0.1:4711", False),
        ("127.0.0.2", "127.0.0.2:0", "127.0.0.2:4711", "127.0.0.2:4711", False),
        ("localhost", "localhost:0", "localhost:4711", "localhost:4711", False),
        ("0.0.0.0", "0.0.0.0:0", "127.0.0.1:4711", "0.0.0.0:4711", True),
        ("::1", "[::1]:0", "[::1]:4711", "[::1]:4711", False),
        ("[::1]", "[::1]:0", "[::1]:4711", "[::1]:4711", False),
        ("::", "[::]:0", "[::1]:4711", "[::]:4711", True),
        ("[::]", "[::]:0", "[::1]:4711", "[::]:4711", True),
    ],
)
def test_what_is_asked_for_and_what_is_told(host: str, asked: str, address: str, real: str, is_open: bool) -> None:
    server = Server()
    try:
        found = listen(server, host, 0, insecure_network=True)
    except AddressError:
        if ":" in host or host == "127.0.0.2":
            pytest.skip(f"this machine has no {host}")
        raise
    assert server.asked == [asked]
    assert (found.address, found.real, found.is_open) == (address, real, is_open)


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_what_others_can_call_needs_tls(host: str) -> None:
    server = Server()
    with pytest.raises(AddressError, match=r"vramd cert|no address of this machine"):
        listen(server, host, 0)
    assert not server.asked


def test_a_port_that_is_taken(taken: int) -> None:
    server = Server()
    with pytest.raises(
        AddressError, match=f"^127.0.0.1:{taken} is taken by another program: --port 0 picks a free one"
    ):
        listen(server, "127.0.0.1", taken)
    assert not server.asked  # which would say so in its own way, on stderr


def test_a_name_of_which_one_address_is_taken(taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients would reach the other program there."""
    both = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (host, taken)) for host in ("127.0.0.2", "127.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: both)
    with pytest.raises(AddressError, match="is taken by another program"):
        listen(Server(), "somewhere", taken)


@pytest.mark.parametrize("host", ["no.such.host.invalid", "127.0.0.1:80", "http://localhost", "x" * 300, "a b"])
def test_a_host_that_is_none(host: str) -> None:
    with pytest.raises(AddressError, match="there is no host"):
        listen(Server(), host, 0)


def test_an_address_of_another_machine() -> None:
    with pytest.raises(AddressError, match="is no address of this machine"):
        listen(Server(), "192.0.2.1", 0)


def test_a_port_that_this_user_may_not_have(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refuse)
    with pytest.raises(AddressError, match="may not be listened on by this user"):
        listen(Server(), "127.0.0.1", 80)
