"""Runs the tests that are marked `unprivileged` as a user without privileges, once, where check.py runs as root.

As root they could not fail: root reads and writes everything, and no limit of processes binds it. The user gets a copy
of the tree and an environment that imports from it; packages are copied only if that user cannot read them. Where there
is nothing to do (not root) or no way (no setpriv), a line says that it was left out.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
ID = 64_242
"""Of the user and the group: no account of any usual system has it, so no file belongs to it."""
MARK = "mark.unprivileged"
IMPORTED = ("proto", "supervisor", "worker", "clients/python", "clients/training")
NOT_COPIED = shutil.ignore_patterns(
    ".git", ".venv*", ".*_cache", "__pycache__", "*.gguf", "node_modules", "build", "dist"
)


def is_root() -> bool:
    if sys.platform == "win32":
        return False
    else:  # noqa: RET505  the types of each system are checked apart
        return os.geteuid() == 0


def left_out() -> str:
    """Why nothing is run here; empty if there is something to run."""
    if not is_root():
        return "not root: the other steps run without privileges already"
    if shutil.which("setpriv") is None:
        return "there is no setpriv here (util-linux)"
    return ""


def run(command: Sequence[str], cwd: Path, **more: str) -> int:
    """The exit code of a command of that user."""
    user = ["setpriv", f"--reuid={ID}", f"--regid={ID}", "--clear-groups"]
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TZ") if name in os.environ}
    return subprocess.run([*user, *command], cwd=cwd, env=kept | more, check=False).returncode


def readable(folder: Path, copy: Path, *without: str) -> Path:
    """The folder if that user can read it, else a copy; of files that do not change, links are enough."""
    if run(["test", "-r", str(folder)], Path("/")) == 0:
        return folder
    ignored = shutil.ignore_patterns("__pycache__", *without)
    return Path(shutil.copytree(folder, copy, symlinks=True, ignore=ignored, copy_function=_link))


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)


def environment(folder: Path, tree: Path) -> tuple[Path, Path]:
    """The interpreter of a new environment, and the folder of its libraries.

    It imports from the tree, then from the packages of this one.
    """
    base = readable(Path(sys.base_prefix), folder / "interpreter", "site-packages", "test", "share")
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    made = folder / "environment"
    subprocess.run([base / "bin" / name, "-m", "venv", "--without-pip", made], check=True)
    packages = [Path(entry) for entry in sys.path if Path(entry).name in {"site-packages", "dist-packages"}]
    found = [readable(one, folder / f"packages-{place}") for place, one in enumerate(packages)]
    paths = [*(tree / part for part in IMPORTED), *found]
    (site,) = made.glob("lib/python*/site-packages")
    (site / "tree.pth").write_text("".join(f"{path}\n" for path in paths), "utf-8")
    return made / "bin" / name, base / "lib"


def main() -> int:
    if why := left_out():
        print(f"left out: {why}")
        return 0
    # The path of a socket is short, so this folder's is.
    with tempfile.TemporaryDirectory(prefix="vu", dir="/tmp") as name:
        folder = Path(name)
        tree, home, scratch = folder / "tree", folder / "home", folder / "t"
        shutil.copytree(ROOT, tree, symlinks=True, ignore=NOT_COPIED)
        python, libraries = environment(folder, tree)
        for own in (home, scratch):
            own.mkdir(mode=0o700)
        subprocess.run(["chown", f"{ID}:{ID}", folder], check=True)
        subprocess.run(["chown", "-R", f"{ID}:{ID}", tree, home, scratch], check=True)
        files = [str(one) for one in sorted(tree.glob("tests/*/test_*.py")) if MARK in one.read_text("utf-8")]
        chosen = ["-m", "unprivileged and not long", "-p", "no:cacheprovider", *files, *sys.argv[1:]]
        # A copied interpreter would find the library of another one.
        variables = {"HOME": str(home), "TMPDIR": str(scratch), "LD_LIBRARY_PATH": str(libraries)}
        return run([str(python), "-m", "pytest", *chosen], tree, **variables)


if __name__ == "__main__":
    sys.exit(main())
