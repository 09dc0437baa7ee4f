"""What is shown of benchmarks."""

import json
from pathlib import Path

import pytest
from vramd_bench import machine, report
from vramd_bench.figures import BenchError, Result, Unit, at_least, at_most, figure

ROOT = Path(__file__).parents[2]

MACHINE = machine.Machine("Linux 6", "A CPU", 2, 8_000_000_000, "3.11.7", {"vramd": "0.1.0"}, "abc+")
RESULT = Result(
    "ipc",
    (
        figure("short call, vramd, p50", Unit.SECONDS, [0.001, 0.002, 0.0015]),
        figure("vramd / relay", Unit.RATIO, [1.2], at_most(1.25)),
        figure("vramd / direct", Unit.RATIO, [0.9], at_least(0.97)),
    ),
    ("a note",),
)
REPORT = report.Report(MACHINE, "tiny.gguf", 5_000_000, 2, 3, quick=False, results=(RESULT,))


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (0.00137, Unit.SECONDS, "1.37 ms"),
        (0.918, Unit.SECONDS, "918 ms"),
        (2.0, Unit.SECONDS, "2.00 s"),
        (55_900_000, Unit.BYTES, "55.9 MB"),
        (159.96, Unit.TOKENS_PER_S, "160.0 tokens/s"),
        (0.974, Unit.RATIO, "0.97 \u00d7"),
    ],
)
def test_amounts_are_for_people(value: float, unit: Unit, shown: str) -> None:
    assert report.amount(value, unit) == shown


def test_a_row_says_whether_the_bar_is_met() -> None:
    plain, met, missed = report.rows(RESULT)
    assert plain == ("short call, vramd, p50", "1.00 ms", "1.50 ms", "2.00 ms", "", "")
    assert met[-2:] == ("\u2264 1.25 \u00d7", "met")
    assert missed[-2:] == ("\u2265 0.97 \u00d7", "missed")
    assert report.missed([RESULT]) == ["ipc: vramd / direct"]


def test_json_has_everything() -> None:
    told = json.loads(json.dumps(report.as_json(REPORT)))
    assert told["machine"]["commit"] == "abc+"
    assert told["machine"]["versions"] == {"vramd": "0.1.0"}
    assert told["model"] == {"name": "tiny.gguf", "size_bytes": 5_000_000}
    assert (told["threads"], told["runs"], told["quick"]) == (2, 3, False)
    (result,) = told["results"]
    first, second, third = result["figures"]
    assert (first["min"], first["median"], first["max"], first["unit"]) == (0.001, 0.0015, 0.002, "s")
    assert first["values"] == [0.001, 0.002, 0.0015]
    assert (first["bar"], first["met"]) == (None, None)
    assert (second["bar"], second["met"]) == ({"limit": 1.25, "at_most": True}, True)
    assert third["met"] is False


def test_where_it_was_measured() -> None:
    line = report.where(REPORT)
    assert "A CPU, 2 cores, 8.0 GB" in line
    assert "vramd 0.1.0, commit abc+; tiny.gguf, 5 MB; 3 runs" in line
    assert "no worth" not in line


def test_the_section_goes_between_the_marks(tmp_path: Path) -> None:
    file = tmp_path / "README.md"
    file.write_text("before\n<!-- bench -->\nold\n<!-- /bench -->\nafter\n", "utf-8")
    for _ in range(2):  # a second time it replaces its own
        report.write_readme(file, REPORT)
    text = file.read_text("utf-8")
    assert text.startswith("before\n<!-- bench -->\n")
    assert text.endswith("\n<!-- /bench -->\nafter\n")
    assert "old" not in text
    assert (
        text.count("| ipc | vramd / relay | 1.20 \u00d7 | 1.20 \u00d7 | 1.20 \u00d7 | \u2264 1.25 \u00d7 | met |") == 1
    )
    assert "p50" not in text, "a figure without a bar"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<!-- bench -->",
        "<!-- /bench -->\n<!-- bench -->",
        "<!-- bench --><!-- bench --><!-- /bench -->",
        "<!-- bench --><!-- /bench --><!-- /bench -->",
    ],
)
def test_a_file_without_one_place_for_it_is_refused(text: str) -> None:
    with pytest.raises(BenchError, match="one line"):
        report.put_into(text, "section")


def test_the_machine_is_this_one() -> None:
    found = machine.look()
    assert found.cpu
    assert found.cores > 0
    assert found.ram_bytes > 100_000_000
    assert found.versions["vramd"]


def test_a_commit_is_told_of_the_own_checkout_only(tmp_path: Path) -> None:
    strange = tmp_path / "clients/python/vramd"
    strange.mkdir(parents=True)
    assert machine.commit(strange) is None
    (tmp_path / ".git").mkdir()
    assert machine.commit(strange) is None
    if (ROOT / ".git").exists():
        assert machine.commit(ROOT / "proto/vramd_proto/v1") is None
        assert bool(machine.commit(machine.OWN_FOLDER)) == machine.OWN_FOLDER.is_relative_to(ROOT)
