"""A soak holds its bars, and misses them where something is wrong. `tests/soak.py` makes longer ones."""

import sys
from pathlib import Path

import pytest

pytest.importorskip("llama_cpp")

from support.insight import is_possible
from support.programs import python

pytestmark = pytest.mark.skipif(not is_possible(), reason="needs glibc to tell what is in use")

SOAK = Path(__file__).parents[1] / "soak.py"
LEFT = "descriptors more than before"
GROWN = "memory at rest, more than before"


def soaked(*arguments: str) -> tuple[int, list[str]]:
    """Its exit code, and the bars that it missed."""
    done = python(str(SOAK), *arguments, bound_s=500)
    sys.stdout.write(done.stdout + done.stderr)
    return done.returncode, [line for line in done.stdout.splitlines() if line.endswith("MISSED")]


@pytest.mark.timeout(600)
def test_faults_cost_what_they_hit_and_leave_nothing_behind() -> None:
    assert soaked("--minutes", "1.5") == (0, [])


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("planted", "bar"), [("descriptors", LEFT), ("memory", GROWN)])
def test_a_leak_misses_its_bar(planted: str, bar: str) -> None:
    code, missed = soaked("--minutes", "2", "--plant", planted)
    assert code == 1
    assert [line for line in missed if line.startswith(bar)], missed
