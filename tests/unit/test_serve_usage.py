"""`vramd serve` called wrongly: it says so as every command does, and starts nothing."""

from pathlib import Path

import pytest
from vramd_cli.main import vramd
from vramd_supervisor import main as serving


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[object, str, str]:
    with pytest.raises(SystemExit) as ended:
        vramd.main(["serve", *arguments], prog_name="vramd")
    captured = capsys.readouterr()
    return ended.value.code, captured.out, captured.err


@pytest.mark.parametrize(
    "arguments", [("--prot", "1"), ("--port", "x"), ("--port", "70000"), ("extra",), ("--budget", "host"), ("--host",)]
)
def test_a_usage_error_looks_as_those_of_all_commands(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = told(capsys, *arguments)
    assert (code, out) == (2, "")
    usage, hint, empty, why = err.splitlines()
    assert usage.startswith("Usage: vramd serve")
    assert (hint, empty) == ("Try 'vramd serve --help'.", "")
    assert why.startswith("vramd: ")


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_its_help(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = told(capsys, option)
    assert (code, err) == (0, "")
    assert "--runtime-dir" in out


def test_a_file_is_no_folder_of_models(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "m.gguf"
    file.write_bytes(b"GGUF")
    for arguments, variable in ((("--models", str(file)), ""), ((), str(file))):
        monkeypatch.setenv("VRAMD_MODELS", variable)
        code, _, err = told(capsys, *arguments)
        assert code == 2
        assert f"{file} is a file; --models takes the folder that it is in" in err


def test_an_interrupt_before_the_start_is_over_is_no_failure_of_its_own(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(serving, "configuration", interrupted)
    code, out, err = told(capsys)
    assert (code, out, err.strip()) == (130, "", "")
