"""Windows's counters of GPU memory: names are read, growth is told. What asks Windows itself runs on Windows only."""

import os
import sys
from collections.abc import Mapping, Sequence

import pytest
from vramd_supervisor.devices.pdh import SPILL_BYTES, Growth, WddmProbe, by_process, open_counters
from vramd_supervisor.devices.probe import Probe
from vramd_supervisor.domain.device_view import Sample

MIB = 1 << 20


def test_instances_are_summed_by_process() -> None:
    instances = [
        ("pid_1234_luid_0x00000000_0x0000E3A9_phys_0", 300),
        ("pid_1234_luid_0x00000000_0x0001AB02_phys_0", 5),
        ("PID_77_LUID_0x00000000_0x0000e3a9_PHYS_1", 40),
        ("pid_77_luid_0x00000000_0x0000e3a9_phys_0#1", 2),
        ("pid_12_luid_0x00000000_0x0000E3A9_phys_0_eng_0_engtype_3D", 9),
        ("luid_0x00000000_0x0000E3A9_phys_0", 9),
        ("pid_x_luid_0x00000000_0x0000E3A9_phys_0", 9),
        ("_Total", 9),
    ]
    assert by_process(instances) == {1234: 305, 77: 42}


def test_growth_is_counted_from_when_a_process_was_first_seen() -> None:
    growth = Growth()
    assert growth.grown_bytes({7: 500, 8: 90}, [7]) == 0
    assert growth.grown_bytes({7: 530, 8: 900}, [7]) == 30
    assert growth.grown_bytes({7: 530, 8: 900}, [7, 8, 9]) == 30
    assert growth.grown_bytes({7: 400, 8: 910, 9: 3}, [7, 8, 9]) == 13


def test_a_process_that_takes_a_dead_ones_number_starts_anew() -> None:
    growth = Growth()
    growth.grown_bytes({7: 5}, [7])
    assert growth.grown_bytes({7: 900}, []) == 0
    assert growth.grown_bytes({7: 900}, [7]) == 0


class Driver(Probe):
    """Tells what Windows lets it."""

    def __init__(self, told: int | None) -> None:
        self.told = told

    def sample(self) -> Sample:
        return Sample(8, 2)

    def process_bytes(self, pid: int) -> int | None:
        return self.told


class FakeCounters:
    """Counters with a value for process 7, or a fault."""

    def __init__(self, *shared: int, fault: bool = False) -> None:
        self._shared, self._fault = list(shared), fault

    def dedicated(self) -> Mapping[int, int]:
        if self._fault:
            raise OSError("no counters")
        return {7: 300}

    def shared(self) -> Mapping[int, int]:
        if self._fault:
            raise OSError("no counters")
        return {7: self._shared.pop(0)}


@pytest.mark.parametrize(
    ("told", "pid", "fault", "expected"),
    [(None, 7, False, 300), (None, 8, False, None), (200, 7, False, 200), (0, 7, False, 0), (None, 7, True, None)],
)
def test_what_the_driver_does_not_tell_windows_does(
    told: int | None, pid: int, fault: bool, expected: int | None
) -> None:
    probe = WddmProbe(Driver(told), FakeCounters(fault=fault))
    assert probe.process_bytes(pid) == expected
    assert probe.sample() == Sample(8, 2)


@pytest.mark.parametrize(
    ("shared", "spilled"),
    [([90 * MIB, 90 * MIB + SPILL_BYTES], False), ([90 * MIB, 91 * MIB + SPILL_BYTES], True), ([900 * MIB, 0], False)],
)
def test_a_model_spills_when_its_shared_memory_grows(shared: Sequence[int], spilled: bool) -> None:
    probe = WddmProbe(Driver(None), FakeCounters(*shared))
    assert [probe.spilled_bytes([7]) > SPILL_BYTES for _ in shared] == [False, spilled]


def test_without_counters_nothing_is_known_to_spill() -> None:
    assert WddmProbe(Driver(None), FakeCounters(fault=True)).spilled_bytes([7]) == 0


@pytest.mark.skipif(sys.platform == "win32", reason="other systems")
def test_other_systems_have_no_such_counters() -> None:
    assert open_counters() is None


@pytest.mark.skipif(sys.platform != "win32", reason="Windows only")
def test_windows_can_be_asked() -> None:
    if counters := open_counters():
        assert os.getpid() not in counters.dedicated()
        assert all(size >= 0 for size in counters.shared().values())
