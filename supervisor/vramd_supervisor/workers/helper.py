"""One process of the helper that asks llama.cpp: a line in, a line out, and how it ended."""

import contextlib
import json
import logging
import os
import threading
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

from . import containment
from .last_words import blames_the_machine, telling
from .log_book import Splitter

log = logging.getLogger(__name__)

LAST_WORDS_S = 2.0
"""A process that was ended is gone by then, and what it printed is read."""
_MOST_ANSWER_BYTES = 1 << 20
_READ_BYTES = 64 * 1024
_MOST_LAST_LINES = 200


class Death(NamedTuple):
    """How a process ended by its own fault."""

    exit: str
    said: str
    """Its own words on why; empty if there were none."""


class Helper:
    """Everything but its construction and `end` blocks: call it on a thread that may be lost."""

    def __init__(self, child: containment.Child) -> None:
        """Takes it over. Raises RuntimeError where there are no more threads; then there is no child."""
        self._child = child
        self.pid = self._child.pid
        self._returncode: int | None = None
        self._gone = threading.Event()
        self._lines: deque[str] = deque(maxlen=_MOST_LAST_LINES)
        self._drained = threading.Event()
        try:
            threading.Thread(target=self._drain, name=f"quoter-{self.pid}", daemon=True).start()
        except BaseException:
            containment.discard(self._child)
            raise

    def ask(self, line: bytes) -> dict[str, Any]:
        """One answer. Raises OSError, and ValueError for what is none."""
        assert self._child.stdin and self._child.stdout
        self._child.stdin.write(line)
        said = b""
        while not said.endswith(b"\n"):
            data = os.read(self._child.stdout.fileno(), _READ_BYTES)
            said += data
            if not data or len(said) > _MOST_ANSWER_BYTES:
                raise ValueError("the helper has ended" if not data else "the helper does not stop talking")
        answer = json.loads(said)
        if not isinstance(answer, dict):
            raise ValueError("the helper's answer is no object")
        return answer

    def end(self) -> None:
        """Ends it, once. One that has ended by itself keeps its exit code, which is settled before its pipes close."""
        containment.kill(self._child)
        with contextlib.suppress(RuntimeError):  # no more threads: it is reaped with the start of the next child
            threading.Thread(target=self._reap, name=f"reap-{self.pid}", daemon=True).start()

    def wait(self, limit_s: float) -> None:
        """Until it is gone, or the time is over; after `end`."""
        self._gone.wait(limit_s)

    def death(self) -> Death | None:
        """Returns how it ended, if by its own fault and not the machine's; after `end`."""
        self._gone.wait(LAST_WORDS_S)
        self._drained.wait(LAST_WORDS_S)
        code = self._returncode or 0
        if not containment.by_own_fault(code) or blames_the_machine(self._lines):
            return None
        return Death(containment.exit_of(code, asked=False)[1], telling(self._lines))

    def _drain(self) -> None:
        """Reads its output, which must not fill the pipe."""
        assert self._child.stderr
        splitter = Splitter()
        with self._child.stderr as stream:
            while data := stream.read(_READ_BYTES):
                self._take(splitter.feed(data))
        self._take(splitter.close())
        self._drained.set()

    def _take(self, lines: Sequence[str]) -> None:
        self._lines.extend(lines)
        for line in lines:
            log.debug("quoter: %s", line)

    def _reap(self) -> None:
        self._returncode = containment.wait(self._child)
        self._gone.set()
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe:
                with contextlib.suppress(OSError):
                    pipe.close()
