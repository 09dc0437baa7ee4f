"""What a machine may do to a supervisor: drives that do not answer any more, no more threads, processes or memory.

Python imports this at its start where its folder is in PYTHONPATH. VRAMD_TEST_OUTSIDE names a folder: while a file
`drive` is there, what lies below `dead` does not answer; `spawn` has the word for what cannot be started.
"""

import builtins
import io
import os
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

OUTSIDE = Path(os.environ["VRAMD_TEST_OUTSIDE"])
REAL_OPEN, REAL_START, REAL_INIT = open, threading.Thread.start, subprocess.Popen.__init__
REAL_LISTDIR = os.listdir


def spawn_fault() -> str:
    try:
        with REAL_OPEN(OUTSIDE / "spawn", encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def start(self: threading.Thread) -> None:
    fault = spawn_fault()
    if fault == "thread" or (fault and self.name.startswith(fault)):
        raise RuntimeError("can't start new thread")
    REAL_START(self)


def init(self: Any, *arguments: Any, **named: Any) -> None:
    while (fault := spawn_fault()) == "hang":
        time.sleep(0.05)
    if fault == "process":
        raise BlockingIOError(11, "Resource temporarily unavailable")
    if fault == "memory":
        raise MemoryError("no memory for another process")
    REAL_INIT(self, *arguments, **named)


def hanging(call: Callable[..., Any]) -> Callable[..., Any]:
    dead = f"{OUTSIDE}/dead"

    def bound(*arguments: Any, **named: Any) -> Any:
        while arguments and str(arguments[0]).startswith(dead) and "drive" in REAL_LISTDIR(OUTSIDE):
            time.sleep(0.05)
        return call(*arguments, **named)

    return bound


STAND_INS: list[tuple[Any, str, Callable[..., Any]]] = [
    (threading.Thread, "start", start),
    (subprocess.Popen, "__init__", init),
    *((os, name, hanging(getattr(os, name))) for name in ("stat", "lstat", "open", "scandir")),
    *((module, "open", hanging(open)) for module in (builtins, io)),
    (sqlite3, "connect", hanging(sqlite3.connect)),
]
for owner, name, stand_in in STAND_INS:
    setattr(owner, name, stand_in)
