"""Makes the Unity package as one file, with the libraries of .NET in it, for projects without NuGetForUnity.

    python clients/unity/pack.py [--check] [FOLDER]

It needs the SDK of .NET, and writes `dev.vramd.unity-VERSION.tgz` into the folder, the current one by default.
`--check` writes nothing and says whether the package's README names the libraries that belong into it.
"""

import gzip
import io
import json
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from meta import HERE, PACKAGE, imported, meta

CLIENT = HERE.parent / "csharp/src/Vramd.Client"
PLUGINS = PurePosixPath(PACKAGE, "Plugins")
_NAMED = re.compile(r"^\| `([\w.]+)` \|", re.MULTILINE)


def libraries(folder: Path) -> dict[str, bytes]:
    """Vramd.Client for netstandard2.1 and every library that it needs there, built into a folder."""
    command = ("dotnet", "publish", str(CLIENT), "-f", "netstandard2.1", "-c", "Release", "-o", str(folder))
    subprocess.run([*command, "-nodeReuse:false", "--nologo", "-v", "q"], check=True, stdout=sys.stderr)
    return {file.name: file.read_bytes() for file in sorted(folder.glob("*.dll"))}


def named(readme: str) -> set[str]:
    """The libraries that the README's table of them names."""
    _, _, table = readme.partition("| library | why |\n")
    return {f"{name}.dll" for name in _NAMED.findall(table.partition("\n\n")[0])}


def contents(package: Path, dlls: Mapping[str, bytes]) -> dict[PurePosixPath, bytes]:
    """All files of the package, by their paths in it, with these libraries as plugins."""
    files = {
        PurePosixPath(path.relative_to(package).as_posix()): path.read_bytes()
        for path in package.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }
    files[PurePosixPath("Plugins.meta")] = meta(PLUGINS, folder=True).encode()
    for name, content in dlls.items():
        assert imported(name)
        files[PurePosixPath("Plugins", name)] = content
        files[PurePosixPath("Plugins", f"{name}.meta")] = meta(PLUGINS / name).encode()
    return files


def archive(files: Mapping[PurePosixPath, bytes]) -> bytes:
    """The files as npm packs them: below `package/`. The same files give the same bytes."""
    packed = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for path, content in sorted(files.items()):
            entry = tarfile.TarInfo(str(PurePosixPath("package") / path))
            entry.size = len(content)
            entry.mode = 0o644
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def main(arguments: list[str]) -> int:
    """Packs or checks; returns the exit code."""
    package = HERE / PACKAGE
    with tempfile.TemporaryDirectory(prefix="vramd-unity-") as folder:
        dlls = libraries(Path(folder))
    if wrong := named((package / "README.md").read_text("utf-8")) ^ set(dlls):
        sys.stderr.write(f"the README's table and the libraries differ in {', '.join(sorted(wrong))}\n")
        return 1
    if "--check" not in arguments:
        version = json.loads((package / "package.json").read_text("utf-8"))["version"]
        file = Path(arguments[0] if arguments else ".") / f"{PACKAGE}-{version}.tgz"
        file.write_bytes(archive(contents(package, dlls)))
        sys.stdout.write(f"{file}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
