"""`vramd doctor`: looks at this machine and installation.

Collects facts; `diagnosis` judges them. Starts one worker without a model to ask for its llama.cpp, and ends it again.
"""

import asyncio
import logging
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import psutil
from vramd_common.load_settings import AUTO
from vramd_common.rendezvous import Address, RuntimeDir, default_runtime_dir

from ..devices.backend import has_further_backends
from ..devices.cgroup import Cgroups
from ..devices.cpu_time import read_cpu
from ..devices.device import Device
from ..devices.devices import find_devices, warn_of_absent
from ..devices.host_memory import HostProbe, usable_cores
from ..devices.nvidia import NO_CUDA
from ..devices.nvml import driver_version, load_nvml
from ..domain.catalog import Model, ModelFile
from ..domain.config import Config, ServerConfig
from ..domain.device_view import HOST, DeviceKind, DeviceLostError, Sample, limits
from ..files.discovery import Discovery
from ..quoting.closed_form import embeds, quote
from ..quoting.placement import decide
from ..settings.listing import catalogue
from ..settings.settings_file import Flags, load_config
from ..threads.serial_calls import NoAnswerError
from ..workers import containment
from ..workers.huge_pages import kernel_mode, library_asks
from ..workers.planning import UNKNOWN_FACTS
from ..workers.process import ChildProcess, HelloError, Spawner
from ..workers.worker_environment import worker_environment
from .diagnosis import (
    CardFacts,
    EngineFacts,
    Facts,
    First,
    HostFacts,
    Line,
    ModelFacts,
    NvidiaFacts,
    Way,
    diagnose,
    take_first,
)

_NVIDIA_VENDOR = "0x10de"
_DISPLAY_CLASS = "0x03"
_COMPILERS = ("c++", "g++", "clang++", "cl")
_GET_COMPILER = {
    "apt-get": "sudo apt-get install g++",
    "dnf": "sudo dnf install gcc-c++",
    "zypper": "sudo zypper install gcc-c++",
    "pacman": "sudo pacman -S gcc",
    "apk": "sudo apk add g++",
}
"""By the program that installs on a system."""
_DRIVERS = "https://www.nvidia.com/drivers"
_MOST_PRINTED = 2000
_LOAD_S = 0.3
"""Time over which the load of the CPU is measured."""


class _Notes(logging.Handler):
    """Collects warnings that would have been logged: they are findings too."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


@dataclass(frozen=True)
class Diagnosis:
    facts: Facts
    first: First | None
    lines: Sequence[Line]


def examine(file: Path | None, models: Sequence[str], runtime_dir: Path | None) -> Diagnosis:
    """Examines the machine for this configuration file and these folders. Raises ConfigError. Needs the main thread."""
    notes = _Notes()
    logger = logging.getLogger()
    logger.addHandler(notes)
    try:
        config = load_config(file, os.environ, Flags(tuple(str(Path(folder).absolute()) for folder in models)))
        base = file.absolute().parent if file else Path.cwd()
        facts = replace(look(config, base, runtime_dir or _own_runtime_dir()), notes=tuple(notes.texts))
    finally:
        logger.removeHandler(notes)
    return Diagnosis(facts, take_first(facts.models, facts.free), diagnose(facts))


def _own_runtime_dir() -> Path | None:
    try:
        return default_runtime_dir()
    except OSError as error:  # the folder below /tmp that the system would take belongs to another user
        logging.getLogger(__name__).warning("there is no runtime folder: %s", error)
        return None


def look(config: Config, base: Path, runtime_dir: Path | None) -> Facts:
    """Collects the facts, in about a second; many models take longer. Needs the main thread.

    `base` is the folder of the configuration's relative paths.
    """
    leave_job = containment.contain()
    engine, idle_bytes = asyncio.run(_ask_worker(config.server))
    leave_job()
    devices = find_devices(config)
    if not has_further_backends(worker_environment(os.environ, config.server.worker_environment)):
        warn_of_absent(config, devices)
    samples = {device.id: _sample(device) for device in devices}
    unusable = {
        device.id: _unusable(device, samples[device.id], engine)
        for device in devices
        if device.kind is not DeviceKind.VIRTUAL
    }
    cores = usable_cores(config.server.reserved_cores)
    known = catalogue(config, *Discovery(config, base, os.environ, Path.home()).look({}))
    files = [(model, model.source) for model in known.values() if isinstance(model.source, ModelFile)]
    packages = {name: version(name) for name in ("vramd", "grpcio", "protobuf")}
    return Facts(
        host=_host(cores, config.server.huge_pages),
        nvidia=NvidiaFacts(_driver(), _cards_on_bus(), _get_driver()),
        engine=engine,
        versions={"Python": platform.python_version(), **packages},
        compiler=next((path for name in _COMPILERS if (path := shutil.which(name))), ""),
        get_compiler=_get_compiler(),
        supervisor=_supervisor(RuntimeDir(runtime_dir)) if runtime_dir else "",
        cards=[_card(device, samples[device.id], unusable[device.id]) for device in devices if device.kind.is_card],
        free={device.id: _free_bytes(config, device, samples[device.id]) for device in devices},
        models=[_model(model, file, unusable, cores, idle_bytes) for model, file in files],
    )


def _host(cores: int, wants_huge_pages: bool) -> HostFacts:
    memory = HostProbe().sample()
    return HostFacts(
        cpu=cpu_name(),
        physical_cores=psutil.cpu_count(logical=False),
        logical_cores=psutil.cpu_count() or 1,
        usable_cores=cores,
        quota_cores=Cgroups().cpu_quota(),
        ram_total_bytes=memory.total_bytes,
        ram_available_bytes=memory.total_bytes - memory.used_bytes,
        foreign_cores=_foreign_cores(),
        huge_pages=kernel_mode() if library_asks() else "",
        wants_huge_pages=wants_huge_pages,
    )


def _foreign_cores() -> float | None:
    """What the system tells in a moment of what runs now, a supervisor and its workers among it."""
    try:
        before = read_cpu(())
        time.sleep(_LOAD_S)
        return read_cpu(()).foreign_cores(before)
    except (psutil.Error, OSError) as error:
        logging.getLogger(__name__).warning("the system does not tell what the CPU does: %s", error)
        return None


async def _ask_worker(server: ServerConfig) -> tuple[EngineFacts, int]:
    """Asks a worker for its llama.cpp; returns that and the host bytes of a worker without a model."""
    printed: list[bytes] = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        try:
            spawner = Spawner(variables=server.worker_environment, asks_for_huge_pages=server.huge_pages)
            child = await spawner.start("vramd_worker", folder)
        except (NoAnswerError, OSError) as error:
            return EngineFacts("", f"a worker could not be started: {error}", ()), UNKNOWN_FACTS.idle_bytes
        process = ChildProcess(child, "", server.untested_engine, printed.append, lambda *_: None)
        try:
            hello = await process.hello()
            idle_bytes = HostProbe().process_bytes(hello.pid)
        except HelloError as error:
            said = b"".join(printed).decode("utf-8", "replace").strip()[-_MOST_PRINTED:]
            return EngineFacts("", f"{error}: {said or 'it printed nothing'}", ()), UNKNOWN_FACTS.idle_bytes
        finally:
            await process.kill()
    facts = EngineFacts(hello.llama_version, hello.llama_problem, hello.backends)
    return facts, UNKNOWN_FACTS.idle_bytes if idle_bytes is None else idle_bytes


def _sample(device: Device) -> Sample:
    """Samples a device; one that does not answer counts as empty."""
    try:
        return device.probe.sample()
    except DeviceLostError as error:
        logging.getLogger(__name__).warning("%s gives no answer: %s", device.id, error)
        return Sample(0, 0)


def _unusable(device: Device, sample: Sample, engine: EngineFacts) -> str:
    if not device.unusable and not sample.total_bytes:
        return "it gives no answer"
    return device.backend.why_unusable(device, engine.backends)


def _card(device: Device, sample: Sample, unusable: str) -> CardFacts:
    why, _, get = unusable.partition(": ") if unusable == NO_CUDA else (unusable, "", "")
    free_bytes = sample.total_bytes - sample.used_bytes
    return CardFacts(device.id, device.name, sample.total_bytes, free_bytes, why, get)


def _driver() -> str:
    nvml = load_nvml()
    if nvml is None:
        return ""
    return driver_version(nvml) or "gives no version"


def _cards_on_bus() -> int:
    """Counts NVIDIA's display devices, with or without a driver. 0 outside Linux, which alone lists them in files."""
    folders = Path("/sys/bus/pci/devices").glob("*")
    return sum(
        _text(folder / "vendor") == _NVIDIA_VENDOR and _text(folder / "class").startswith(_DISPLAY_CLASS)
        for folder in folders
    )


def _text(file: Path) -> str:
    try:
        return file.read_text("ascii", "replace").strip()
    except OSError:  # a device may leave meanwhile
        return ""


def _get_driver() -> str:
    if Path("/.dockerenv").exists() or Path("/run/.containerenv").exists():
        return "start the container with its cards: docker run --gpus all …"
    return "sudo ubuntu-drivers install" if shutil.which("ubuntu-drivers") else _DRIVERS


def _get_compiler() -> str:
    if sys.platform == "win32":
        return "winget install Microsoft.VisualStudio.2022.BuildTools"
    elif sys.platform == "darwin":  # noqa: RET505  mypy takes what follows a platform's return for unreachable
        return "xcode-select --install"
    else:
        found = (line for program, line in _GET_COMPILER.items() if shutil.which(program))
        return next(found, "install g++ or clang++")


def cpu_name() -> str:
    """The CPU's name, which Linux tells in a file only."""
    named = (
        line.partition(":")[2].strip()
        for line in _text(Path("/proc/cpuinfo")).splitlines()
        if line.startswith("model name")
    )
    return next(named, platform.processor() or platform.machine())


def _supervisor(folder: RuntimeDir) -> str:
    recorded = Address.read(folder.address_file)
    if recorded is None or not psutil.pid_exists(recorded.pid):
        return ""
    return f"vramd {recorded.version} at {recorded.address}, pid {recorded.pid}; what its models hold is not free"


def _free_bytes(config: Config, device: Device, sample: Sample) -> int:
    """The bytes that may be promised on a device now."""
    may = limits(config, device.id, device.kind, sample.total_bytes)
    return max(0, min(may.budget_bytes, sample.total_bytes - sample.used_bytes - may.headroom_bytes))


def _model(model: Model, file: ModelFile, devices: Mapping[str, str], cores: int, idle_bytes: int) -> ModelFacts:
    """Quotes a model on each usable device. `devices` maps the real ones, cards first, to why they are unusable."""
    found = ModelFacts(model.id, file.path, file.size_bytes, not embeds(file.shape))
    if file.problem:
        return replace(found, problem=file.problem.text)
    asked = model.options.device
    usable = [device for device, unusable in devices.items() if not unusable]
    if model.options.gpu_layers == 0:
        usable = [HOST]
    elif asked not in (None, AUTO):
        usable = [device for device in usable if device == asked]
    if not usable:
        return replace(found, problem=f"it is configured for {asked}, which cannot be used")
    settings = [decide(file, model.options, cores, device) for device in usable]
    quotes = [quote(file, decided, idle_bytes) for decided in settings]
    needs = [{device: need.total_bytes for device, need in quoted.devices.items()} for quoted in quotes]
    return replace(found, ways=[Way(device, need) for device, need in zip(usable, needs, strict=True)])
