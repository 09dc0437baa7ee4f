"""Writes on a daemon thread, so that an unread pipe or a dead drive stops that thread only."""

import contextlib
import io
import os
import select
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TextIO, TypeVar

T = TypeVar("T")

MOST_OUTPUT_BYTES = 1 << 20
"""Held for the reader of stdout or stderr."""
FLUSH_S = 1.0
"""At the end, for what is not written yet."""


class QueuedWriter(Generic[T]):
    """A bounded queue and its writer; `put` never waits.

    Items that come while it is full are dropped until the queue is written; then an item reports how many were lost.
    """

    def __init__(
        self, name: str, write: Callable[[T], None], most_bytes: int, told_of_loss: Callable[[int], T]
    ) -> None:
        """`write` may block and may raise OSError, which drops its item; `told_of_loss` makes an item of a number."""
        self._name = name
        self._write = write
        self._most_bytes = most_bytes
        self._told_of_loss = told_of_loss
        self._items: deque[tuple[T, int]] = deque()
        self._held_bytes = 0
        """Includes the item that is being written."""
        self._writing = False
        self._lost = 0
        self._refused = False
        """The last write failed: a loss is not told before one succeeds."""
        self._changed = threading.Condition()
        self._writer: threading.Thread | None = None

    def put(self, item: T, size_bytes: int) -> bool:
        """Takes an item; False if it was dropped. For any thread."""
        with self._changed:
            if self._owes() or self._held_bytes + size_bytes > self._most_bytes:
                self._lost += 1
                return False
            self._items.append((item, size_bytes))
            self._held_bytes += size_bytes
            if self._writer is None:
                writer = threading.Thread(target=self._run, name=self._name, daemon=True)
                with contextlib.suppress(RuntimeError):  # no more threads: the next item tries again
                    writer.start()
                    self._writer = writer
            self._changed.notify_all()
            return True

    def flush(self, within_s: float) -> bool:
        """Waits, bounded, until all is written; whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: not (self._items or self._writing or self._owes()), within_s)

    def _owes(self) -> bool:
        return bool(self._lost) and not self._refused

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._items or self._owes())
                lost = 0 if self._items else self._lost
                self._lost -= lost
                item, size_bytes = self._items.popleft() if self._items else (self._told_of_loss(lost), 0)
                self._writing = True
            try:
                self._write(item)
                refused = False
            except (OSError, ValueError):  # such as a pipe without a reader, or a closed file
                refused = True
            with self._changed:
                self._refused = refused
                self._lost += (lost or 1) if refused else 0
                self._held_bytes -= size_bytes
                self._writing = False
                self._changed.notify_all()


class OutputStream(io.TextIOBase):
    """Replaces stdout or stderr: writes go through a queue."""

    def __init__(self, stream: TextIO) -> None:
        """Raises OSError for a stream without a descriptor."""
        # Raw: at its end the interpreter would wait for the lock of a buffer that a writer holds. A copy, as the
        # descriptor itself may be pointed at another file.
        self._raw = os.fdopen(os.dup(stream.fileno()), "wb", buffering=0)
        self._encoding = stream.encoding
        self._writer: QueuedWriter[bytes] = QueuedWriter(stream.name, self._write_all, MOST_OUTPUT_BYTES, self._loss)

    def write(self, text: str) -> int:
        if data := self._encoded(text):
            self._writer.put(data, len(data))
        return len(text)

    def settle(self) -> None:
        """Waits, bounded, until all is written."""
        self._writer.flush(FLUSH_S)

    def _encoded(self, text: str) -> bytes:
        return text.encode(self._encoding, "backslashreplace")

    def _loss(self, lost: int) -> bytes:
        return self._encoded(f"vramd: {lost} lines were dropped here: they were not read\n")

    def _write_all(self, data: bytes) -> None:
        while data:
            taken = self._raw.write(data)
            if taken is None:  # whoever has the other end made it non-blocking, for all who write to it
                select.select([], [self._raw], [])
            else:
                data = data[taken:]


@contextlib.contextmanager
def output_aside() -> Iterator[None]:
    """Within the block nothing that is written to sys.stdout and sys.stderr waits; at its end some may be lost."""
    kept, streams = (sys.stdout, sys.stderr), []
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        # There is none under pythonw, and one without a descriptor where a test captures it.
        with contextlib.suppress(AttributeError, OSError):
            streams.append(OutputStream(stream))
            setattr(sys, name, streams[-1])
    try:
        yield
    finally:
        sys.stdout, sys.stderr = kept
        for stream in streams:
            stream.settle()
