"""Reads a prompt from stdin."""

import contextlib
import os
import sys
import threading

import click
from vramd.errors import InvalidRequest

from . import output

GRACE_S = 2.0
"""Limit for the first byte of a pipe beside a prompt: a parent process may pass an open pipe and never write to it."""

_READ_BYTES = 1 << 16


def prompt(given: str | None) -> str:
    """Returns the given prompt, followed by what is piped in.

    Reads stdin to its end. Beside a given prompt, other than "-", it waits only a moment for stdin to begin. Raises
    InvalidRequest if stdin is no text, UsageError if there is no prompt at all.
    """
    if given is None or given == "-":
        text = _text(sys.stdin.buffer.read())
        if given is None and not text:
            raise click.UsageError("there is no PROMPT, and nothing is piped in.")
        return text
    more = _text(_beside())
    return f"{given}\n\n{more}" if more else given


def _beside() -> bytes:
    """Reads all of stdin unless it is a terminal; empty, with a message, if nothing comes within the limit."""
    try:
        if sys.stdin.isatty():
            return b""
        descriptor = sys.stdin.fileno()
    except (AttributeError, OSError, ValueError):  # there is none, or none of the system's
        return sys.stdin.buffer.read() if sys.stdin is not None and not sys.stdin.closed else b""
    begun, ended, pieces = threading.Event(), threading.Event(), list[bytes]()

    def read() -> None:
        # Not sys.stdin: a thread that holds its lock would not let the interpreter end.
        with contextlib.suppress(OSError):
            while piece := os.read(descriptor, _READ_BYTES):
                pieces.append(piece)
                begun.set()
        ended.set()
        begun.set()

    threading.Thread(target=read, name="stdin", daemon=True).start()
    if not begun.wait(GRACE_S):
        output.say(f"vramd: nothing came from stdin within {GRACE_S:g} s, so the prompt alone is asked", err=True)
        return b""
    ended.wait()
    return b"".join(pieces)


def _text(raw: bytes) -> str:
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest("FIELD_INVALID", f"stdin is no UTF-8 text: {error}", {"field": "prompt"}) from error
    return text.removesuffix("\n").removesuffix("\r")
