"""A recording tells a new core what another one was told: the answers are the same, or it says where they part."""

import io
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from vramd_cli.main import vramd
from vramd_supervisor.core.events import CatalogueRead, DeviceSampled, Requested, Started
from vramd_supervisor.core.ledger import Account
from vramd_supervisor.core.state import RequestKind
from vramd_supervisor.domain.catalog import Model, Simulation
from vramd_supervisor.domain.config import Config, SchedulingConfig
from vramd_supervisor.simulation.recorder import LOST, Header, LineFile, Recorder, RecordingFile
from vramd_supervisor.simulation.replay import UnreadableRecordingError, replay
from vramd_supervisor.threads.serial_calls import NoAnswerError

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Of half an hour in which models drive each other out."""
    file = tmp_path_factory.mktemp("recording") / "game.jsonl"
    files = [str(EXAMPLES / f"game-and-copilot{end}.toml") for end in ("", "-traffic")]
    done = CliRunner().invoke(vramd, ["simulate", "--record", str(file), *files], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return file.read_text("utf-8").splitlines(keepends=True)


HEADER = Header.of(Config(), {"host": Account(1 << 33, 1 << 33)}, 2, 1 << 20)


def recorder_to(file: LineFile, header: Header = HEADER) -> Recorder:
    return Recorder(header, header.core().handle, file)


def test_a_recording_happens_again(lines: list[str]) -> None:
    verdict = replay(lines)
    assert verdict.difference is None
    assert verdict.events == (len(lines) - 1) // 2
    assert verdict.actions == sum(len(json.loads(line).get("actions", ())) for line in lines)
    assert not verdict.unanswered


def test_an_action_that_is_another_one_is_found_with_its_event(lines: list[str]) -> None:
    number = next(number for number, line in enumerate(lines) if '"actions":' in line and '"is":"Evicted"' in line)
    changed = [*lines[:number], lines[number].replace('"is":"Evicted"', '"is":"Spared"'), *lines[number + 1 :]]
    difference = replay(changed).difference
    assert difference is not None
    assert difference.event_number == number // 2
    assert difference.event == json.dumps(json.loads(lines[number - 1])["event"])
    assert '"Spared"' in difference.recorded
    assert '"Evicted"' in difference.now


@pytest.mark.parametrize("more", [True, False])
def test_an_action_too_many_or_too_few_is_a_difference(lines: list[str], more: bool) -> None:
    answers = json.loads(lines[4])["actions"]
    changed = [*answers, {"is": "Exit"}] if more else answers[:-1]
    difference = replay([*lines[:4], json.dumps({"actions": changed}) + "\n", *lines[5:]]).difference
    assert difference is not None
    assert difference.event_number == 2
    assert (difference.recorded if more else difference.now) != ""
    assert (difference.now if more else difference.recorded) == ""


def test_a_core_that_decides_otherwise_is_found(lines: list[str]) -> None:
    header = json.loads(lines[0])
    header["accounts"]["card"].update(total_bytes=24 << 30, budget_bytes=24 << 30)
    difference = replay([json.dumps(header) + "\n", *lines[1:]]).difference
    assert difference is not None


def test_a_fault_of_the_core_is_the_last_event_of_a_recording_and_happens_again() -> None:
    file = io.StringIO()
    recorder = recorder_to(file)
    recorder.handle(Started(1.0))
    with pytest.raises(KeyError):
        recorder.handle(DeviceSampled(2.0, "no such device", 1, 1))
    written = file.getvalue().splitlines(keepends=True)
    assert json.loads(written[-1])["event"]["device"] == "no such device"
    difference = replay(written).difference
    assert difference is not None
    assert difference.event_number == 2
    assert difference.now.startswith("KeyError")


def test_what_must_hold_of_a_core_is_checked_after_each_event() -> None:
    file = io.StringIO()
    recorder = recorder_to(file)
    recorder.handle(CatalogueRead(1.0, {"a": Model("a", Simulation({"host": 1 << 30}, 1.0, 1.0, (), False))}))
    for _ in range(2):  # one id for two requests: no loop does that
        recorder.handle(Requested(2.0, 7, "a", RequestKind.RUN, 60.0))
    difference = replay(file.getvalue().splitlines(keepends=True)).difference
    assert difference is not None
    assert difference.event_number == 3
    assert difference.now.startswith("AssertionError")


def test_a_recording_that_was_broken_off_is_compared_as_far_as_it_goes(lines: list[str]) -> None:
    torn = replay([*lines[:11], lines[11][:20]])
    assert (torn.events, torn.cut_off) == (5, True)
    assert not replay(lines).cut_off
    verdict = replay(lines[:12])
    assert verdict.unanswered
    assert verdict.difference is None
    assert verdict.events == 6


def test_a_recording_has_all_that_the_core_was_made_of() -> None:
    file = io.StringIO()
    recorder_to(file, replace(HEADER, config=Config(scheduling=SchedulingConfig(queue_total=7))))
    header = json.loads(file.getvalue())
    assert header["config"] == {"scheduling": {"queue_total": 7}}
    assert header["accounts"] == {"host": {"total_bytes": 1 << 33, "budget_bytes": 1 << 33}}
    assert (header["usable_cores"], header["spare_bytes"], header["format"]) == (2, 1 << 20, 1)


class FullDisk(io.StringIO):
    """Takes the first lines, then no more."""

    def __init__(self, lines: int) -> None:
        super().__init__()
        self.left = lines

    def write(self, text: str) -> int:
        self.left -= 1
        if self.left < 0:
            raise OSError(28, "No space left on device")
        return super().write(text)


def test_a_full_disk_ends_the_recording_and_not_the_supervisor(caplog: pytest.LogCaptureFixture) -> None:
    file = FullDisk(lines=2)
    recorder, alone = recorder_to(file), HEADER.core()
    for at_s in (1.0, 2.0, 3.0):
        assert recorder.handle(Started(at_s)) == alone.handle(Started(at_s))
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "No space left" in caplog.text


@pytest.mark.skipif(sys.platform == "win32", reason="a FIFO stands for a disk that is slow")
def test_a_recording_whose_disk_does_not_keep_up_says_how_much_is_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    if sys.platform != "win32":
        monkeypatch.setattr("vramd_supervisor.simulation.recorder._WAITING_BYTES", 100_000)
        os.mkfifo(tmp_path / "recording")
        opened = os.open(tmp_path / "recording", os.O_RDONLY | os.O_NONBLOCK)
        file = RecordingFile(tmp_path / "recording")
        recorder, alone, at_s = recorder_to(file), HEADER.core(), 0.0
        while "the recording ends here" not in caplog.text:
            at_s += 1.0
            assert recorder.handle(Started(at_s)) == alone.handle(Started(at_s))
        assert not file.settle(0.01)
        os.set_blocking(opened, True)
        with os.fdopen(opened, encoding="utf-8") as reader:
            lines = list[str]()
            while not lines or LOST not in lines[-1]:
                lines.append(reader.readline())
        assert file.settle(30.0)
        verdict = replay(lines)
        assert verdict.cut_off
        assert verdict.difference is None
        assert 0 < verdict.events <= at_s
        assert json.loads(lines[-1]) == {LOST: 1}


@pytest.mark.skipif(sys.platform == "win32", reason="a FIFO stands for a disk that is gone")
def test_a_recording_that_cannot_even_be_opened_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if sys.platform != "win32":
        monkeypatch.setattr("vramd_supervisor.simulation.recorder._OPEN_S", 0.02)
        os.mkfifo(tmp_path / "recording")
        with pytest.raises(NoAnswerError, match=r"recording gives no answer within 0\.02 s"):
            RecordingFile(tmp_path / "recording")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "line 1: no recording of format 1"),
        ("[]\n", "line 1: no object"),
        ("hello\n", "line 1: no JSON"),
        ('{"format": 2, "version": "9.0"}\n', r"format 1 \(of vramd 9.0\)"),
        ('{"format": 1, "version": "0.1.0"}\n', r"line 1: .*required field missing @ \$\.accounts"),
    ],
)
def test_a_file_that_is_no_recording_is_refused_with_the_line(text: str, why: str) -> None:
    with pytest.raises(UnreadableRecordingError, match=why):
        replay(text.splitlines(keepends=True))


def test_a_recording_made_before_names_were_changed_happens_again() -> None:
    with (Path(__file__).parents[1] / "support" / "recordings" / "first-format.jsonl").open(encoding="utf-8") as lines:
        verdict = replay(lines)
    assert verdict.difference is None
    assert verdict.events == 30


def test_a_damaged_line_is_named(lines: list[str]) -> None:
    with pytest.raises(UnreadableRecordingError, match="line 4: 'Begun' is not one of"):
        replay([*lines[:3], '{"event": {"is": "Begun"}}\n', *lines[4:]])
    with pytest.raises(UnreadableRecordingError, match="line 3: no actions"):
        replay([*lines[:2], *lines[3:]])


def test_the_command_says_that_it_is_the_same_or_where_it_is_not(lines: list[str], tmp_path: Path) -> None:
    file = tmp_path / "recording"
    file.write_text("".join(lines), "utf-8")
    same = CliRunner().invoke(vramd, ["replay", str(file)], catch_exceptions=False)
    assert same.exit_code == 0, same.output
    assert same.stdout.startswith("the same: ")
    file.write_text("".join([*lines[:4], '{"actions":[]}\n', *lines[5:]]), "utf-8")
    other = CliRunner().invoke(vramd, ["replay", str(file)], catch_exceptions=False)
    assert other.exit_code == 1
    assert other.stdout.startswith("event 2: ")
    assert ": nothing more\n" in other.stdout
    missing = CliRunner().invoke(vramd, ["replay", str(tmp_path / "none")], catch_exceptions=False)
    assert missing.exit_code == 1
    assert "No such file" in missing.stderr
