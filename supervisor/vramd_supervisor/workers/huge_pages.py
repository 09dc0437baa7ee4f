"""Huge pages for the memory of workers: what the kernel gives, and how a worker asks for them.

Linux with glibc only. The C library asks for each large piece of memory before it is touched, so that weights, KV cache
and scratch lie in pages of 2 MiB from the start. To be asked later costs more: the kernel then copies what it has
given in pages of 4 KiB.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

KERNEL_FOLDER = Path("/sys/kernel/mm/transparent_hugepage")
VARIABLE = "GLIBC_TUNABLES"
_TUNABLE = "glibc.malloc.hugetlb"
_OLDEST_GLIBC = (2, 35)
"""The first that has the tunable."""


def kernel_mode(folder: Path = KERNEL_FOLDER) -> str:
    """Returns the kernel's setting, "always", "madvise" or "never"; empty where there is none."""
    for_all, of_size = _chosen(folder / "enabled"), _chosen(folder / "hugepages-2048kB/enabled")
    return for_all if of_size in ("", "inherit") else of_size


def _chosen(file: Path) -> str:
    try:
        words = file.read_text("ascii", "replace").split()
    except OSError:
        return ""
    return next((word.strip("[]") for word in words if word.startswith("[")), "")


def library_asks() -> bool:
    """Whether the C library of this system can ask for huge pages."""
    if sys.platform == "linux":
        try:
            name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
        except (ValueError, OSError):  # another C library does not know the name
            return False
        numbers = tuple(int(number) for number in version.split(".")[:2] if number.isdigit())
        return name == "glibc" and numbers >= _OLDEST_GLIBC
    else:  # noqa: RET505  mypy takes what follows a platform's return for unreachable
        return False


def given() -> bool:
    """Whether a worker that asks for huge pages may get them."""
    return library_asks() and kernel_mode() in ("always", "madvise")


def asking(environment: Mapping[str, str]) -> dict[str, str]:
    """Returns the environment of a process whose C library asks for huge pages; a tunable that is set there stays."""
    set_already = environment.get(VARIABLE, "")
    if _TUNABLE in set_already:
        return dict(environment)
    tunables = [one for one in (set_already, f"{_TUNABLE}=1") if one]
    return {**environment, VARIABLE: ":".join(tunables)}
