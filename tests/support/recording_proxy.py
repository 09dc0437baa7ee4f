"""Hands connections on to an address, and keeps all that clients have sent."""

import contextlib
import socket
import threading


class RecordingProxy:
    """Listens until its block ends."""

    def __init__(self, target: str) -> None:
        host, port = target.rsplit(":", 1)
        self._target = host, int(port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.sent: list[bytearray] = []
        """By connection, in the order in which they came."""
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # the end of the block
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                kept = bytearray()
                self.sent.append(kept)
                for source, drain, sent in ((client, server, kept), (server, client, bytearray())):
                    threading.Thread(target=_hand_on, args=(source, drain, sent), daemon=True).start()

    def __enter__(self) -> "RecordingProxy":
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()


def _hand_on(source: socket.socket, drain: socket.socket, sent: bytearray) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            sent += data
            drain.sendall(data)
    with contextlib.suppress(OSError):
        drain.shutdown(socket.SHUT_RDWR)
    source.close()
