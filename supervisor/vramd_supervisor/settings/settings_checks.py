"""Checks a configuration beyond the types of its values. Pure."""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping

from vramd_common.load_settings import AUTO, LOAD_SETTINGS, load_faults
from vramd_common.printable import MOST_ID_CHARACTERS, MOST_NAME_CHARACTERS, is_name

from ..core.pressure import EASE_SHARE
from ..domain.config import (
    MOST_WARM_CHARACTERS,
    SIMULATED_FAULTS,
    Config,
    DeviceConfig,
    ModelConfig,
    SchedulingConfig,
    ServerConfig,
)
from ..domain.device_view import HOST
from ..selection.specialties import TASK_PREFIX

Path = tuple[str, ...]
Fault = tuple[Path, str]
"""Path of a fault, as keys from the outermost in, and its description."""

_LARGEST = (1 << 31) - 1
_REAL_GPU = re.compile(r"gpu\d+", re.ASCII)
_OTHER_GPU = re.compile(r"[a-z]+\d+", re.ASCII)
"""Names of devices that a driver or llama.cpp backend reports; the devices present are known only at start."""
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_DEVICE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*", re.ASCII)

_RENAMED = {"sacrificial": "expendable"}
_SIMULATED_KEYS = frozenset({"memory", "load_s", "tokens_per_s", "manners", "allocate"})
_LLAMA_KEYS = frozenset({"path", "warm_prompt", *(row.name for row in LOAD_SETTINGS if not row.simulated)})


def nearest(word: str, known: Iterable[str]) -> str:
    """Returns a hint at the word that was probably meant; empty if none is similar."""
    names = list(known)
    near = [name for name in names if name == _RENAMED.get(word)] or difflib.get_close_matches(word, names, 1)
    return f"; did you mean {near[0]}?" if near else ""


def faults(config: Config, given: Mapping[str, frozenset[str]]) -> Iterator[Fault]:
    """Yields all faults, in the order of the file's tables; `given` has the keys that each model's table sets."""
    yield from _server(config.server)
    yield from _scheduling(config.scheduling)
    for device, settings in config.devices.items():
        yield from ((("devices", device, *path), text) for path, text in _device(device, settings))
    for model, chosen in config.models.items():
        found = _model(model, chosen, given.get(model, frozenset()), config.devices)
        yield from ((("models", model, *path), text) for path, text in found)
    yield from _aliases(config.models)


def _least(key: str, value: float | None, least: float) -> Iterator[Fault]:
    if value is not None and value < least:
        yield (key,), f"must be {least:g} or more, not {value:g}"


def _within(key: str, value: int | None, least: int, most: int) -> Iterator[Fault]:
    if value is not None and not least <= value <= most:
        yield (key,), f"must be {least} to {most}, not {value}"


def _positive(key: str, value: float) -> Iterator[Fault]:
    if value <= 0:
        yield (key,), f"must be more than 0, not {value:g}"


def _share(key: str, value: float | None, least: float) -> Iterator[Fault]:
    if value is not None and not least <= value <= 1:
        yield (key,), f"must be a share of {least:g} to 1, not {value:g}"


def _server(server: ServerConfig) -> Iterator[Fault]:
    found = [
        *_share("alarm", server.alarm, EASE_SHARE),
        *_within("port", server.port, 0, 65535),
        *_within("reserved_cores", server.reserved_cores, 0, _LARGEST),
        *_positive("request_deadline_s", server.request_deadline_s),
        *_positive("load_deadline_s", server.load_deadline_s),
        *_positive("stall_s", server.stall_s),
        *_positive("load_stall_s", server.load_stall_s),
        *_positive("stream_gap_s", server.stream_gap_s),
        *_least("owner_grace_s", server.owner_grace_s, 0),
        *_least("idle_exit_s", server.idle_exit_s, 0),
        *_within("strikes", server.strikes, 0, _LARGEST),
        *_positive("quarantine_s", server.quarantine_s),
    ]
    if not server.host.strip():
        found.append((("host",), "must not be empty"))
    for name in server.worker_environment:
        if not _VARIABLE.fullmatch(name):
            found.append((("worker_environment",), f"{name!r} is no name of a variable"))
    if bool(server.tls_cert) != bool(server.tls_key):
        given, missing = ("tls_cert", "tls_key") if server.tls_cert else ("tls_key", "tls_cert")
        found.append(((given,), f"needs {missing}: a certificate and its key go together"))
    if server.tls_client_ca and not server.tls_cert:
        found.append((("tls_client_ca",), "needs tls_cert and tls_key: only by TLS does a client have a certificate"))
    if "" in server.models:
        found.append((("models",), "must not have an empty name"))
    return ((("server", *path), text) for path, text in found)


def _scheduling(scheduling: SchedulingConfig) -> Iterator[Fault]:
    found = [
        *_least("drain_s", scheduling.drain_s, 0),
        *_least("stop_s", scheduling.stop_s, 0),
        *_within("queue_per_model", scheduling.queue_per_model, 1, _LARGEST),
        *_within("queue_total", scheduling.queue_total, 1, _LARGEST),
        *_positive("starvation_bound_s", scheduling.starvation_bound_s),
        *_least("minimum_residency_s", scheduling.minimum_residency_s, 0),
        *_within("keep_resident", scheduling.keep_resident, 0, _LARGEST),
        *_within("at_most_resident", scheduling.at_most_resident, 0, _LARGEST),
    ]
    if 0 < scheduling.at_most_resident < scheduling.keep_resident:
        found.append((("keep_resident",), f"is more than at_most_resident, {scheduling.at_most_resident}"))
    return ((("scheduling", *path), text) for path, text in found)


def _device(device: str, settings: DeviceConfig) -> Iterator[Fault]:
    yield from _share("alarm", settings.alarm, EASE_SHARE)
    real = device == HOST or _REAL_GPU.fullmatch(device)
    if settings.kind is None and not real and not _OTHER_GPU.fullmatch(device):
        hint = "real devices are host, gpu0, amd0, vulkan0, …"
        yield (), f'{device} is no real device; a virtual one says kind = "virtual" ({hint})'
    elif settings.kind is None:
        if settings.total is not None:
            yield ("total",), "is known for a real device; its limit is budget"
    elif real:
        yield (), f"{device} is the name of a real device; call the virtual one otherwise"
    elif device == AUTO or not _DEVICE_ID.fullmatch(device) or len(device) > MOST_NAME_CHARACTERS:
        yield (), f"{device!r} cannot be the name of a device"
    elif settings.total is None:
        yield (), 'total is missing: a virtual device has as many bytes as it says, such as total = "8GiB"'
    elif settings.total <= 0:
        yield ("total",), "must be more than 0"
    elif settings.budget is not None and settings.budget > settings.total:
        yield ("budget",), f"is {settings.budget} bytes, more than the total of {settings.total}"


def _model(
    model: str, settings: ModelConfig, given: frozenset[str], devices: Mapping[str, DeviceConfig]
) -> Iterator[Fault]:
    if not is_name(model, MOST_ID_CHARACTERS):
        yield (), f"a model needs a name of at most {MOST_ID_CHARACTERS} printable characters"
    if model.startswith(TASK_PREFIX):
        yield (), f'"{TASK_PREFIX}" stands before a task: call the model otherwise'
    if any(not any(map(str.isalnum, task)) for task in settings.tasks):
        yield ("tasks",), "must not have an empty name"
    if any(not is_name(task, MOST_NAME_CHARACTERS) for task in settings.tasks):
        yield ("tasks",), f"must have names of at most {MOST_NAME_CHARACTERS} printable characters"
    if len(settings.warm_prompt) > MOST_WARM_CHARACTERS:
        yield ("warm_prompt",), f"has {len(settings.warm_prompt)} characters, at most {MOST_WARM_CHARACTERS} are taken"
    simulated = settings.engine == "simulated"
    for key in sorted(given & (_LLAMA_KEYS if simulated else _SIMULATED_KEYS)):
        other = 'a real model; this one has engine = "simulated"' if simulated else 'engine = "simulated"'
        yield (key,), f"is a setting of {other}"
    yield from ((((row.name,), fault) for row, fault in load_faults(settings.load)))
    if settings.group is not None and not settings.group.strip():
        yield ("group",), "must not be empty"
    if settings.path is not None and (not settings.path.strip() or "\0" in settings.path):
        yield ("path",), "must name a file"
    if simulated:
        yield from _simulated(settings, devices)
    elif settings.load.device is not None:
        yield from _known_device(("device",), settings.load.device, (AUTO, HOST, *devices))


def _aliases(models: Mapping[str, ModelConfig]) -> Iterator[Fault]:
    """Checks that each name means only one model."""
    taken = dict.fromkeys(models, "is the name of a model")
    for model, settings in models.items():
        for alias in settings.aliases:
            if fault := taken.get(alias) or _misnamed(alias):
                yield ("models", model, "aliases"), f'"{alias}" {fault}'
            taken[alias] = f"is an alias of {model} already"


def _misnamed(name: str) -> str:
    """Says what is wrong with an alias; empty if nothing is."""
    if not is_name(name, MOST_ID_CHARACTERS):
        return f"is no name of at most {MOST_ID_CHARACTERS} printable characters"
    return f'begins with "{TASK_PREFIX}", which stands before a task' if name.startswith(TASK_PREFIX) else ""


def _known_device(path: Path, device: str, known: Iterable[str]) -> Iterator[Fault]:
    names = tuple(known)
    if device not in names and not _OTHER_GPU.fullmatch(device):
        yield path, f"there is no device {device}{nearest(device, names)}"


def _simulated(settings: ModelConfig, devices: Mapping[str, DeviceConfig]) -> Iterator[Fault]:
    if not settings.memory:
        yield (), 'memory is missing: a simulated model says what it takes, such as memory = { host = "60MiB" }'
    for device in settings.memory:
        if device not in (HOST, *devices):
            yield ("memory", device), f"there is no device {device}{nearest(device, (HOST, *devices))}"
    yield from _least("load_s", settings.load_s, 0)
    yield from _positive("tokens_per_s", settings.tokens_per_s)
    for name in settings.manners:
        if name not in SIMULATED_FAULTS:
            yield (
                ("manners",),
                f'knows no "{name}"{nearest(name, SIMULATED_FAULTS)} (there are {", ".join(SIMULATED_FAULTS)})',
            )
