"""Where a worker's packages come from: from where its supervisor takes them, in the same order."""

import sys
from pathlib import Path

import pytest
import vramd_worker
from vramd_supervisor.workers.process import import_paths

HOME = str(Path(vramd_worker.__path__[0]).parent)


def test_the_order_is_that_of_this_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    paths = import_paths.__wrapped__()
    assert paths.index(str(tmp_path)) < paths.index(HOME)


def test_what_this_process_found_by_other_means_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry and str(Path(entry).absolute()) != HOME])
    assert import_paths.__wrapped__()[0] == HOME
