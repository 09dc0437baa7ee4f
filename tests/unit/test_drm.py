"""AMD and Intel cards: what sysfs and fdinfo are made to say, and what is read out of it."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from support.scripted_nvml import ScriptedNvml
from vramd_supervisor.devices.devices import find_devices
from vramd_supervisor.devices.drm import DrmCard, Roots, find_drm_cards
from vramd_supervisor.domain.config import Config
from vramd_supervisor.domain.device_view import DeviceKind, DeviceLostError, Sample

MIB = 1 << 20
AMD = {
    "vendor": "0x1002",
    "product_name": "Radeon RX 7900 XTX",
    "mem_info_vram_total": f"{24560 * MIB}",
    "mem_info_vram_used": f"{1200 * MIB}",
    "mem_info_gtt_total": f"{16000 * MIB}",
    "mem_info_gtt_used": f"{300 * MIB}",
    "mem_info_vram_vendor": "samsung",
    "mem_busy_percent": "3",
    "gpu_busy_percent": "97",
    "hwmon/hwmon4/temp1_input": "61000",
}
APU = {
    "vendor": "0x1002",
    "mem_info_vram_total": f"{512 * MIB}",
    "mem_info_vram_used": f"{400 * MIB}",
    "mem_info_vram_vendor": "unknown",
    "hwmon/hwmon4/temp1_input": "48500",
}
ARC = {"vendor": "0x8086"}


class Machine:
    """A machine's /sys and /proc, as folders."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.roots = Roots(root / "class/drm", root / "proc")
        self.roots.drm.mkdir(parents=True)

    def card(self, number: int, pci_id: str, driver: str, files: Mapping[str, str], **own: str) -> None:
        """`own` are files of the card itself, not of its PCI device."""
        device, home = self.root / "devices" / pci_id, self.root / "drivers" / driver
        for name, content in files.items():
            self._write(device / name, content)
        home.mkdir(parents=True, exist_ok=True)
        (device / "driver").symlink_to(home)
        card = self.roots.drm / f"card{number}"
        for name, content in own.items():
            self._write(card / name, content)
        card.mkdir(exist_ok=True)
        (card / "device").symlink_to(device)

    def open_file(self, pid: int, number: int, **fields: str) -> None:
        lines = [f"drm-{key.replace('_', '-')}:\t{value}" for key, value in fields.items()]
        self._write(self.roots.proc / str(pid) / "fdinfo" / str(number), "\n".join(["pos:\t0", *lines]))

    def _write(self, file: Path, content: str) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content + "\n")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def only(machine: Machine) -> DrmCard:
    (card,) = find_drm_cards(machine.roots)
    return card


def test_an_amd_card_is_sampled(machine: Machine) -> None:
    machine.card(0, "0000:03:00.0", "amdgpu", AMD)
    card = only(machine)
    assert (card.id, card.name, card.pci_id) == ("amd0", "Radeon RX 7900 XTX", "0000:03:00.0")
    assert card.sample() == Sample(24560 * MIB, 1200 * MIB, 61, 97)
    assert not card.unusable()
    assert not card.unified


def test_cards_are_found_in_the_kernels_order_and_connectors_are_none(machine: Machine) -> None:
    machine.card(10, "0000:0a:00.0", "amdgpu", AMD)
    machine.card(2, "0000:04:00.0", "amdgpu", AMD)
    machine.card(1, "0000:03:00.0", "xe", ARC)
    machine.card(3, "0000:01:00.0", "nvidia", {"vendor": "0x10de"})
    machine.card(4, "0000:07:00.0", "vfio-pci", AMD)
    (machine.roots.drm / "card2-HDMI-A-1").symlink_to(machine.roots.drm / "card2")
    found = [(card.id, card.pci_id) for card in find_drm_cards(machine.roots)]
    assert found == [("intel0", "0000:03:00.0"), ("amd0", "0000:04:00.0"), ("amd1", "0000:0a:00.0")]


def test_a_card_whose_driver_tells_no_totals_is_not_counted(machine: Machine) -> None:
    machine.card(0, "0000:00:02.0", "i915", ARC)
    card = only(machine)
    assert card.sample() == Sample(0, 0)
    assert card.unusable() == "its driver does not tell how much memory it has"
    assert card.name == "i915 card at 0000:00:02.0"


def test_what_a_server_card_by_intel_has_left_is_told(machine: Machine) -> None:
    machine.card(0, "0000:03:00.0", "i915", ARC, lmem_total_bytes=f"{16000 * MIB}", lmem_avail_bytes=f"{15000 * MIB}")
    assert only(machine).sample() == Sample(16000 * MIB, 1000 * MIB)


def test_a_card_that_is_gone_is_lost(machine: Machine) -> None:
    machine.card(0, "0000:03:00.0", "amdgpu", AMD)
    card = only(machine)
    (machine.roots.drm / "card0/device").unlink()
    with pytest.raises(DeviceLostError, match="amd0"):
        card.sample()


CLIENT = {"driver": "amdgpu", "pdev": "0000:03:00.0", "client_id": "17"}


@pytest.mark.parametrize(
    ("driver", "fields", "expected"),
    [
        ("amdgpu", {"memory_vram": "300 MiB", "memory_gtt": "80 MiB", "memory_cpu": "9 MiB"}, 300 * MIB),
        ("amdgpu", {"total_vram": "900 MiB", "resident_vram": "700 MiB", "memory_vram": "800 MiB"}, 700 * MIB),
        ("amdgpu", {"memory_vram": "2048 KiB"}, 2 * MIB),
        ("amdgpu", {"memory_vram": "4096"}, 4096),
        ("amdgpu", {"resident_vram": "0", "total_vram": "900 MiB"}, 0),
        ("amdgpu", {"shared_vram": "5 MiB", "memory_vram": "many MiB", "total_vram": "5 parsecs"}, 0),
        ("i915", {"total_local0": "64 MiB", "resident_local0": "60 MiB", "total_system0": "9 MiB"}, 60 * MIB),
        ("xe", {"total_vram0": "64 MiB", "total_vram1": "4 MiB", "total_gtt": "9 MiB"}, 68 * MIB),
        ("nouveau", {"memory_vram": "300 MiB"}, 0),
    ],
)
def test_bytes_of_a_process(machine: Machine, driver: str, fields: Mapping[str, str], expected: int) -> None:
    machine.card(0, "0000:03:00.0", "amdgpu", AMD)
    machine.open_file(7, 4, driver=driver, pdev="0000:03:00.0", client_id="17", **fields)
    machine.open_file(7, 0)
    assert only(machine).process_bytes(7) == expected


def test_what_is_open_twice_counts_once_and_other_cards_do_not(machine: Machine) -> None:
    machine.card(0, "0000:03:00.0", "amdgpu", AMD)
    machine.open_file(7, 4, **CLIENT, memory_vram="300 MiB")
    machine.open_file(7, 5, **CLIENT, memory_vram="301 MiB")
    machine.open_file(7, 6, **{**CLIENT, "client_id": "18"}, memory_vram="20 MiB")
    machine.open_file(7, 7, **{**CLIENT, "client_id": "19", "pdev": "0000:04:00.0"}, memory_vram="5000 MiB")
    assert only(machine).process_bytes(7) == 321 * MIB


def test_who_has_no_card_open_has_nothing_and_of_who_is_gone_nothing_is_known(machine: Machine) -> None:
    machine.card(0, "0000:03:00.0", "amdgpu", AMD)
    machine.open_file(7, 0)
    assert only(machine).process_bytes(7) == 0
    assert only(machine).process_bytes(8) is None


def test_a_gpu_in_the_processor_takes_the_hosts_memory(machine: Machine) -> None:
    machine.card(0, "0000:c5:00.0", "amdgpu", APU)
    machine.card(1, "0000:03:00.0", "amdgpu", {**AMD, "mem_info_vram_vendor": "unknown"})
    machine.card(2, "0000:04:00.0", "amdgpu", {name: value for name, value in AMD.items() if "mem_busy" not in name})
    machine.open_file(7, 4, **{**CLIENT, "pdev": "0000:c5:00.0"}, memory_vram="100 MiB", memory_gtt="3000 MiB")
    devices = {device.id: device for device in find_devices(Config(), ScriptedNvml([]), machine.roots)}
    assert {id_: (device.kind, device.pool) for id_, device in devices.items()} == {
        "amd0": (DeviceKind.BACKEND, "host"),
        "amd1": (DeviceKind.BACKEND, "amd1"),
        "amd2": (DeviceKind.BACKEND, "amd2"),
        "host": (DeviceKind.HOST, "host"),
    }
    assert "no memory of its own" in devices["amd0"].unusable
    assert devices["amd1"].unusable == ""
    assert devices["amd1"].pci_id == "0000:03:00.0"
    apu, host = devices["amd0"].probe.sample(), devices["host"].probe.sample()
    assert (apu.total_bytes, apu.temperature_c) == (host.total_bytes, 48)
    assert devices["amd0"].probe.process_bytes(7) == 3100 * MIB


def test_a_machine_without_cards_has_none(tmp_path: Path) -> None:
    assert find_drm_cards(Roots(tmp_path / "sys", tmp_path / "proc")) == []


def test_the_cards_of_this_machine_can_be_asked() -> None:
    for card in find_drm_cards():
        assert card.unusable() or card.unified or card.sample().total_bytes > 0
