"""Runs a command of the supervisor's package as a child process, and reads the one JSON document that it prints."""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Sequence

import click

from . import output
from .console import NEEDS_SERVER

_BOOT = "import sys; sys.path[:] = {path!r}; import runpy; runpy.run_module('vramd_supervisor', run_name='__main__')"
"""The import path is handed on: with `-m` or `-c` alone, what lies in the current folder would come first."""


def ask(*arguments: str) -> dict[str, object]:
    """The document of `python -m vramd_supervisor ARGUMENTS`.

    What the child says on stderr is passed on; if it fails, the command ends with its exit code.
    """
    if any(importlib.util.find_spec(module) is None for module in ("psutil", "grpc_health")):
        raise click.ClickException(NEEDS_SERVER)
    path = [entry for entry in sys.path if entry]
    done = subprocess.run(
        [sys.executable, "-c", _BOOT.format(path=path), *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    for line in done.stderr.splitlines():
        output.say(line, err=True)
    if done.returncode:
        raise click.exceptions.Exit(done.returncode if done.returncode > 0 else 1)
    document = json.loads(done.stdout)
    assert isinstance(document, dict)
    return document


def option(name: str, value: object) -> Sequence[str]:
    """An option as it is handed on; nothing if it was not given."""
    return () if value is None else (f"--{name}={value}",)
