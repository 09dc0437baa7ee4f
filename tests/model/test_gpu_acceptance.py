"""The script for machines with an NVIDIA card, on a virtual one: what it says of a good card, and of a bad one."""

import re
import subprocess
from pathlib import Path

import pytest
from support.carded_supervisor import nvidia
from support.programs import python

pytest.importorskip("llama_cpp")

pytestmark = pytest.mark.timeout(300)
"""A dozen processes start one after the other."""

RUN = """
import sys
import gpu_acceptance
sys.exit(gpu_acceptance.main(sys.argv[1:], ("large vocabulary", "gemma3")))
"""


def accepted(
    folder: Path, plug_ins: Path, total_mib: int, context_mib: int, *arguments: str
) -> "subprocess.CompletedProcess[str]":
    """`context_mib` are what the driver takes for each process."""
    _, environment = nvidia(folder, plug_ins, total_mib, context_mib)
    return python("-c", RUN, *arguments, cwd=folder, added=environment, bound_s=280)


def test_a_card_that_gives_what_was_promised_is_accepted(tmp_path: Path, plug_ins: Path) -> None:
    out = tmp_path / "gpu.md"
    done = accepted(tmp_path, plug_ins, 2048, 64, "--releases", "4", "--out", str(out))
    assert done.returncode == 0, done.stdout + done.stderr
    text = out.read_text("utf-8")
    assert text.strip() == done.stdout.strip()
    rows = re.findall(
        r"^\| ([\w ]+) \| [^|]+ \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \| ([-+\d.]+) \| process \| +\|$", text, re.M
    )
    assert [row[0] for row in rows] == ["large vocabulary"] * 4 + ["gemma3"] * 4
    for _, engine, process, measured, difference in rows:
        assert float(measured) == pytest.approx(float(engine) + 64, abs=0.11), "llama.cpp's bytes, and the driver's"
        assert float(difference) == pytest.approx(float(measured) - float(engine) - float(process), abs=0.16)
    assert re.findall(r"^\| (kill -9|unload) \| (\d+) \| \d+ \| \d+ \| \d+ \|$", text, re.M) == [
        ("kill -9", "2"),
        ("unload", "2"),
    ]


def test_a_driver_that_takes_more_than_was_promised_is_found_out(tmp_path: Path, plug_ins: Path) -> None:
    done = accepted(tmp_path, plug_ins, 4096, 700, "--releases", "2")
    assert done.returncode == 1, done.stdout + done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith(("| large vocabulary", "| gemma3"))]
    assert len(rows) == 8, "the rest goes on"
    assert rows[0].endswith("| process | more than promised |")
    assert "unload" in done.stdout


def test_shapes_that_do_not_fit_are_reported_one_by_one(tmp_path: Path, plug_ins: Path) -> None:
    done = accepted(tmp_path, plug_ins, 300, 8, "--releases", "2")
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout.count("does not fit") == 8
    assert "kill -9, 1 of 2:" in done.stdout


def test_what_is_not_reached_in_time_has_failed(tmp_path: Path, plug_ins: Path) -> None:
    done = accepted(tmp_path, plug_ins, 2048, 64, "--releases", "2", "--limit-s", "0")
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout.count("the time is over") == 9
