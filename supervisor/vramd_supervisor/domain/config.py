"""The user's configuration, as values. Pure: `settings_file` fills and checks them.

Field names are the keys of the TOML file. Here sizes are in bytes and durations in seconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import IntEnum
from typing import Any, Literal, NewType

from vramd_common.load_settings import ANYTHING, LoadOptions

Size = NewType("Size", int)
"""Bytes; in the file, a number or text such as "8GiB" or "600MB"."""


@dataclass(frozen=True)
class Headroom:
    """Memory left free for other programs: the larger of both fields. In the file, a size or a share such as "15%"."""

    size_bytes: int = 0
    share: float = 0.0
    """Share of the device's total, 0 to 1."""

    def of(self, total_bytes: int) -> int:
        """Returns the headroom in bytes on a device of this size."""
        return max(self.size_bytes, int(self.share * total_bytes))


SIMULATED_FAULTS = (
    "exit-in-load",
    "hang-in-load",
    "oom",
    "exit-in-prompt",
    "exit-on-poison",
    "exit-in-decode",
    "hang-in-decode",
    "block-after-first-token",
    "ignore-sigterm",
    "flood-stderr",
    "garbage-on-stdout",
    "grandchild",
    "leak",
    "bug",
    "spin-in-decode",
    "close-sockets",
)
"""Faults that a simulated model can have; the worker's engine `simulated` implements them."""


class Priority(IntEnum):
    """Urgency of a request or load; a lower number is more urgent."""

    INTERACTIVE = 0
    """A person is waiting."""
    NORMAL = 1
    BATCH = 2


BOUND_FACTORS = {Priority.INTERACTIVE: 1, Priority.NORMAL: 2, Priority.BATCH: 8}
"""Multiple of `starvation_bound_s` that applies to each priority."""

MOST_WARM_CHARACTERS = 1 << 20
"""Of a `warm_prompt`."""

PriorityName = Literal["interactive", "normal", "batch"]


@dataclass(frozen=True)
class ServerConfig:
    """`[server]`: where vramd listens, where it looks for models, and defaults."""

    host: str = "127.0.0.1"
    """Address to listen on. The default accepts connections from this machine only."""
    port: int = 50151
    """TCP port to listen on; 0 picks a free one."""
    tls_cert: str = ""
    """Certificate to serve with by TLS (PEM), with those that signed it. An address that other machines reach needs
    one; `vramd cert` makes it."""
    tls_key: str = ""
    """Key of the certificate (PEM, without a password)."""
    tls_client_ca: str = ""
    """Certificates (PEM) of which a client's must be one, or signed by one. Without it clients need the token only."""
    insecure_network: bool = False
    """Listen on an address that other machines reach without TLS: they can read the token, prompts and answers."""
    models: tuple[str, ...] = ()
    """Folders to search for GGUF files, with subfolders. Relative paths start at the configuration file's folder."""
    lm_studio: bool = False
    """Search LM Studio's model folder too."""
    hugging_face: bool = False
    """Search the Hugging Face cache too."""
    watch: bool = True
    """Search the folders again when they change. Without it, and on network drives, run `vramd rescan`."""
    headroom: Headroom | None = None
    """Memory left free on each device that sets no `headroom`. Default: max(256 MiB, 3 %), none on virtual devices."""
    alarm: float = 0.90
    """Share of a device in use by all programs from which vramd reports pressure; 0.05 to 1."""
    reserved_cores: int = 0
    """CPU threads that generating workers leave for the rest of the machine."""
    yield_cores: bool = True
    """Use fewer CPU threads while other programs take cores: a thread that waits for its core holds up all others."""
    spare: bool = True
    """Keep an idle worker process ready, so that a load does not wait for one to start."""
    request_deadline_s: float = 600.0
    """Deadline of a request that sets none."""
    load_deadline_s: float = 900.0
    """Deadline of a load, from the start of its process until it is ready."""
    stall_s: float = 20.0
    """Time without progress after which a process that owes an answer is ended. A slow model has longer: 20 times what
    its present step is expected to take."""
    load_stall_s: float = 60.0
    """Time without progress after which a load is ended."""
    owner_grace_s: float = 2.0
    """With `--lifeline`: time for running requests to finish once the owner is gone."""
    idle_exit_s: float = 0.0
    """End after this time without any call, hold or reservation; 0: never. Probes of health do not count."""
    huge_pages: bool = True
    """Keep weights, KV cache and scratch in RAM in huge pages, where the kernel gives them (Linux); see
    docs/memory.md."""
    weights: Literal["read", "mapped"] = "read"
    """How weights come into RAM: read from the file into memory of the process, or mapped, so that the file must stay
    as it is; see docs/memory.md."""
    stream_gap_s: float = 0.15
    """Longest time between two tokens of a stream while prompts of the same model are computed beside it, as long as
    these take at most 1.6 times as long; see docs/scheduling.md."""
    worker_environment: tuple[str, ...] = ()
    """Names of further variables that workers get, such as "GGML_BACKEND_PATH"; see docs/security.md."""
    strikes: int = 3
    """Deaths of a model's processes within 10 minutes that put it into quarantine; 0: never."""
    quarantine_s: float = 900.0
    """Time that a model in quarantine is not loaded. Then one load is tried."""
    untested_engine: bool = False
    """Use a llama.cpp build that vramd was not tested with."""


@dataclass(frozen=True)
class SchedulingConfig:
    """`[scheduling]`: waiting times, queues, and the number of resident models."""

    drain_s: float = 30.0
    """Time for running requests to finish when their model is being unloaded."""
    stop_s: float = 2.0
    """Time for a process to stop when asked, before it is killed."""
    queue_per_model: int = 64
    """Most requests that may wait for one model."""
    queue_total: int = 512
    """Most requests that may wait in total."""
    starvation_bound_s: float = 60.0
    """Longest wait of an interactive load for busy models; normal loads wait at most twice, batch loads eight times as
    long."""
    minimum_residency_s: float = 10.0
    """Time that a model in use stays ready before it may be evicted for another."""
    keep_resident: int = 0
    """Number of most recently used models that stay loaded, however long they are idle."""
    at_most_resident: int = 0
    """Most models that may be loaded at once; 0: as many as fit."""
    preload: Literal["first", "all", "none"] = "first"
    """Which models with `preload` are loaded at start: the first in the file, all that fit, or none."""


@dataclass(frozen=True)
class DeviceConfig:
    """`[devices.ID]`: a virtual device, or the limits of a real one ("host", "gpu0", …)."""

    kind: Literal["virtual"] | None = None
    """"virtual" declares a virtual device; real devices are detected."""
    total: Size | None = None
    """Size of a virtual device."""
    budget: Size | None = None
    """Most bytes that vramd may promise. Default: total less headroom."""
    headroom: Headroom | None = None
    """Memory left free for other programs on this device."""
    alarm: float | None = None
    """Pressure threshold of this device, as in `[server]`."""


@dataclass(frozen=True, kw_only=True)
class ModelRules:
    """Keys of a model that the catalogue takes over from the configuration unchanged."""

    aliases: tuple[str, ...] = ()
    """Other names for the model, accepted wherever a model is named."""
    pinned: bool = False
    """Never evict the model, and never unload it when idle."""
    expendable: bool = False
    """Evict the model before all others, and retry nothing that fails; for crash-prone models."""
    preload: bool = False
    """Load the model when the supervisor starts; see `[scheduling] preload`."""
    memory_limit: Size | None = None
    """Most host memory that the model's process may take; one that takes more is ended, whatever runs on it. Default:
    one that outgrows its load is ended once nobody uses it."""
    tasks: tuple[str, ...] = ()
    """Tasks that the model is good at, such as "code". Default: guessed from its file."""
    warm_prompt: str = ""
    """Text that prompts begin with, computed at each load and kept for all callers, so that the first answer comes as
    soon as later ones: the system message of conversations; of a model without a chat template, a literal prompt."""

    @property
    def rules(self) -> Mapping[str, Any]:
        """Returns the rules by name, to build another value that has them."""
        return {rule.name: getattr(self, rule.name) for rule in fields(ModelRules)}


@dataclass(frozen=True)
class ModelConfig(ModelRules):
    """`[models.ID]`: a simulated model, a file under a chosen name, or settings of a model found in a folder."""

    engine: Literal["llama", "simulated"] = "llama"
    """Engine that runs the model; "simulated" needs no weights and is for trials."""
    path: str | None = None
    """GGUF file, relative to the configuration file, else inside one of the folders. Default: the model found as ID."""
    priority: PriorityName | None = None
    """Priority of requests that set none. Default: interactive."""
    group: str | None = None
    """Group of which at most one model is loaded at a time."""
    load: LoadOptions = ANYTHING
    """Load settings, each a key of the model's table: see `vramd_common.load_settings`."""
    memory: Mapping[str, Size] = field(default_factory=dict)
    """Simulated only: bytes per device."""
    load_s: float = 0.0
    """Simulated only: duration of a load."""
    tokens_per_s: float = 50.0
    """Simulated only: speed of each sequence."""
    manners: tuple[str, ...] = ()
    """Simulated only: names of the faults it has."""
    allocate: bool = False
    """Simulated only: really allocate the host bytes."""


@dataclass(frozen=True)
class Config:
    server: ServerConfig = field(default_factory=ServerConfig)
    scheduling: SchedulingConfig = field(default_factory=SchedulingConfig)
    devices: Mapping[str, DeviceConfig] = field(default_factory=dict)
    models: Mapping[str, ModelConfig] = field(default_factory=dict)
