"""What the user has configured, as values. Pure: `settings_file` fills and checks them.

Field names are the keys of the TOML file. Sizes are bytes and durations seconds once they are here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import IntEnum
from typing import Any, Literal, NewType

from vramd_common.load_settings import ANYTHING, LoadOptions

Size = NewType("Size", int)
"""Bytes; in the file a number or text such as "8GiB", "600MB"."""


@dataclass(frozen=True)
class Headroom:
    """What stays free for other programs: the larger of both. In the file a size, or a share such as "15%"."""

    size_bytes: int = 0
    share: float = 0.0
    """Of the device's total, 0 to 1."""

    def of(self, total_bytes: int) -> int:
        """Bytes on a device of this size."""
        return max(self.size_bytes, int(self.share * total_bytes))


SIMULATED_FAULTS = (
    "exit-in-load",
    "hang-in-load",
    "oom",
    "exit-in-prompt",
    "exit-in-decode",
    "hang-in-decode",
    "block-after-first-token",
    "ignore-sigterm",
    "flood-stderr",
    "garbage-on-stdout",
    "grandchild",
    "leak",
    "bug",
)
"""What a simulated model can be made to do wrong; the worker's engine of that name does it."""


class Priority(IntEnum):
    """How urgent something is; less is more."""

    INTERACTIVE = 0
    """A person waits for it."""
    NORMAL = 1
    BATCH = 2


BOUND_FACTORS = {Priority.INTERACTIVE: 1, Priority.NORMAL: 2, Priority.BATCH: 8}
"""Of the starvation bound."""

PriorityName = Literal["interactive", "normal", "batch"]


@dataclass(frozen=True)
class ServerConfig:
    """`[server]`: where vramd listens and what it looks at."""

    host: str = "127.0.0.1"
    """Address to listen on. Other machines are kept out by the default."""
    port: int = 50151
    """0 picks a free one."""
    models: tuple[str, ...] = ()
    """Folders to look into for GGUF files, with all their subfolders. Relative ones start at the file's folder."""
    lm_studio: bool = False
    """Look into LM Studio's folder of models too."""
    hugging_face: bool = False
    """Look into the Hugging Face cache too."""
    watch: bool = True
    """Look into the folders again when something in them changes. Without it, and on network drives: `vramd rescan`."""
    headroom: Headroom | None = None
    """Left free on every device that does not say otherwise. Default: max(256 MiB, 3 %), none on virtual devices."""
    alarm: float = 0.90
    """Share of a device in use, by all programs, that is told as pressure; 0.05 to 1."""
    reserved_cores: int = 0
    """CPU threads that generating workers leave to the rest of the machine."""
    spare: bool = True
    """Keep an idle worker process ready, so that a load does not wait for one to start."""
    request_deadline_s: float = 600.0
    """For a request without a deadline of its own."""
    load_deadline_s: float = 900.0
    """For a load, from the start of its process until it is ready."""
    owner_grace_s: float = 2.0
    """With `--owned`: what runs may take this long to end once the owner is gone."""
    untested_engine: bool = False
    """Use a build of llama.cpp that vramd was not tested with."""


@dataclass(frozen=True)
class SchedulingConfig:
    """`[scheduling]`: who waits how long."""

    drain_s: float = 30.0
    """Running requests of a model that is to be unloaded may take this long to end."""
    stop_s: float = 2.0
    """A process that was asked to stop may take this long before it is killed."""
    queue_per_model: int = 64
    """Requests that may wait for one model."""
    queue_total: int = 512
    """Requests that may wait in all."""
    starvation_bound_s: float = 60.0
    """A load that waits for busy models starts within this, if it is interactive; normal ones within twice, batch ones
    within eight times as long."""
    minimum_residency_s: float = 10.0
    """A model that is in use is not sent away for another before it was ready for so long."""
    keep_resident: int = 0
    """So many models stay, the most recently used ones, however long they are idle."""
    at_most_resident: int = 0
    """So many models may be there at once; 0: as many as fit."""
    preload: Literal["first", "all", "none"] = "first"
    """Of the models that say so: the first of the file is loaded at start, or all that fit, or none."""


@dataclass(frozen=True)
class DeviceConfig:
    """`[devices.ID]`: a virtual device, or limits of a real one ("host", "gpu0", …)."""

    kind: Literal["virtual"] | None = None
    """Real devices are found by themselves."""
    total: Size | None = None
    """Bytes of a virtual device."""
    budget: Size | None = None
    """Bytes that vramd may promise at most. Default: total less headroom."""
    headroom: Headroom | None = None
    """Left free for other programs."""
    alarm: float | None = None
    """As in `[server]`, for this device."""


@dataclass(frozen=True, kw_only=True)
class ModelRules:
    """What the scheduler goes by, as the configuration says it of a model; the catalogue has it as it is."""

    aliases: tuple[str, ...] = ()
    """Other names for it, wherever a model is named."""
    pinned: bool = False
    """Never evicted, never idle for too long."""
    sacrificial: bool = False
    """The first to go when another needs room; what fails it does not try again: for the crash-prone."""
    preload: bool = False
    """Load it when the supervisor starts; see `[scheduling] preload`."""
    tasks: tuple[str, ...] = ()
    """What it is good for, such as "code". Default: guessed from its file."""

    @property
    def rules(self) -> Mapping[str, Any]:
        """The same by name, for another value that has them."""
        return {rule.name: getattr(self, rule.name) for rule in fields(ModelRules)}


@dataclass(frozen=True)
class ModelConfig(ModelRules):
    """`[models.ID]`: a simulated model, a file under a name of its own, or settings of a model that is found."""

    engine: Literal["llama", "simulated"] = "llama"
    """"simulated": a model without weights, for trials."""
    path: str | None = None
    """GGUF file; relative to the configuration file, else inside one of the folders. None: the model found as ID."""
    priority: PriorityName | None = None
    """Of requests that do not say. Default interactive."""
    group: str | None = None
    """Of the models of one group at most one is there at a time."""
    load: LoadOptions = ANYTHING
    """Each of the settings of a load stands in the table under its name: see `vramd_common.load_settings`."""
    memory: Mapping[str, Size] = field(default_factory=dict)
    """Simulated only: bytes per device."""
    load_s: float = 0.0
    """Simulated only: seconds of a load."""
    tokens_per_s: float = 50.0
    """Simulated only: per sequence."""
    manners: tuple[str, ...] = ()
    """Simulated only: what it does wrong, by name."""
    allocate: bool = False
    """Simulated only: the process really takes its host bytes."""


@dataclass(frozen=True)
class Config:
    """The whole configuration."""

    server: ServerConfig = field(default_factory=ServerConfig)
    scheduling: SchedulingConfig = field(default_factory=SchedulingConfig)
    devices: Mapping[str, DeviceConfig] = field(default_factory=dict)
    models: Mapping[str, ModelConfig] = field(default_factory=dict)
