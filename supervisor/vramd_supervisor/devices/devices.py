"""Finds the devices of this machine."""

import logging
from collections.abc import Iterable

from ..domain.config import Config
from . import drm, host_memory, nvidia, virtual
from .device import Device
from .nvml import Nvml, load_nvml
from .probe import Probe

_log = logging.getLogger(__name__)


def find_devices(config: Config, nvml: Nvml | None = None, roots: drm.Roots | None = None) -> list[Device]:
    """Returns NVIDIA cards, AMD and Intel cards, virtual devices, then the host. A missing driver is no fault.

    `nvml` replaces the binding, which None loads; `roots` has the paths of the system's files.
    """
    binding = nvml or load_nvml()
    host = host_memory.HostProbe()
    return [*(nvidia.find(binding, host) if binding else ()), *drm.find(roots, host), *without_cards(config, host)]


def without_cards(config: Config, host: Probe | None = None) -> list[Device]:
    """Returns the devices that need no driver: virtual devices, then the host."""
    return [*virtual.find(config), host_memory.find(host)]


def warn_of_absent(config: Config, devices: Iterable[Device]) -> None:
    """Logs the devices that the configuration has limits for but that are absent."""
    for absent in sorted(set(config.devices) - {device.id for device in devices}):
        _log.warning("the configuration has limits for %s, which is not there", absent)
