"""`vramd bench profiles` where there is a GPU: a virtual one, which real llama.cpp computes on."""

import json
from pathlib import Path

import pytest
from support.carded_supervisor import MIB, nvidia
from support.programs import python
from vramd_cli.play import MODEL_FILE

pytest.importorskip("llama_cpp")

pytestmark = pytest.mark.timeout(300)
"""A dozen processes start one after the other."""

PROFILES = ("low_memory", "balanced", "performance")


def profiles(folder: Path, plug_ins: Path, total_mib: int) -> tuple[dict[str, list[float]], str]:
    """The values by the figure's name, and the notes. The card's driver takes 8 MiB for each process."""
    _, environment = nvidia(folder, plug_ins, total_mib)
    command = ("-m", "vramd", "bench", "profiles", "--quick", "--runs", "1", "--json", "--model", str(MODEL_FILE))
    done = python(*command, cwd=folder, added={**environment, "XDG_STATE_HOME": str(folder)}, bound_s=280)
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(done.stdout)["results"]
    return {figure["name"]: figure["values"] for figure in result["figures"]}, " ".join(result["notes"])


def test_profiles_differ_by_what_they_take_of_the_card(tmp_path: Path, plug_ins: Path) -> None:
    found, notes = profiles(tmp_path, plug_ins, 2048)
    [low], [balanced], [most] = (found[f"on the GPU after load, {profile}"] for profile in PROFILES)
    assert 8 * MIB < low < balanced == most, "a smaller batch; all of the few layers are on the card in any case"
    assert all(found[f"on the GPU, peak, {profile}"][0] >= low for profile in PROFILES)
    assert all(found[f"failed / all answers, {profile}"] == [0] for profile in PROFILES)
    assert "On the GPU:" in notes
    assert "no GPU here" not in notes


def test_a_profile_that_does_not_fit_is_counted_and_the_others_are_measured(tmp_path: Path, plug_ins: Path) -> None:
    # 256 MiB stay free; it needs 374 MiB with a batch of 256 tokens, 385 MiB with one of 512.
    found, notes = profiles(tmp_path, plug_ins, 636)
    assert found["failed / all answers, low_memory"] == [0]
    assert found["failed / all answers, balanced"] == [1]
    assert found["failed / all answers, performance"] == [1]
    assert "tokens per second, balanced" not in found
    assert "balanced failed: " in notes
