"""vramd installed in ways that users install it, each apart from the environment that runs the tests.

Only vramd itself is installed. What it depends on is lent by the running interpreter: links to the distributions that
the wheel's own metadata asks for, and to no others.
"""

import os
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from email import message_from_string
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from zipfile import ZipFile

from packaging.requirements import Requirement

BOUND_S = 100.0
ROOT = Path(__file__).parents[2]

VENV_SCHEME = "nt" if sys.platform == "win32" else "posix_prefix"

PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")


def clean_environment(**more: str) -> dict[str, str]:
    """What this process has, less what would lead Python or vramd elsewhere."""
    strange = ("VRAMD_", "PYTHON", "COV_")
    return {name: value for name, value in os.environ.items() if not name.startswith(strange)} | more


@dataclass(frozen=True)
class Installation:
    """Where it is, and how its Python is called."""

    python: Path
    packages: Path
    """The folder that pip installed into."""
    script: Path
    """The command `vramd`."""
    environment: Mapping[str, str] = field(default_factory=dict)

    def run(
        self, *command: str | Path, cwd: Path, environment: Mapping[str, str] | None = None
    ) -> "subprocess.CompletedProcess[str]":
        """Runs to the end; says nothing of failures."""
        return subprocess.run(
            command,
            cwd=cwd,
            env=clean_environment(**self.environment, **(environment or {})),
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=BOUND_S,
            check=False,
        )


def wheel(folder: Path) -> Path:
    """Builds the wheel of this source tree."""
    _checked([*PIP, "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)])
    (built,) = folder.glob("vramd-*.whl")
    return built


def metadata(built: Path) -> Sequence[str]:
    """The requirements of a wheel, as they stand in it."""
    with ZipFile(built) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return message_from_string(archive.read(name).decode()).get_all("Requires-Dist", [])


def dependencies(folder: Path, built: Path, extra: str = "") -> Path:
    """A folder with links to what the wheel asks for, with one extra or none, and with all that this asks for."""
    folder.mkdir()
    wanted = _wanted(metadata(built), {extra})
    seen: set[str] = set()
    while wanted:
        requirement = wanted.pop()
        if requirement.name in seen:
            continue
        seen.add(requirement.name)
        try:
            found = distribution(requirement.name)
        except PackageNotFoundError as error:
            raise AssertionError(f"{requirement} is asked for and not installed here") from error
        tops = {file.parts[0] for file in found.files or () if file.parts[0] not in ("..", "__pycache__")}
        for top in tops:
            if not (folder / top).exists():
                (folder / top).symlink_to(str(found.locate_file(top)))
        wanted += _wanted(found.requires or (), requirement.extras or {""})
    return folder


def _wanted(texts: Sequence[str], extras: set[str]) -> list[Requirement]:
    found = map(Requirement, texts)
    return [r for r in found if r.marker is None or any(r.marker.evaluate({"extra": extra}) for extra in extras)]


def in_venv(folder: Path, what: Sequence[str], lent: Path) -> Installation:
    """A fresh virtual environment; `what` is for pip."""
    _checked([sys.executable, "-m", "venv", "--without-pip", str(folder)])
    names = {"base": str(folder), "platbase": str(folder)}
    scripts = Path(sysconfig.get_path("scripts", VENV_SCHEME, names))
    packages = Path(sysconfig.get_path("purelib", VENV_SCHEME, names))
    python = scripts / Path(sys.executable).name
    _checked([*PIP, "--python", str(python), "install", "--quiet", "--no-deps", *what])
    (packages / "lent.pth").write_text(f"{lent}\n", "utf-8")
    return Installation(python, packages, scripts / "vramd")


def in_user_site(folder: Path, built: Path, lent: Path) -> Installation:
    """`pip install --user` with an interpreter that is no virtual environment's."""
    # The Python of a virtual environment is a link to the one it was made with.
    python = Path(sys.executable).resolve()
    # Where the system guards its Python: this folder is none of its own.
    own = {"PYTHONUSERBASE": str(folder), "PIP_BREAK_SYSTEM_PACKAGES": "1"}
    environment = clean_environment(**own)
    command = [*PIP, "--python", str(python), "install", "--quiet", "--user", "--no-deps", "--ignore-installed"]
    _checked([*command, "--no-warn-script-location", str(built)], environment)
    scheme = sysconfig.get_preferred_scheme("user")
    packages = Path(sysconfig.get_path("purelib", scheme, {"userbase": str(folder)}))
    scripts = Path(sysconfig.get_path("scripts", scheme, {"userbase": str(folder)}))
    (packages / "lent.pth").write_text(f"{lent}\n", "utf-8")
    return Installation(python, packages, scripts / "vramd", own)


def _checked(command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
    done = subprocess.run(
        command, env=environment or clean_environment(), capture_output=True, text=True, timeout=BOUND_S, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
