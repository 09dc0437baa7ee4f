"""The supervisor writes no core file: its memory has the tokens."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
from vramd_supervisor import main
from vramd_supervisor.settings.settings_file import Flags
def tell(*_):
    print(resource.getrlimit(resource.RLIMIT_CORE), file=sys.stderr)
    return 0
main._run = tell
sys.exit(main.run(None, Flags(), None))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="has no such limit")
def test_the_supervisor_writes_no_core_file() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stderr.strip(), done.returncode) == ("(0, 0)", 0)
