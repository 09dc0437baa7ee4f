"""Devices: what NVML, control groups and /proc are made to say, and what is read out of it."""

import logging
import mmap
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pytest
from support.scripted_nvml import Binding, Memory, Pci, Process, Rates, ScriptedNvmlError
from vramd_supervisor.devices.cgroup import Cgroups, MemoryLimit
from vramd_supervisor.devices.device import Device
from vramd_supervisor.devices.devices import find_devices, warn_of_absent
from vramd_supervisor.devices.drm import Roots
from vramd_supervisor.devices.host_memory import HOST_RAM, HostProbe, usable_cores
from vramd_supervisor.devices.nvml import Card, Nvml, find_cards, load_nvml
from vramd_supervisor.devices.pids import PidNumbers
from vramd_supervisor.domain.config import Config, DeviceConfig, Size
from vramd_supervisor.domain.device_view import DeviceKind, DeviceLostError, Sample

MIB = 1 << 20
T = TypeVar("T")
NO_LIMIT_V1 = "9223372036854771712\n"


NO_NAMESPACES, NO_CARDS = PidNumbers(Path("/nowhere")), Roots(Path("/nowhere"), Path("/nowhere"))
NOT_SUPPORTED, GPU_IS_LOST = ScriptedNvmlError(3), ScriptedNvmlError(15)


@dataclass
class FakeCard:
    """Answers; an error in place of one is raised."""

    uuid: str | bytes | ScriptedNvmlError = "GPU-1"
    name: str | bytes = "Fake 4090"
    memory: Memory | ScriptedNvmlError = field(default_factory=lambda: Memory(8192 * MIB, 6144 * MIB))
    pci: Pci | ScriptedNvmlError = field(default_factory=lambda: Pci(b"00000000:0A:00.0"))
    mig: list[int] | ScriptedNvmlError = NOT_SUPPORTED
    temperature: int | ScriptedNvmlError = 61
    rates: Rates | ScriptedNvmlError = field(default_factory=lambda: Rates(97))
    compute: list[Process] | ScriptedNvmlError = field(default_factory=list)
    graphics: list[Process] | ScriptedNvmlError = field(default_factory=list)


@dataclass
class FakeNvml(Binding):
    cards: list[FakeCard]

    def nvmlDeviceGetHandleByIndex(self, index: int) -> object:
        return self.cards[index]

    def nvmlDeviceGetUUID(self, handle: object) -> str | bytes:
        said: str | bytes | ScriptedNvmlError = card(handle).uuid
        if isinstance(said, ScriptedNvmlError):
            raise said
        return said

    def nvmlDeviceGetName(self, handle: object) -> str | bytes:
        return card(handle).name

    def nvmlDeviceGetPciInfo(self, handle: object) -> Pci:
        return answer(card(handle).pci)

    def nvmlDeviceGetMemoryInfo(self, handle: object) -> Memory:
        return answer(card(handle).memory)

    def nvmlDeviceGetMigMode(self, handle: object) -> Sequence[int]:
        return answer(card(handle).mig)

    def nvmlDeviceGetTemperature(self, handle: object, sensor: int) -> int:
        assert sensor == 0
        return answer(card(handle).temperature)

    def nvmlDeviceGetUtilizationRates(self, handle: object) -> Rates:
        return answer(card(handle).rates)

    def nvmlDeviceGetComputeRunningProcesses(self, handle: object) -> Sequence[Process]:
        return answer(card(handle).compute)

    def nvmlDeviceGetGraphicsRunningProcesses(self, handle: object) -> Sequence[Process]:
        return answer(card(handle).graphics)


def card(handle: object) -> FakeCard:
    assert isinstance(handle, FakeCard)
    return handle


def answer(said: T | ScriptedNvmlError) -> T:
    if isinstance(said, ScriptedNvmlError):
        raise said
    return said


def one(fake: FakeCard) -> Card:
    return Card(FakeNvml([fake]), 0, NO_NAMESPACES, tells_all=True)


def test_a_card_is_sampled() -> None:
    assert one(FakeCard()).sample() == Sample(8192 * MIB, 2048 * MIB, 61, 97)


def test_what_a_card_does_not_tell_is_none() -> None:
    assert one(FakeCard(temperature=NOT_SUPPORTED, rates=NOT_SUPPORTED)).sample() == Sample(8192 * MIB, 2048 * MIB)


def test_a_lost_card_says_so() -> None:
    fake = FakeCard()
    probe = one(fake)
    fake.memory = GPU_IS_LOST
    with pytest.raises(DeviceLostError, match=r"gpu0 \(Fake 4090\) gives no answer"):
        probe.sample()


@pytest.mark.parametrize(
    ("compute", "graphics", "expected"),
    [
        ([Process(7, 300)], [], 300),
        ([Process(7, 300), Process(8, 900)], [Process(7, 310)], 310),
        ([Process(7, None)], [Process(7, None)], None),
        ([Process(7, None)], [Process(7, 5)], 5),
        ([Process(8, 300)], [], 0),
        ([], [], 0),
        ([Process(8, 300)], NOT_SUPPORTED, None),
        (NOT_SUPPORTED, [Process(7, 310)], 310),
        (GPU_IS_LOST, GPU_IS_LOST, None),
    ],
)
def test_bytes_of_a_process(
    compute: list[Process] | ScriptedNvmlError, graphics: list[Process] | ScriptedNvmlError, expected: int | None
) -> None:
    assert one(FakeCard(compute=compute, graphics=graphics)).process_bytes(7) == expected


def found(nvml: Nvml, devices: Mapping[str, DeviceConfig] | None = None) -> dict[str, Device]:
    return {device.id: device for device in find_devices(Config(devices=devices or {}), nvml, NO_CARDS)}


def test_cards_virtual_devices_and_the_host_are_found() -> None:
    virtual = {"card": DeviceConfig("virtual", Size(9)), "host": DeviceConfig(budget=Size(5))}
    devices = found(FakeNvml([FakeCard(), FakeCard(uuid=b"GPU-2", name=b"Old binding")]), virtual)
    assert {device.id: (device.kind, device.uuid, device.unusable) for device in devices.values()} == {
        "gpu0": (DeviceKind.NVIDIA, "GPU-1", ""),
        "gpu1": (DeviceKind.NVIDIA, "GPU-2", ""),
        "card": (DeviceKind.VIRTUAL, "", ""),
        "host": (DeviceKind.HOST, "", ""),
    }
    assert devices["gpu1"].name == "Old binding"
    assert devices["card"].probe.sample() == Sample(9, 0)
    assert devices["card"].probe.process_bytes(1) is None
    assert devices["gpu0"].view.kind is DeviceKind.NVIDIA


def test_without_a_driver_there_is_the_host_and_no_complaint(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert list(found(FakeNvml([]))) == ["host"]
    assert not caplog.records


def test_the_real_binding_loads_or_there_is_no_driver() -> None:
    binding = load_nvml()
    assert binding is None or all(card.sample().total_bytes > 0 for card in find_cards(binding) if not card.unusable())


@pytest.mark.parametrize(
    ("fake", "words"),
    [
        (FakeCard(mig=[1, 1]), "MIG"),
        (FakeCard(memory=NOT_SUPPORTED), "no memory of its own: models go to the host's"),
        (FakeCard(memory=GPU_IS_LOST), "does not say"),
    ],
)
def test_a_card_that_cannot_be_used_is_shown_with_the_reason(fake: FakeCard, words: str) -> None:
    assert words in found(FakeNvml([fake]))["gpu0"].unusable


def test_a_card_without_memory_of_its_own_has_the_hosts() -> None:
    devices = found(FakeNvml([FakeCard(memory=NOT_SUPPORTED), FakeCard()]))
    assert [devices[id_].pool for id_ in ("gpu0", "gpu1", "host")] == ["host", "gpu1", "host"]
    seen, host = devices["gpu0"].probe.sample(), devices["host"].probe.sample()
    assert (seen.total_bytes, seen.temperature_c) == (host.total_bytes, 61)


def test_a_card_is_known_by_its_place() -> None:
    assert found(FakeNvml([FakeCard()]))["gpu0"].pci_id == "0000:0a:00.0"
    assert found(FakeNvml([FakeCard(pci=NOT_SUPPORTED)]))["gpu0"].pci_id == ""


def test_a_card_that_is_not_split_is_usable() -> None:
    assert found(FakeNvml([FakeCard(mig=[0, 0])]))["gpu0"].unusable == ""


def test_a_card_that_does_not_say_who_it_is_keeps_the_others_names(caplog: pytest.LogCaptureFixture) -> None:
    devices = found(FakeNvml([FakeCard(uuid=GPU_IS_LOST), FakeCard(uuid="GPU-2")]))
    assert {device.id: device.uuid for device in devices.values()} == {"gpu1": "GPU-2", "host": ""}
    assert "card 0 gives no answer" in caplog.text


def test_limits_of_a_card_that_is_not_there_are_reported(caplog: pytest.LogCaptureFixture) -> None:
    config = Config(devices={"gpu3": DeviceConfig(budget=Size(5)), "host": DeviceConfig(budget=Size(5))})
    warn_of_absent(config, found(FakeNvml([]), config.devices).values())
    assert [record.args for record in caplog.records] == [("gpu3",)]


def tree(root: Path, files: Mapping[str, str]) -> Cgroups:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return Cgroups(root / "proc", root / "cgroup")


V2 = {
    "proc/self/cgroup": "0::/user.slice/app.scope\n",
    "cgroup/user.slice/memory.max": f"{1000 * MIB}\n",
    "cgroup/user.slice/memory.current": f"{900 * MIB}\n",
    "cgroup/user.slice/memory.stat": f"anon 5\ninactive_file {300 * MIB}\n",
    "cgroup/user.slice/cpu.max": "350000 100000\n",
    "cgroup/user.slice/app.scope/memory.max": "max\n",
    "cgroup/user.slice/app.scope/cpu.max": "max 100000\n",
}
V1 = {
    "proc/self/cgroup": "4:memory:/box/inner\n3:cpuset:/\n2:cpu,cpuacct:/box\n0::/\n",
    "cgroup/memory/memory.limit_in_bytes": NO_LIMIT_V1,
    "cgroup/memory/box/memory.limit_in_bytes": f"{500 * MIB}\n",
    "cgroup/memory/box/memory.usage_in_bytes": f"{100 * MIB}\n",
    "cgroup/memory/box/memory.stat": f"inactive_file 1\ntotal_inactive_file {20 * MIB}\n",
    "cgroup/memory/box/inner/memory.limit_in_bytes": f"{700 * MIB}\n",
    "cgroup/memory/box/inner/memory.usage_in_bytes": f"{90 * MIB}\n",
    "cgroup/cpu/box/cpu.cfs_quota_us": "150000\n",
    "cgroup/cpu/box/cpu.cfs_period_us": "100000\n",
    "cgroup/cpu/cpu.cfs_quota_us": "-1\n",
    "cgroup/cpu/cpu.cfs_period_us": "100000\n",
}


def test_limits_of_version_2_and_of_the_groups_above(tmp_path: Path) -> None:
    groups = tree(tmp_path, V2)
    assert groups.memory_limits() == [MemoryLimit(1000 * MIB, 400 * MIB)]
    assert groups.cpu_quota() == 3.5


def test_limits_of_version_1(tmp_path: Path) -> None:
    groups = tree(tmp_path, V1)
    assert groups.memory_limits() == [MemoryLimit(700 * MIB, 610 * MIB), MemoryLimit(500 * MIB, 420 * MIB)]
    assert groups.cpu_quota() == 1.5


def test_inside_a_container_the_path_may_be_the_hosts(tmp_path: Path) -> None:
    files = {"proc/self/cgroup": "0::/docker/abc\n", "cgroup/memory.max": f"{MIB}\n", "cgroup/memory.current": "1\n"}
    assert tree(tmp_path, files).memory_limits() == [MemoryLimit(MIB, MIB - 1)]


def test_without_control_groups_there_are_no_limits(tmp_path: Path) -> None:
    assert tree(tmp_path, {}).memory_limits() == []
    assert tree(tmp_path, {}).cpu_quota() is None
    assert tree(tmp_path, {"proc/self/cgroup": "nonsense\n0::\n", "cgroup/memory.max": "?"}).memory_limits() == []


def test_the_host_has_what_the_tightest_limit_leaves(tmp_path: Path) -> None:
    groups = tree(tmp_path, V2)
    assert HostProbe(groups, lambda: (4000 * MIB, 2000 * MIB)).sample() == Sample(1000 * MIB, 600 * MIB)
    assert HostProbe(groups, lambda: (4000 * MIB, 100 * MIB)).sample() == Sample(1000 * MIB, 900 * MIB)
    assert HostProbe(tree(tmp_path / "x", {}), lambda: (40, 30)).sample() == Sample(40, 10)


def test_this_machine_can_be_sampled() -> None:
    probe = HostProbe()
    sample = probe.sample()
    assert 0 < sample.used_bytes < sample.total_bytes
    own = probe.process_bytes(os.getpid())
    assert own is not None
    assert MIB < own < sample.total_bytes
    assert probe.process_bytes((1 << 22) + 1) is None


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="Linux only")
def test_pages_of_a_mapped_file_are_no_bytes_that_we_take_from_others(tmp_path: Path) -> None:
    size_bytes = 64 * MIB
    file = tmp_path / "weights"
    file.write_bytes(b"\1" * size_bytes)
    before = HOST_RAM.look(HostProbe(), [], []).ours_bytes
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert sum(mapped[:: mmap.PAGESIZE]) == size_bytes // mmap.PAGESIZE
        after = HOST_RAM.look(HostProbe(), [], []).ours_bytes
    assert before is not None
    assert after is not None
    assert after - before < size_bytes // 2


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="Linux only")
def test_the_share_of_a_process_in_common_pages_counts(tmp_path: Path) -> None:
    groups = tree(
        tmp_path, {"proc/7/smaps_rollup": "55-7f ---p 00 [rollup]\nRss: 900 kB\nPss:   123 kB\nPss_Anon: 9 kB\n"}
    )
    assert HostProbe(groups).process_bytes(7) == 123 << 10


@pytest.mark.parametrize(
    ("affinity", "reserved", "files", "cores"),
    [(8, 0, {}, 8), (8, 2, {}, 6), (8, 0, V2, 3), (2, 0, V2, 2), (8, 1, V2, 2), (8, 0, V1, 1), (1, 5, {}, 1)],
)
def test_usable_cores(tmp_path: Path, affinity: int, reserved: int, files: Mapping[str, str], cores: int) -> None:
    assert usable_cores(reserved, tree(tmp_path, files), lambda: affinity) == cores


def test_this_machine_has_cores() -> None:
    assert 1 <= usable_cores(0) <= (os.cpu_count() or 1)
