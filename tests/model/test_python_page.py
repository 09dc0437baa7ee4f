"""docs/python.md says what happens: its examples run in order, and print what stands below them."""

import contextlib
import doctest
import io
import re
from pathlib import Path

import pytest
from support.supervisor_process import SupervisorProcess
from vramd_cli.play import FOLDER

PAGE = (Path(__file__).parents[2] / "docs" / "python.md").read_text("utf-8")
NOT_RUN = "<!-- not run"
EXAMPLE = re.compile(rf"({NOT_RUN}[^\n]*\n)?```python\n(.*?)```\n(?:\n```text\n(.*?)```)?", re.DOTALL)
OPTIONS = doctest.ELLIPSIS


def test_the_examples_print_what_the_page_says(monkeypatch: pytest.MonkeyPatch) -> None:
    # A process of a busy machine that is slow to end is no other than the page shows.
    configuration = f"[server]\nmodels = ['{FOLDER}']\n[scheduling]\nstop_s = 30.0\n[devices.host]\nbudget = '110MiB'\n"
    with SupervisorProcess(configuration) as supervisor:
        supervisor.ready()
        monkeypatch.setenv("VRAMD_RUNTIME_DIR", str(supervisor.folder.path))
        names: dict[str, object] = {}
        ran = 0
        for skipped, code, wanted in EXAMPLE.findall(PAGE):
            compiled = compile(code, "docs/python.md", "exec")
            if skipped:
                continue
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                exec(compiled, names)
            if wanted:
                found = printed.getvalue()
                assert doctest.OutputChecker().check_output(wanted, found, OPTIONS), f"{code}\nprinted\n{found}"
            ran += 1
    assert ran == PAGE.count("```python") - PAGE.count(NOT_RUN)
