"""What calls return: frozen values, no protobuf. Sizes are bytes, durations seconds; None is what nobody knows.

Field names are the keys of the command line's JSON.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

ModelState = Literal["UNSPECIFIED", "UNLOADED", "QUEUED", "STARTING", "LOADING", "READY", "DRAINING", "STOPPING"]
"""What a model is doing. UNSPECIFIED: a state that this client does not know yet."""

DeviceKind = Literal["unspecified", "host", "nvidia", "virtual"]

FinishReason = Literal["UNSPECIFIED", "STOP", "LENGTH"]
"""STOP: the model was done, or a stop string came. LENGTH: max_tokens or the context was reached."""

EventKind = Literal["UNSPECIFIED", "MODEL", "LEDGER", "EVICTION", "RELEASE"]


@dataclass(frozen=True)
class Usage:
    """What an answer took."""

    prompt_tokens: int
    completion_tokens: int
    prompt_s: float
    """From the worker's first step for this request to its first token."""
    generation_s: float
    """From the first token to the last."""


@dataclass(frozen=True)
class Finish:
    """How an answer ended."""

    reason: FinishReason
    usage: Usage


@dataclass(frozen=True)
class Embeddings:
    """One vector of length 1 per text, in the order given. Iterating gives the vectors."""

    model: str
    dimensions: int
    vectors: tuple[tuple[float, ...], ...]
    usage: Usage

    def __len__(self) -> int:
        return len(self.vectors)

    def __iter__(self) -> Iterator[tuple[float, ...]]:
        return iter(self.vectors)

    def __getitem__(self, index: int) -> tuple[float, ...]:
        return self.vectors[index]


@dataclass(frozen=True)
class DeviceUse:
    """Bytes of one loaded model on one device."""

    id: str
    reserved_bytes: int
    """Promised to the model in the ledger."""
    measured_bytes: int | None
    """What its process really takes."""


@dataclass(frozen=True)
class ResidentModel:
    """A model that has a process, or waits for one."""

    model: str
    incarnation: int
    """Which life of the model this is; 0 while it has no process yet."""
    state: ModelState
    pid: int | None
    devices: tuple[DeviceUse, ...]
    reserved_bytes: int
    measured_bytes: int | None
    parallel: int
    """Sequences that may run at the same time."""
    in_flight: int
    """Requests it works on."""
    queued: int
    """Requests that wait for it."""
    loaded_s: float | None
    """Seconds since it became ready."""
    last_used_s: float | None
    """Seconds since its last request began or ended."""
    pinned: bool
    context_tokens: int | None


@dataclass(frozen=True)
class Model:
    """A model that vramd knows."""

    id: str
    engine: str
    path: str | None
    """File, or the first of its shards; None for a simulated model."""
    size_bytes: int
    """Of all its files."""
    architecture: str | None
    parameters: int | None
    quantization: str | None
    trained_context_tokens: int | None
    has_chat_template: bool
    projector_path: str | None
    pinned: bool
    state: ModelState
    problem: str | None
    """Why it cannot be loaded."""
    resident: ResidentModel | None = None
    """Told by `Client.model` only."""


@dataclass(frozen=True)
class LoadProgress:
    """One step of a load."""

    state: ModelState
    progress: float | None
    """Share of the weights that is read, 0 to 1; None while there is none."""
    message: str
    """What it waits for, in words."""


@dataclass(frozen=True)
class DeviceReceipt:
    """What an unload gave back on one device."""

    id: str
    expected_bytes: int
    observed_bytes: int | None
    reason: str
    """How they were observed, or why they could not be."""


@dataclass(frozen=True)
class Receipt:
    """What an unload gave back."""

    model: str
    incarnation: int
    pid: int | None
    exit: str
    """How the process ended, in words."""
    exit_s: float
    """From the decision to stop until the process was gone."""
    release_s: float
    """From then until its memory was seen to be free."""
    expected_bytes: int
    observed_bytes: int | None
    reason: str
    devices: tuple[DeviceReceipt, ...]


@dataclass(frozen=True)
class Rescan:
    """What a new look into the folders found."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    known: int
    """Models known now."""


@dataclass(frozen=True)
class Device:
    """One device of the ledger."""

    id: str
    kind: DeviceKind
    name: str
    total_bytes: int
    budget_bytes: int
    """What vramd may promise at most."""
    reserved_bytes: int
    external_bytes: int
    """Taken by programs that are not vramd's."""
    headroom_bytes: int
    free_bytes: int
    """What can be promised now."""
    temperature_c: int | None
    utilisation_percent: int | None
    uuid: str | None
    unusable: str | None
    """Why no model is placed here, and what to do about it; None if models are."""


@dataclass(frozen=True)
class SupervisorInfo:
    """The supervisor's process."""

    pid: int
    version: str
    uptime_s: float
    rss_bytes: int
    address: str
    usable_cores: int
    """CPU threads that generating workers share."""


@dataclass(frozen=True)
class Status:
    """The supervisor, its devices and the resident models, at one moment."""

    supervisor: SupervisorInfo
    devices: tuple[Device, ...]
    models: tuple[ResidentModel, ...]


@dataclass(frozen=True)
class ModelChanged:
    """A model went from one state to another."""

    model: str
    incarnation: int
    before: ModelState
    after: ModelState
    cause: str


@dataclass(frozen=True)
class LedgerRow:
    """One device's row of the ledger."""

    id: str
    reserved_bytes: int
    budget_bytes: int


@dataclass(frozen=True)
class LedgerChanged:
    """What is promised after a change."""

    devices: tuple[LedgerRow, ...]
    cause: str


@dataclass(frozen=True)
class Evicted:
    """A model must go so that another can come."""

    model: str
    incarnation: int
    for_model: str
    reason: str


@dataclass(frozen=True)
class Event:
    """Something that happened in the supervisor."""

    sequence: int
    """Counts up from 1 without gaps as long as the supervisor lives."""
    time_s: float
    """Unix time."""
    kind: EventKind
    detail: ModelChanged | LedgerChanged | Evicted | Receipt | None
