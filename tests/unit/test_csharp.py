"""What the step `csharp` of `tests/check.py` counts, and what it says where there is no SDK of .NET."""

from pathlib import Path

import csharp
import pytest
from csharp import Ended, Tally


def test_without_an_sdk_it_is_left_out_and_passes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert csharp.main() == 0
    assert capsys.readouterr().out == "-- csharp: no .NET SDK here, left out\n"


def test_a_runtime_without_an_sdk_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    command = tmp_path / "dotnet"
    command.write_text("#!/bin/sh\n", "utf-8")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert csharp.left_out()
    command.write_text('#!/bin/sh\necho "10.0.401 [/usr/share/dotnet/sdk]"\n', "utf-8")
    assert not csharp.left_out()


PRINTED = """failed Vramd.Tests.ChatTests.A_text(of: "two (2) words") (2s 023ms)
  wanted 1, got 2
/tmp/Vramd.Tests.dll (net10.0|x64) failed with 1 error(s) (29s 999ms)
"""
SUMMARY = "Test run summary: Failed!\n  total: 9\n  failed: 1\n  succeeded: 6\n  skipped: 2\n  duration: 8s 659ms\n"


def test_the_last_line_counts_tests_and_what_is_no_test() -> None:
    tally = Tally()
    assert tally.one("the build", passed=True)
    assert str(tally) == "csharp: 1 passed, 0 failed, 0 skipped"
    tally.suite(Ended(2, PRINTED + SUMMARY))
    assert not tally.one("the sample", passed=False)
    assert str(tally).splitlines() == [
        'csharp: failed: Vramd.Tests.ChatTests.A_text(of: "two (2) words")',
        "csharp: failed: the sample",
        "csharp: 7 passed, 2 failed, 2 skipped",
    ]


@pytest.mark.parametrize("ended", [Ended(1, ""), Ended(0, ""), Ended(8, SUMMARY.replace("failed: 1", "failed: 0"))])
def test_a_run_of_tests_that_came_to_nothing_has_failed(ended: Ended) -> None:
    tally = Tally()
    tally.suite(ended)
    assert tally.failed == 1


def test_a_package_that_is_missing_or_of_another_version_is_named(tmp_path: Path) -> None:
    names = csharp.packages(tmp_path)
    assert f"Vramd.Client.{csharp.version()}.nupkg" in names
    (tmp_path / "Vramd.Client.0.0.0.nupkg").touch()
    (tmp_path / names[0]).touch()
    assert csharp.packages(tmp_path) == names[1:]
