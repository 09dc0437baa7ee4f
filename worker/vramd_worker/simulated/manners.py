"""The bad manners of simulated models: each is named by the failure it shows."""

import os
import signal
import subprocess
import sys
import threading
from enum import Enum
from typing import NoReturn

DIED = 3
"""Exit code of a simulated crash."""

FLOOD_LINE = b"flood " * 170 + b"\n"
FLOOD_AT_LOAD_BYTES = 8 * 1024 * 1024
FLOOD_PER_TOKEN_BYTES = 64 * 1024

GARBAGE = bytes(range(256)) * 16
"""Binary, with no line end that would not stand between control characters."""

GRANDCHILD_S = 60

LEAK_BYTES = 300 * 1024 * 1024


class Manner(Enum):
    """What a simulated model does wrong. The values are the names in the configuration."""

    EXIT_IN_LOAD = "exit-in-load"
    """The process ends half-way through the load."""
    HANG_IN_LOAD = "hang-in-load"
    """The load stands still half-way."""
    OOM = "oom"
    """The load aborts half-way, and says on stderr that memory is out."""
    EXIT_IN_PROMPT = "exit-in-prompt"
    """The process ends instead of the first token of a job."""
    EXIT_IN_DECODE = "exit-in-decode"
    """The process ends instead of the fourth token of a job."""
    HANG_IN_DECODE = "hang-in-decode"
    """The engine stands still instead of the fourth token of a job."""
    BLOCK_AFTER_FIRST_TOKEN = "block-after-first-token"  # noqa: S105  no secret
    """The engine stands still instead of the second token of a job."""
    IGNORE_SIGTERM = "ignore-sigterm"
    """Only a kill ends the process."""
    FLOOD_STDERR = "flood-stderr"
    """Megabytes on stderr in the load, more with each token."""
    GARBAGE_ON_STDOUT = "garbage-on-stdout"
    """Bytes that are no text go to descriptor 1 in the load."""
    GRANDCHILD = "grandchild"
    """A child process holds stderr open, for a minute."""
    LEAK = "leak"
    """The process takes another 300 MiB with each job."""
    BUG = "bug"
    """Every generation raises an exception that nobody foresaw."""


Manners = frozenset[Manner]

TOKENS_BEFORE_TROUBLE = 3


def move_in(manners: Manners) -> None:
    """Before the load. In the main thread, where alone Python sets the handling of signals."""
    if Manner.IGNORE_SIGTERM in manners:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if Manner.GRANDCHILD in manners:
        # Nobody waits for it: that is the manner. A reference would only warn when it is collected.
        _orphans.append(
            subprocess.Popen(
                [sys.executable, "-I", "-c", f"import time; time.sleep({GRANDCHILD_S})"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        )
    if Manner.GARBAGE_ON_STDOUT in manners:
        os.write(1, GARBAGE)
    if Manner.FLOOD_STDERR in manners:
        _flood(FLOOD_AT_LOAD_BYTES)


def in_load(manners: Manners) -> None:
    """Half-way through the load. May never return."""
    if Manner.OOM in manners:
        os.write(2, b"simulated: failed to allocate buffer: out of memory\n")
        os.abort()
    if Manner.EXIT_IN_LOAD in manners:
        os._exit(DIED)
    if Manner.HANG_IN_LOAD in manners:
        stand_still()


def before_token(manners: Manners, given: int) -> None:
    """Before a job's next token; it has been given so many. May never return."""
    if Manner.FLOOD_STDERR in manners:
        _flood(FLOOD_PER_TOKEN_BYTES)
    if given == 0 and Manner.LEAK in manners:
        _leaked.append(b"\xa5" * LEAK_BYTES)
    if given == 0 and Manner.EXIT_IN_PROMPT in manners:
        os._exit(DIED)
    if given == 1 and Manner.BLOCK_AFTER_FIRST_TOKEN in manners:
        stand_still()
    if given == TOKENS_BEFORE_TROUBLE:
        if Manner.EXIT_IN_DECODE in manners:
            os._exit(DIED)
        if Manner.HANG_IN_DECODE in manners:
            stand_still()


def stand_still() -> NoReturn:
    """As a native call that does not come back: only the end of the process ends it."""
    while True:
        threading.Event().wait()


def _flood(size_bytes: int) -> None:
    for _ in range(size_bytes // len(FLOOD_LINE)):
        os.write(2, FLOOD_LINE)


_leaked: list[bytes] = []
_orphans: list["subprocess.Popen[bytes]"] = []
