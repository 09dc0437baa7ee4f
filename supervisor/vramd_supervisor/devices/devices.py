"""Finds the devices of this machine. Decides nothing."""

import logging
from collections.abc import Iterable

from ..domain.config import Config
from . import drm, host_memory, nvidia, virtual
from .device import Device
from .nvml import Nvml, load_nvml
from .probe import Probe

_log = logging.getLogger(__name__)


def find_devices(config: Config, nvml: Nvml | None = None, roots: drm.Roots | None = None) -> list[Device]:
    """NVIDIA cards, AMD and Intel ones, virtual devices, then the host. Without a driver there are no cards: no fault.

    `nvml` stands in for the binding, None loads it; `roots` says where the system's files are.
    """
    binding = nvml or load_nvml()
    host = host_memory.HostProbe()
    return [*(nvidia.find(binding, host) if binding else ()), *drm.find(roots, host), *without_cards(config, host)]


def without_cards(config: Config, host: Probe | None = None) -> list[Device]:
    """Those that no driver has to be asked for: virtual devices, then the host."""
    return [*virtual.find(config), host_memory.find(host)]


def warn_of_absent(config: Config, devices: Iterable[Device]) -> None:
    """Logs the devices that the configuration has limits for and that are not among all the devices there are."""
    for absent in sorted(set(config.devices) - {device.id for device in devices}):
        _log.warning("the configuration has limits for %s, which is not there", absent)
