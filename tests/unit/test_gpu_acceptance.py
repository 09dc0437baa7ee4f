"""The script for machines with an NVIDIA card, where there is none."""

import gpu_acceptance
import pytest
from vramd_supervisor.devices.nvml import load_nvml


@pytest.mark.parametrize("arguments", [[], ["--build"], ["--out", "never-written.md"]])
def test_without_a_card_it_says_so_and_makes_nothing(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    nvml = load_nvml()
    if nvml is not None and nvml.nvmlDeviceGetCount():
        pytest.skip("there is a card here: python tests/gpu_acceptance.py takes minutes")
    assert gpu_acceptance.main(arguments) == 0
    assert capsys.readouterr().out == "skipped: no NVIDIA card answers\n"


def test_there_are_ten_shapes() -> None:
    assert len(gpu_acceptance.SHAPES) == 10


def test_the_95th_percentile_is_by_nearest_rank() -> None:
    assert gpu_acceptance.spread([float(value) for value in range(100, 0, -1)]) == (50.5, 95.0, 100.0)
    assert gpu_acceptance.spread([3.0]) == (3.0, 3.0, 3.0)
