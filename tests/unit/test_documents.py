"""What the documents say is what is there."""

import os
import re
import stat
from pathlib import Path

from support import config_table
from support.error_table import FILE, table
from vramd_cli.main import COMMANDS
from vramd_supervisor.settings.settings_file import Flags, load_config

ROOT = Path(__file__).parents[2]
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


def test_every_command_is_in_the_table() -> None:
    assert re.findall(r"^\| `(\w+)` \|", README, re.MULTILINE) == list(COMMANDS)


def test_the_files_that_are_named_are_there() -> None:
    named = re.findall(r"`((?:tests|proto|docs)/[\w./]+)`", README) + re.findall(r"\]\(([\w./]+)\)", README)
    assert named
    assert not [name for name in named if not (ROOT / name).exists()]
