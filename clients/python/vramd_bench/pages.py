"""How much of a process lies in huge pages."""

import re
from collections.abc import Mapping
from pathlib import Path

import psutil

TUNABLES = "GLIBC_TUNABLES"


def huge_bytes(pid: int) -> int | None:
    """Anonymous memory of a process in huge pages; None where the system does not tell, or the process is gone."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii")
    except OSError:
        return None
    found = re.search(r"^AnonHugePages:\s+(\d+) kB$", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def same_as(pid: int) -> Mapping[str, str]:
    """The environment by which another process has its memory in the pages that this one has it in."""
    return {TUNABLES: psutil.Process(pid).environ().get(TUNABLES, "")}
