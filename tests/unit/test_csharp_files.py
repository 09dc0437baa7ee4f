"""What can be said of clients/csharp without an SDK of .NET: its documents, its versions, its projects."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import csharp
import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "clients/csharp"
PROJECTS = sorted(FOLDER.glob("*/*/*.csproj"))
DOCUMENTS = (ROOT / "README.md", FOLDER / "README.md")


def elements(file: Path, name: str) -> list[dict[str, str]]:
    return [element.attrib for element in ET.parse(file).iter(name)]


def snippets(page: Path) -> list[str]:
    return re.findall(r"```csharp\n(.*?)```", page.read_text("utf-8"), re.DOTALL)


def lines(text: str) -> str:
    """Without indentation and empty lines: a sample may have the snippet inside a block."""
    return "\n".join(stripped for line in text.splitlines() if (stripped := line.strip()))


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_snippet_is_the_text_of_a_sample(page: Path) -> None:
    samples = [lines(file.read_text("utf-8")) for file in FOLDER.glob("samples/*/*.cs")]
    if not samples:
        pytest.skip("there is no sample")
    assert snippets(page)
    other = [snippet for snippet in snippets(page) if not any(lines(snippet) in sample for sample in samples)]
    assert not other, f"in no file of clients/csharp/samples:\n{other[0]}"


def test_the_version_of_the_packages_is_that_of_pyproject() -> None:
    (version,) = ET.parse(FOLDER / "Directory.Build.props").iter("Version")
    pattern = re.search(r"'(\(\?m\)[^']+)'", version.text or "")
    assert pattern
    found = re.findall(pattern[1], (ROOT / "pyproject.toml").read_text("utf-8"))
    assert found == [csharp.version()]


def test_the_version_of_each_package_is_one_and_exact() -> None:
    versions = {
        one["Include"]: one["Version"] for one in elements(FOLDER / "Directory.Packages.props", "PackageVersion")
    }
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in versions.values())
    files = [*PROJECTS, *FOLDER.glob("*/Directory.Build.props")]
    used = [reference for file in files for reference in elements(file, "PackageReference")]
    assert used
    assert {one["Include"] for one in used} <= set(versions)
    assert not [one for one in used if "Version" in one or "VersionOverride" in one]


def test_the_solution_has_every_project() -> None:
    named = {(FOLDER / one["Path"]).resolve() for one in elements(FOLDER / "Vramd.slnx", "Project")}
    assert named == {*PROJECTS, *(ROOT / "clients/unity").glob("check/**/*.csproj")}
