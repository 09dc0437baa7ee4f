"""The Unity package, as far as it can be seen without Unity: its `.meta` files, JSON files and texts."""

import gzip
import io
import json
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path, PurePosixPath

import pytest
import tomli
from pack import archive, contents, named

ROOT = Path(__file__).parents[2]
META = ROOT / "clients/unity/meta.py"
PACKAGE = ROOT / "clients/unity/dev.vramd.unity"
FOREIGN = {"UnityEngine.TestRunner", "UnityEditor.TestRunner", "YetAnotherHttpHandler"}
"""Assemblies of Unity's test framework, and of a package that may be there; a missing one is ignored."""
GUID = re.compile(r"^guid: ([0-9a-f]{32})$", re.MULTILINE)


def run_meta(script: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, str(script), *arguments], capture_output=True, text=True, check=False)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The script and the package, to be changed."""
    shutil.copytree(PACKAGE, tmp_path / PACKAGE.name)
    return Path(shutil.copy(META, tmp_path))


def test_every_meta_file_is_as_the_script_writes_it() -> None:
    checked = run_meta(META, "--check")
    assert checked.returncode == 0, checked.stderr


def test_a_second_run_of_the_script_changes_nothing(copy: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in copy.parent.rglob("*")}
    assert run_meta(copy).returncode == 0
    assert {path: path.stat().st_mtime_ns for path in copy.parent.rglob("*")} == before


def test_the_script_writes_what_is_missing_and_takes_away_what_has_no_file(copy: Path) -> None:
    package = copy.parent / PACKAGE.name
    (package / "Runtime/New.cs").write_text("")
    (package / "Runtime/Old.cs.meta").write_text("guid: 0\n")
    (package / "Samples~/01-HelloChat/Left.cs").write_text("")
    said = run_meta(copy, "--check")
    assert said.returncode == 1
    assert "New.cs.meta" in said.stderr
    assert "Old.cs.meta" in said.stderr
    assert "Left" not in said.stderr
    assert run_meta(copy).returncode == 0
    assert run_meta(copy, "--check").returncode == 0
    assert not (package / "Runtime/Old.cs.meta").exists()


def test_no_two_files_share_a_guid() -> None:
    metas = sorted(PACKAGE.rglob("*.meta"))
    guids = [found.group(1) for meta in metas if (found := GUID.search(meta.read_text("utf-8")))]
    assert len(metas) > 20
    assert len(set(guids)) == len(metas)


def test_what_an_assembly_refers_to_exists() -> None:
    definitions = [json.loads(file.read_text("utf-8")) for file in PACKAGE.rglob("*.asmdef")]
    own = {definition["name"] for definition in definitions}
    assert len(own) == 4
    for definition in definitions:
        assert set(definition["references"]) <= own | FOREIGN, definition["name"]
        assert definition["rootNamespace"].startswith("Vramd.Unity")


def test_an_assembly_has_the_name_of_its_file() -> None:
    for file in PACKAGE.rglob("*.asmdef"):
        assert json.loads(file.read_text("utf-8"))["name"] == file.stem


def test_the_manifest_is_valid() -> None:
    manifest = json.loads((PACKAGE / "package.json").read_text("utf-8"))
    project = tomli.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert manifest["name"] == PACKAGE.name
    assert manifest["version"] == project["version"]
    assert re.fullmatch(r"\d{4}\.\d", manifest["unity"])
    for sample in manifest["samples"]:
        assert list((PACKAGE / sample["path"]).glob("*.cs")), sample["path"]
    folders = {PurePosixPath(sample["path"]).name for sample in manifest["samples"]}
    assert folders == {path.name for path in (PACKAGE / "Samples~").iterdir()}


def test_the_package_has_the_licence_of_the_project() -> None:
    assert (PACKAGE / "LICENSE.md").read_text("utf-8") == (ROOT / "LICENSE").read_text("utf-8")


def test_no_line_of_the_sources_is_too_long() -> None:
    files = [f for f in (ROOT / "clients/unity").rglob("*.cs") if "obj" not in f.parts]
    long = [f"{f.name}: {line}" for f in files for line in f.read_text("utf-8").splitlines() if len(line) > 120]
    assert long == []


def test_the_packed_package_has_the_libraries_as_plugins() -> None:
    packed = archive(contents(PACKAGE, {"One.dll": b"one"}))
    assert packed == archive(contents(PACKAGE, {"One.dll": b"one"}))
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(packed))) as tar:
        names = set(tar.getnames())
        plugin = tar.extractfile("package/Plugins/One.dll.meta")
        assert plugin
        assert b"PluginImporter" in plugin.read()
    assert {"package/package.json", "package/README.md", "package/Plugins.meta", "package/Plugins/One.dll"} <= names
    assert "package/Runtime/VramdHost.cs.meta" in names
    imported = {name for name in names if "~/" not in name and not name.endswith(".meta")}
    assert {f"{name}.meta" for name in imported} <= names


def test_the_libraries_of_the_readme_are_found() -> None:
    found = named((PACKAGE / "README.md").read_text("utf-8"))
    assert {"Vramd.Client.dll", "Google.Protobuf.dll"} < found
    assert not {name for name in found if name.startswith("VramdHost")}


def test_the_readme_begins_with_what_was_never_run() -> None:
    begins = (PACKAGE / "README.md").read_text("utf-8").split("## ")[0]
    assert "No Unity editor has ever opened this package" in begins
    assert "Never run:" in begins
    assert "12. " in begins
