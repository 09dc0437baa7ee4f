"""HTTP/2 as nobody's library writes it: one call in bytes, and what comes back."""

import contextlib
import socket
import struct
from collections.abc import Iterator

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS = 0, 1, 4
END_STREAM, END_HEADERS = 1, 4
HELLO = PREFACE + struct.pack(">I", 0)[1:] + bytes([SETTINGS, 0]) + bytes(4)
"""What a connection begins with."""


def frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    return struct.pack(">I", len(body))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + body


def literal(text: bytes) -> bytes:
    """As a header has it that nobody compresses; 126 bytes at most."""
    return bytes([len(text)]) + text


def head(path: bytes, *metadata: tuple[bytes, bytes], stream: int = 1) -> bytes:
    block = b"\x83\x86\x04" + literal(path) + b"\x01" + literal(b"localhost")
    for name, value in ((b"content-type", b"application/grpc"), (b"te", b"trailers"), *metadata):
        block += b"\x00" + literal(name) + literal(value)
    return frame(HEADERS, END_HEADERS, stream, block)


def call(path: bytes, *metadata: tuple[bytes, bytes], stream: int = 1, body: bytes = bytes(5)) -> bytes:
    """A whole call; without another `body`, with an empty message."""
    return head(path, *metadata, stream=stream) + frame(DATA, END_STREAM, stream, body)


@contextlib.contextmanager
def connection(address: str, data: bytes) -> Iterator[socket.socket]:
    """Sends this to host:port and keeps the connection for as long as the block lasts."""
    host, port = address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), 10) as sock:
        sock.sendall(data)
        yield sock


def throw(address: str, data: bytes) -> None:
    """Sends this to host:port and reads until the other side has answered, or closed."""
    with connection(address, data) as sock, contextlib.suppress(OSError):
        sock.recv(4096)
