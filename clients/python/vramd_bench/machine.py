"""Where figures were measured: machine, versions, commit."""

import platform
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil
from vramd_supervisor.offline.doctor import cpu_name

PACKAGES = ("vramd", "llama-cpp-python", "grpcio", "protobuf")
OWN_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Machine:
    system: str
    cpu: str
    cores: int
    """CPU threads of the machine."""
    ram_bytes: int
    python: str
    versions: Mapping[str, str]
    commit: str | None
    """Commit of the checkout that vramd runs from, with "+" if something in it was changed; None: it is none."""


def look() -> Machine:
    """Describes this machine."""
    return Machine(
        system=" ".join((platform.system(), *re.findall(r"^\d+\.\d+", platform.release()))),
        cpu=cpu_name(),
        cores=psutil.cpu_count() or 1,
        ram_bytes=psutil.virtual_memory().total,
        python=platform.python_version(),
        versions={name: found for name in PACKAGES if (found := _version(name))},
        commit=commit(OWN_FOLDER),
    )


def commit(package: Path) -> str | None:
    """The commit of vramd's repository if the package lies in a checkout of it; "+" marks changes."""
    root = package.parents[2]
    git = shutil.which("git")
    if git is None or package != root / "clients/python/vramd_bench" or not (root / ".git").exists():
        return None
    named = _said([git, "-C", str(root), "rev-parse", "--short=12", "HEAD"])
    changed = _said([git, "-C", str(root), "status", "--porcelain", "--untracked-files=no"])
    return f"{named}+" if named and changed else named


def _said(command: list[str]) -> str | None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    return done.stdout.strip() if done.returncode == 0 else None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
