"""The faults of simulated models: each is named after the failure it shows."""

import contextlib
import os
import re
import signal
import socket
import stat
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
"""Binary, with no line end except between control characters."""

GRANDCHILD_S = 60

_MOST_SOCKETS = 1024

LEAK_BYTES = 300 * 1024 * 1024


class Fault(Enum):
    """What a simulated model does wrong. The values are the names in the configuration (`manners`)."""

    EXIT_IN_LOAD = "exit-in-load"
    """The process ends half-way through the load."""
    HANG_IN_LOAD = "hang-in-load"
    """The load stands still half-way."""
    OOM = "oom"
    """The load aborts half-way, and says on stderr that memory is out."""
    EXIT_IN_PROMPT = "exit-in-prompt"
    """The process ends instead of the first token of a job."""
    EXIT_ON_POISON = "exit-on-poison"
    """The process ends instead of the first token of a job whose prompt says "poison"."""
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
    """A child process holds stderr open, for a minute; on Linux the system refuses it."""
    LEAK = "leak"
    """The process takes another 300 MiB with each job."""
    BUG = "bug"
    """Every generation raises an unforeseen exception."""
    SPIN_IN_DECODE = "spin-in-decode"
    """The engine computes for ever instead of the fourth token of a job, and keeps Python's lock: no thread runs."""
    CLOSE_SOCKETS = "close-sockets"
    """The process breaks its connections instead of the fourth token of a job, and lives on."""


Faults = frozenset[Fault]

TOKENS_BEFORE_TROUBLE = 3


def before_load(faults: Faults) -> None:
    """Shows the faults of a start. Called in the main thread, as only there Python sets signal handlers."""
    if Fault.IGNORE_SIGTERM in faults:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if Fault.GRANDCHILD in faults:
        _leave_a_child()
    if Fault.GARBAGE_ON_STDOUT in faults:
        os.write(1, GARBAGE)
    if Fault.FLOOD_STDERR in faults:
        _flood(FLOOD_AT_LOAD_BYTES)


def in_load(faults: Faults) -> None:
    """Shows the faults half-way through a load. May never return."""
    if Fault.OOM in faults:
        os.write(2, b"simulated: failed to allocate buffer: out of memory\n")
        os.abort()
    if Fault.EXIT_IN_LOAD in faults:
        os._exit(DIED)
    if Fault.HANG_IN_LOAD in faults:
        stand_still()


def before_token(faults: Faults, given: int, prompt: str) -> None:
    """Shows the faults before a job's next token, after `given` tokens. May never return."""
    if Fault.FLOOD_STDERR in faults:
        _flood(FLOOD_PER_TOKEN_BYTES)
    if given == 0 and Fault.LEAK in faults:
        _leaked.append(b"\xa5" * LEAK_BYTES)
    if given == 0 and Fault.EXIT_IN_PROMPT in faults:
        os._exit(DIED)
    if given == 0 and Fault.EXIT_ON_POISON in faults and "poison" in prompt:
        os._exit(DIED)
    if given == 1 and Fault.BLOCK_AFTER_FIRST_TOKEN in faults:
        stand_still()
    if given == TOKENS_BEFORE_TROUBLE:
        if Fault.EXIT_IN_DECODE in faults:
            os._exit(DIED)
        if Fault.HANG_IN_DECODE in faults:
            stand_still()
        if Fault.SPIN_IN_DECODE in faults:
            re.fullmatch("(x+x+)+y", "x" * 99)
        if Fault.CLOSE_SOCKETS in faults:
            _close_sockets()
            stand_still()


def _close_sockets() -> None:
    for fd in range(3, _MOST_SOCKETS):
        with contextlib.suppress(OSError):
            if stat.S_ISSOCK(os.fstat(fd).st_mode):
                socket.socket(fileno=os.dup(fd)).shutdown(socket.SHUT_RDWR)


def stand_still() -> NoReturn:
    """Hangs like a native call that never returns, until the process ends."""
    while True:
        threading.Event().wait()


def _leave_a_child() -> None:
    """Starts a process that nothing waits for; it is kept, as it would warn when collected."""
    arguments = [sys.executable, "-I", "-c", f"import time; time.sleep({GRANDCHILD_S})"]
    try:
        _orphans.append(subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL))
    except PermissionError as refused:
        os.write(2, f"simulated: no child: {refused}\n".encode())


def _flood(size_bytes: int) -> None:
    for _ in range(size_bytes // len(FLOOD_LINE)):
        os.write(2, FLOOD_LINE)


_leaked: list[bytes] = []
_orphans: list["subprocess.Popen[bytes]"] = []
