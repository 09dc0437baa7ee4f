"""Records the events and actions of a core, one JSON document a line, so that they can be replayed.

The first line has all that a core is made of. Then comes a line for each event, written before the core sees it, and
one for its actions: if the core fails, the event that made it fail is the last line. There is
nothing of prompts, answers and tokens in events and actions; names and paths of models are.
"""

import errno
import io
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

from ..core.actions import Action
from ..core.core import Core
from ..core.events import Event
from ..core.ledger import Account
from ..domain.config import Config
from ..files.private import tighten
from ..threads.queued_writer import QueuedWriter
from ..threads.serial_calls import SerialCalls
from .codec import encode, encode_action, encode_event

log = logging.getLogger(__name__)

FORMAT = 1
"""Version of the format; another one is not read."""
LOST = "lost"
"""The only key of a last line that tells how many lines would have followed."""

_OPEN_S = 10.0
_WAITING_BYTES = 16 << 20
"""Held for a disk that is slow: minutes of a busy supervisor."""


class LineFile(Protocol):
    """A destination of lines, such as an open text file."""

    def write(self, line: str, /) -> int:
        """Takes one line with its end. Raises OSError."""

    def flush(self) -> None:
        """Called behind each line."""


@dataclass(frozen=True)
class Header:
    """The first line: what the core was made of. The catalogue comes as an event."""

    format: int
    version: str
    """Version of vramd."""
    config: Config
    accounts: Mapping[str, Account]
    usable_cores: int
    spare_bytes: int

    @classmethod
    def of(cls, config: Config, accounts: Mapping[str, Account], usable_cores: int, spare_bytes: int) -> "Header":
        """That of a core of this vramd."""
        return cls(FORMAT, version("vramd"), config, accounts, usable_cores, spare_bytes)

    def core(self) -> Core:
        return Core(self.config, self.accounts, self.usable_cores, self.spare_bytes)


class Recorder:
    """Wraps the `handle` of a core. Writes and flushes every line."""

    def __init__(self, header: Header, handle: Callable[[Event], list[Action]], file: LineFile) -> None:
        """Raises OSError. `handle` is that of a core which `header` has made, and which has seen no event yet."""
        self._handle = handle
        self._file = file
        self._broken = False
        self._put(encode(header, Header))
        file.flush()

    def handle(self, event: Event) -> list[Action]:
        """`Core.handle`, recorded. What goes wrong with the recording ends it, and not the supervisor."""
        self._write(lambda: {"event": encode_event(event)})
        actions = self._handle(event)
        self._write(lambda: {"actions": [encode_action(action) for action in actions]})
        return actions

    def _write(self, document: Callable[[], object]) -> None:
        if self._broken:
            return
        try:
            self._put(document())
            self._file.flush()
        except Exception as error:
            self._broken = True
            log.error("the recording ends here, it cannot be written: %s", error)

    def _put(self, document: object) -> None:
        self._file.write(json.dumps(document, separators=(",", ":")) + "\n")


class RecordingFile(io.TextIOBase):
    """A new file, written on another thread: recording never waits for the disk.

    Where the disk does not keep up, the file ends with whole lines and with one that says how many are lost.
    """

    def __init__(self, path: Path) -> None:
        """Raises OSError, or NoAnswerError for a disk that does not answer."""
        self._file = SerialCalls(str(path), _OPEN_S).ask(lambda: path.open("wb", buffering=0))
        tighten(path)
        self._error: OSError | None = None
        self._writer: QueuedWriter[bytes] = QueuedWriter("recording", self._write_all, _WAITING_BYTES, _loss)

    def write(self, line: str) -> int:
        """Raises OSError if an earlier line could not be written, or this one is lost."""
        if self._error:
            raise self._error
        data = line.encode()
        if not self._writer.put(data, len(data)):
            raise OSError(errno.EWOULDBLOCK, "the disk does not keep up, what comes is lost")
        return len(line)

    def settle(self, within_s: float) -> bool:
        """Waits, bounded, until all is written; whether it is."""
        return self._writer.flush(within_s) and not self._error

    def _write_all(self, data: bytes) -> None:
        if self._error:  # behind half a line nothing makes sense
            return
        try:
            while data:
                data = data[self._file.write(data) :]
        except OSError as error:
            self._error = error


def _loss(lost: int) -> bytes:
    return json.dumps({LOST: lost}).encode() + b"\n"
