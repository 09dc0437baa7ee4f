"""What the .NET client has of Python's definitions is what they are now."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import vramd
from vramd.failures import BY_CODE, BY_REASON
from vramd_common.reasons import Reason

CSHARP = Path(__file__).parents[2] / "clients" / "csharp"
GENERATED = CSHARP / "src" / "Vramd.Client" / "Generated"


def generated(name: str) -> str:
    return (GENERATED / f"{name}.g.cs").read_text("utf-8")


def test_the_files_are_what_the_generator_makes() -> None:
    command = [sys.executable, str(CSHARP / "generate.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_is_a_constant_and_gives_the_class_of_python(reason: Reason) -> None:
    constant = re.search(rf'public const string (\w+) = "{reason.name}";', generated("Reasons"))
    assert constant
    arm = re.search(rf"Reasons\.{constant[1]}\s+(?:or\s+Reasons\.\w+\s+)*=>\s+new (\w+)\(", generated("Exceptions"))
    assert arm and arm[1] == f"{BY_REASON[reason].__name__}Exception"


@pytest.mark.parametrize(("code", "kind"), BY_CODE.items())
def test_a_reason_of_the_future_gives_the_class_of_its_code(code: str, kind: type) -> None:
    assert f'"{code}" => new {kind.__name__}Exception(' in generated("Exceptions")


def test_every_class_of_errors_has_a_twin() -> None:
    classes = set(re.findall(r"public (?:sealed )?class (\w+)Exception :", generated("Exceptions")))
    errors = {name for name, one in vars(vramd.errors).items() if isinstance(one, type) and issubclass(one, Exception)}
    assert classes == errors - {"VramdError", "WrongContext"}
