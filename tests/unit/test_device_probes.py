"""Probes around probes: drivers that hang, and devices of which llama.cpp alone tells."""

import threading
from collections.abc import Sequence

import pytest
from support.supervisor_process import until
from vramd_supervisor.devices.backend import LLAMA_CARD, BackendDevice, BackendProbe, backend_devices
from vramd_supervisor.devices.device import Backend, Device
from vramd_supervisor.devices.nvidia import NVIDIA
from vramd_supervisor.devices.probe import BoundedProbe, Probe
from vramd_supervisor.domain.device_view import DeviceKind, DeviceLostError, Sample


class Stuck(Probe):
    """Answers when it is let."""

    def __init__(self) -> None:
        self.goes_on, self.asked = threading.Event(), 0

    def sample(self) -> Sample:
        self.asked += 1
        assert self.goes_on.wait(30)
        return Sample(8, 2)

    def process_bytes(self, pid: int) -> int | None:
        return pid

    def spilled_bytes(self, pids: Sequence[int]) -> int:
        raise LookupError("no such counter")


def until_it_hangs(probe: BoundedProbe, inner: Stuck) -> None:
    """Asks until the driver has a question: one whose thread comes too late is withdrawn."""
    while not inner.asked:
        with pytest.raises(DeviceLostError):
            probe.sample()


def test_a_driver_that_hangs_is_left_alone_until_it_answers() -> None:
    inner = Stuck()
    probe = BoundedProbe("gpu0", inner, 0.1)
    with pytest.raises(DeviceLostError, match=r"gpu0 gives no answer within 0\.1 s"):
        probe.sample()
    until_it_hangs(probe, inner)
    with pytest.raises(DeviceLostError, match="has not answered an earlier question"):
        probe.sample()
    assert probe.process_bytes(7) is None
    assert probe.spilled_bytes([7]) == 0
    assert inner.asked == 1
    inner.goes_on.set()
    patient = BoundedProbe("gpu0", inner, 30)
    assert patient.sample() == Sample(8, 2)
    assert patient.process_bytes(7) == 7
    with pytest.raises(LookupError, match="no such counter"):
        patient.spilled_bytes([7])


def test_a_driver_that_hung_is_asked_again_once_it_has_answered() -> None:
    inner = Stuck()
    probe = BoundedProbe("slow", inner, 0.01)
    until_it_hangs(probe, inner)
    assert probe.process_bytes(7) is None
    inner.goes_on.set()
    until("it answers", lambda: probe.process_bytes(7) == 7)


GPU = BackendDevice("Vulkan0", "AMD Radeon", "gpu", 800, 300, "0000:03:00.0")


def test_a_device_of_another_backend_is_measured_by_it() -> None:
    told = [GPU, BackendDevice("CPU", "x", "cpu", 9, 9), BackendDevice("BLAS", "x", "accel", 9, 9)]
    (device,) = backend_devices(lambda: told, [])
    assert (device.id, device.uuid, device.kind, device.pool) == ("vulkan0", "Vulkan0", DeviceKind.BACKEND, "vulkan0")
    assert (device.unusable, device.name, device.pci_id) == ("", "AMD Radeon", "0000:03:00.0")
    assert device.probe.sample() == Sample(800, 500)
    assert device.probe.process_bytes(1) is None
    told[0] = BackendDevice("Vulkan0", "AMD Radeon", "gpu", 800, 900)
    with pytest.raises(DeviceLostError, match="900 of 800 bytes free"):
        device.probe.sample()
    del told[0]
    with pytest.raises(DeviceLostError, match="does not name Vulkan0 any more"):
        device.probe.sample()


def test_a_card_that_two_backends_name_is_one_device() -> None:
    second = BackendDevice("SYCL0", "x", "gpu", 9, 9, "0000:03:00.0")
    third = BackendDevice("Vulkan1", "x", "gpu", 9, 9)
    assert [device.id for device in backend_devices(lambda: [GPU, second, third], [])] == ["vulkan0", "vulkan1"]


def test_a_gpu_in_the_processor_has_the_hosts_memory() -> None:
    (device,) = backend_devices(lambda: [BackendDevice("Vulkan0", "Iris", "igpu", 800, 300)], [])
    assert (device.pool, device.unusable) == ("host", "it has no memory of its own: models go to the host's")


@pytest.mark.parametrize(("machine", "pool"), [("arm64", "host"), ("x86_64", "mtl0")])
def test_a_mac_by_apple_has_one_memory(monkeypatch: pytest.MonkeyPatch, machine: str, pool: str) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    monkeypatch.setattr("platform.machine", lambda: machine)
    (device,) = backend_devices(lambda: [BackendDevice("MTL0", "Apple M3", "gpu", 800, 300)], [])
    assert device.pool == pool


@pytest.mark.parametrize(
    ("backend", "unusable", "sample", "process"),
    [
        (LLAMA_CARD, "", Sample(8, 2), 7),
        (LLAMA_CARD, "it does not tell", Sample(800, 500), 7),
        (NVIDIA, "", None, None),
    ],
)
def test_a_card_that_is_known_already_keeps_its_name(
    backend: Backend, unusable: str, sample: Sample | None, process: int | None
) -> None:
    inner = Stuck()
    inner.goes_on.set()
    known = Device("amd0", backend, "Navi", inner, unusable=unusable, pci_id="0000:03:00.0")
    devices = backend_devices(lambda: [GPU], [known])
    assert [(d.id, d.uuid, d.unusable, d.probe.sample(), d.probe.process_bytes(7)) for d in devices] == (
        [("amd0", "Vulkan0", "", sample, process)] if sample else []
    )


def test_a_backend_that_fails_says_why() -> None:
    def answer() -> list[BackendDevice]:
        raise ConnectionError("the helper is gone")

    with pytest.raises(DeviceLostError, match="the helper is gone"):
        BackendProbe("Vulkan0", answer).sample()


def test_a_worker_sees_the_cards_of_its_load_in_their_order() -> None:
    cards = [Device(f"gpu{at}", NVIDIA, "card", Stuck(), uuid=f"GPU-{at}") for at in (3, 1)]
    assert NVIDIA.names(cards) == ("CUDA0", "CUDA1")
    assert NVIDIA.environment(cards) == {"CUDA_VISIBLE_DEVICES": "GPU-3,GPU-1"}
    others = [Device("amd0", LLAMA_CARD, "card", Stuck(), uuid="Vulkan1")]
    assert (LLAMA_CARD.names(others), LLAMA_CARD.environment(others)) == (("Vulkan1",), {})
