"""Writes the `.meta` file of every file and folder of the Unity package.

    python clients/unity/meta.py [--check]

The GUID by which Unity's scenes and assets name a file is made from its path in this folder, so that a file keeps its
GUID and nothing of Unity is needed. `--check` writes nothing and names what is not as it would be written.
"""

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

HERE = Path(__file__).parent
PACKAGE = "dev.vramd.unity"
_MONO = """\
  externalObjects: {}
  serializedVersion: 2
  defaultReferences: []
  executionOrder: 0
  icon: {instanceID: 0}
"""
_PLUGIN = """\
  externalObjects: {}
  serializedVersion: 2
  iconMap: {}
  executionOrder: {}
  defineConstraints: []
  isPreloaded: 0
  isOverridable: 0
  isExplicitlyReferenced: 0
  validateReferences: 1
  platformData:
  - first:
      Any:
    second:
      enabled: 1
      settings: {}
"""
_OTHER = "  externalObjects: {}\n"
_IMPORTERS = {
    ".cs": ("MonoImporter", _MONO),
    ".asmdef": ("AssemblyDefinitionImporter", _OTHER),
    ".dll": ("PluginImporter", _PLUGIN),
    ".md": ("TextScriptImporter", _OTHER),
    ".json": ("TextScriptImporter", _OTHER),
    ".xml": ("TextScriptImporter", _OTHER),
}
_END = "  userData:\n  assetBundleName:\n  assetBundleVariant:\n"


def guid(path: PurePosixPath) -> str:
    """The GUID of a file or folder, by its path in `clients/unity`."""
    return hashlib.sha256(f"vramd:{path}".encode()).hexdigest()[:32]


def meta(path: PurePosixPath, *, folder: bool = False) -> str:
    """The text of the `.meta` file of a file or folder. Raises KeyError for a kind of file that is not known."""
    head = f"fileFormatVersion: 2\nguid: {guid(path)}\n"
    if folder:
        return f"{head}folderAsset: yes\nDefaultImporter:\n{_OTHER}{_END}"
    importer, settings = ("PackageManifestImporter", _OTHER) if path.name == "package.json" else _IMPORTERS[path.suffix]
    return f"{head}{importer}:\n{settings}{_END}"


def imported(name: str) -> bool:
    """Whether Unity imports files and folders of this name; it does neither `.git` nor `Samples~`."""
    return not name.startswith(".") and not name.endswith("~")


def wanted(package: Path) -> dict[Path, str]:
    """The `.meta` files of a package folder, with their texts."""
    found = {}
    for path in _assets(package):
        name = PurePosixPath(path.relative_to(package.parent).as_posix())
        found[path.with_name(f"{path.name}.meta")] = meta(name, folder=path.is_dir())
    return found


def _assets(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if imported(path.name) and path.suffix != ".meta":
            yield path
            if path.is_dir():
                yield from _assets(path)


def main(package: Path, *, check: bool) -> int:
    """Writes the files, or says what is wrong with them; returns the exit code."""
    metas = wanted(package)
    wrong = [file for file, text in metas.items() if not file.is_file() or file.read_text("utf-8") != text]
    left = [file for file in sorted(package.rglob("*.meta")) if file not in metas]
    if check:
        for file in (*wrong, *left):
            sys.stderr.write(f"{file}: not as clients/unity/meta.py writes it\n")
        return 1 if wrong or left else 0
    for file in wrong:
        file.write_text(metas[file], "utf-8", newline="\n")
    for file in left:
        file.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main(HERE / PACKAGE, check="--check" in sys.argv[1:]))
