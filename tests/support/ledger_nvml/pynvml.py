"""Stands in for the binding of NVIDIA's driver: its cards are the virtual ones of tests/virtual_gpu.

A supervisor finds it when this folder comes first on its import path. What a card has, and who has how much of it, is
read from the folder of the virtual GPU, never from vramd.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from support.virtual_gpu import Card


class NVMLError(Exception):
    """As the binding's own."""


@dataclass(frozen=True)
class Memory:
    total: int
    free: int


@dataclass(frozen=True)
class Process:
    pid: int
    usedGpuMemory: int


@dataclass(frozen=True)
class Rates:
    gpu: int = 0


@dataclass(frozen=True)
class Pci:
    busId: str


CARD = Card(Path(os.environ["GGML_VGPU_DIR"]), tuple(map(int, os.environ["GGML_VGPU_TOTAL"].split(","))))


def nvmlInit() -> None:
    pass


def nvmlSystemGetDriverVersion() -> str:
    return "999.virtual"


def nvmlDeviceGetCount() -> int:
    return len(CARD.totals)


def nvmlDeviceGetHandleByIndex(index: int) -> int:
    return index


def nvmlDeviceGetUUID(device: int) -> str:
    return f"GPU-VIRTUAL-{device}"


def nvmlDeviceGetName(device: int) -> str:
    return f"virtual card {device}"


def nvmlDeviceGetPciInfo(device: int) -> Pci:
    return Pci(f"00000000:{device + 1:02x}:00.0")


def nvmlDeviceGetMemoryInfo(device: int) -> Memory:
    return Memory(CARD.totals[device], CARD.free_bytes(device))


def nvmlDeviceGetMigMode(device: int) -> tuple[int, int]:
    return (0, 0)


def nvmlDeviceGetTemperature(device: int, sensor: int) -> int:
    return 40


def nvmlDeviceGetUtilizationRates(device: int) -> Rates:
    return Rates()


def nvmlDeviceGetComputeRunningProcesses_v3(device: int) -> list[Process]:
    return [Process(pid, CARD.taken_bytes(pid, device)) for pid in CARD.processes(device)]


def nvmlDeviceGetGraphicsRunningProcesses_v3(device: int) -> list[Process]:
    return []
