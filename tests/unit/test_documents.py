"""What the documents say is what is there."""

import ast
import os
import re
import stat
from pathlib import Path

import pytest
from support import cli_page, config_table
from support.error_table import FILE, table
from vramd_supervisor.settings.settings_file import Flags, load_config

ROOT = Path(__file__).parents[2]
SUPERVISOR = ROOT / "supervisor/vramd_supervisor"
README = (ROOT / "README.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_table_of_errors_is_fresh() -> None:
    assert FILE.read_text("utf-8") == table(), "run: python tests/support/error_table.py"


def test_the_table_of_the_configuration_is_fresh() -> None:
    assert config_table.FILE.read_text("utf-8") == config_table.page(), "run: python tests/support/config_table.py"


def test_ci_runs_the_line_for_the_tests_and_nothing_else() -> None:
    (line,) = (line for block in blocks("sh") for line in block.splitlines() if "tests/check.py" in line)
    script = ROOT / ".ci" / "run"
    steps = [step for step in script.read_text("utf-8").splitlines() if step and not step.startswith("#")]
    assert steps[-1] == line
    before = [step.split()[0] for step in steps[:-1] if not step.startswith(" ")]
    assert before == ["set", "cd", "beside=$PWD/../shared", "if", "if", "fi"], "what lies beside the clone, no more"
    assert os.name == "nt" or script.stat().st_mode & stat.S_IXUSR


def test_the_example_of_a_configuration_can_be_read(tmp_path: Path) -> None:
    (example,) = blocks("toml")
    file = tmp_path / "vramd.toml"
    file.write_text(example, "utf-8")
    config = load_config(file, {}, Flags())
    assert config.models["talker"].pinned
    assert config.devices["card"].budget == 7 << 30


def test_the_example_of_a_program_compiles() -> None:
    (example,) = blocks("python")
    compile(example, "README.md", "exec")


PAGES = sorted(path for folder in (ROOT, ROOT / "docs") for path in folder.glob("*.md"))
UNBOUNDED = {"CHANGELOG.md"}
MOST_COLUMNS = 100
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def prose(text: str) -> list[str]:
    """The lines of a page that are neither code, nor a table, nor made by `vramd bench`."""
    text = re.sub(r"<!-- bench -->.*?<!-- /bench -->|```.*?```", "", text, flags=re.DOTALL)
    return [line for line in text.splitlines() if not line.startswith("|")]


def test_the_page_of_the_command_line_is_fresh() -> None:
    assert cli_page.FILE.read_text("utf-8") == cli_page.page(), "run: python tests/support/cli_page.py"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_prose_fits_a_hundred_columns(page: Path) -> None:
    long = [line for line in prose(page.read_text("utf-8")) if len(line) > MOST_COLUMNS]
    assert not long or page.name in UNBOUNDED


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_links_to_is_there(page: Path) -> None:
    text = page.read_text("utf-8")
    linked = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    for name, _, anchor in (link.partition("#") for link in linked):
        target = page.parent / name if name else page
        assert target.exists(), f"{page.name} links to {name}"
        headings = re.findall(r"^#+ (.+)$", target.read_text("utf-8"), re.MULTILINE) if anchor else []
        assert not anchor or anchor in {heading.lower().replace(" ", "-") for heading in headings}, anchor


def test_the_index_has_every_page() -> None:
    index = (ROOT / "docs" / "index.md").read_text("utf-8")
    assert not [page.name for page in (ROOT / "docs").glob("*.md") if f"({page.name})" not in index + "(index.md)"]


def test_the_readme_has_every_page() -> None:
    assert not [page.name for page in (ROOT / "docs").glob("*.md") if f"| [docs/{page.name}]" not in README]


def test_the_map_has_every_module_of_the_core() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    _, _, core = page.partition("## The core")
    table = core.partition("##")[0]
    modules = (SUPERVISOR / "core").glob("[!_]*.py")
    assert not [module.name for module in modules if f"`core/{module.name}`" not in table]


def names_in(file: Path) -> set[str]:
    """What a file defines: what is assigned at its top, functions, classes, and methods as CLASS.METHOD."""
    tree = ast.parse(file.read_text("utf-8"))
    found = {name.id for node in tree.body for name in ast.walk(node) if isinstance(name, ast.Name)}
    for node in ast.walk(tree):
        if isinstance(node, DEFINITIONS):
            found |= {node.name, *(f"{node.name}.{one.name}" for one in node.body if isinstance(one, DEFINITIONS))}
    return found


def test_the_map_names_files_and_what_is_in_them() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    named = re.findall(r"`([\w/]+\.py)(?::([\w.]+))?`", page)
    assert named
    for path, name in named:
        file = next((one for base in (SUPERVISOR, ROOT) if (one := base / path).exists()), None)
        assert file, f"docs/architecture.md: there is no {path}"
        assert not name or name in names_in(file), f"docs/architecture.md: {path} has no {name}"


def test_each_fault_is_shown_by_a_test_or_says_why_not() -> None:
    tests = {file.stem: file for file in (ROOT / "tests").glob("*/test_*.py")}
    page = (ROOT / "docs" / "faults.md").read_text("utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    faults = [row for row in rows if not row.startswith(("| fault |", "| --- |"))]
    assert faults
    for row in faults:
        assert row.count(" |") == 3, f"docs/faults.md: a row has three cells: {row}"
        named = re.findall(r"`(test_\w+)::(test_\w+)`", row)
        assert named or "not shown: " in row, f"docs/faults.md: no test, and no reason why: {row}"
        for file, test in named:
            assert file in tests, f"docs/faults.md: there is no {file}"
            assert test in names_in(tests[file]), f"docs/faults.md: {file} has no {test}"


def test_the_files_that_are_named_are_there() -> None:
    named = [
        name for page in PAGES for name in re.findall(r"`((?:tests|proto|docs)/[\w./]+)`", page.read_text("utf-8"))
    ]
    assert named
    assert not [name for name in named if not (ROOT / name).exists()]
