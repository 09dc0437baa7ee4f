"""Plans of loads, and the choice of a model for a task."""

from dataclasses import dataclass

from vramd.values.former_names import FormerNames
from vramd.values.words import Awaited, Lowered, QuoteConfidence, QuoteSource, Verdict


@dataclass(frozen=True)
class PlanSettings:
    """The settings of a load, all of them resolved.

    >>> settings = client.plan("talker", parallel=4).settings
    >>> settings.context, settings.kv_type, settings.devices
    (4096, 'f16', ('gpu0',))
    """

    context: int
    """Tokens that all parallel sequences share."""
    batch: int
    """Tokens per decode step at most."""
    ubatch: int
    """Tokens of one computation at most."""
    kv_type: str
    flash_attention: str
    """"auto", "on" or "off"."""
    parallel: int
    """Sequences that may run at the same time."""
    outputs: int
    """Tokens of one computation whose result may be wanted."""
    gpu_layers: int
    """Layers on the GPU; -1 is all."""
    threads: int
    """CPU threads while it computes alone."""
    devices: tuple[str, ...]
    """Those that compute; several share the layers."""
    swa_full: bool
    """The whole context is kept in layers with a sliding window too."""
    kv_split: bool
    """Each sequence has its own cache."""


@dataclass(frozen=True)
class QuotedDevice:
    """The memory that a load needs on one device.

    >>> [(device.id, device.weights_bytes) for device in client.plan("talker").quote.devices]
    [('gpu0', 2147483648), ('host', 0)]
    """

    id: str
    weights_bytes: int
    context_bytes: int
    """KV cache and recurrent state."""
    compute_bytes: int
    """Scratch of the graph, and the results."""
    process_bytes: int
    """The process itself: interpreter, driver context, workspaces."""

    @property
    def total_bytes(self) -> int:
        """Over all kinds.

        >>> client.plan("talker").quote.devices[0].total_bytes
        3221225472
        """
        return self.weights_bytes + self.context_bytes + self.compute_bytes + self.process_bytes


@dataclass(frozen=True)
class Quote:
    """The memory that a load needs, and the source of the figures.

    >>> quote = client.plan("talker").quote
    >>> quote.source, quote.confidence
    ('dry_run', 'exact')
    """

    source: QuoteSource | str
    """"declared": by the configuration of a simulated model; "learned": by former loads."""
    confidence: QuoteConfidence | str
    seconds: float
    """The time that it took to find out."""
    devices: tuple[QuotedDevice, ...]


@dataclass(frozen=True)
class PlannedDevice:
    """A device as a plan finds it.

    >>> [(device.id, device.free_bytes) for device in client.plan("talker").devices]
    [('gpu0', 2147483648), ('host', 1073741824)]
    """

    id: str
    free_bytes: int
    """The most that can be promised now."""
    reserved_bytes: int
    external_bytes: int
    """Taken by programs that are not vramd's."""
    headroom_bytes: int


@dataclass(frozen=True)
class GivenBack:
    """The memory that an eviction would free on one device.

    >>> client.plan("talker").victims[0].gives_back[0]
    GivenBack(id='gpu0', bytes=1610612736)
    """

    id: str
    bytes: int


@dataclass(frozen=True)
class Victim(FormerNames):
    """A process that would be evicted.

    >>> [victim.model for victim in client.plan("talker").victims]
    ['reader']
    """

    model: str
    """Empty for the spare, a process without a model."""
    worker_id: int
    gives_back: tuple[GivenBack, ...]


@dataclass(frozen=True)
class NearestSettings(PlanSettings):
    """Settings that would fit where those asked for do not.

    >>> for settings in client.plan("talker", context=65536).nearest:
    ...     print(settings.context, settings.kv_type, settings.needed_bytes, settings.changes)
    1536 q8_0 3221225472 ('ubatch 128', 'kv-type q8_0', 'context of 1536 tokens instead of 65536')
    """

    needed_bytes: int
    """Over all devices."""
    changes: tuple[str, ...]
    """In words."""
    lowered: tuple[Lowered | str, ...]
    """The setting of each of these."""


@dataclass(frozen=True)
class Plan:
    """The plan of a load: its memory, whether it fits, and what it would evict.

    >>> plan = client.plan("talker")
    >>> plan.fits, plan.message, plan.expected_load_s
    (True, '1.00 GiB are missing on gpu0', 2.5)
    """

    model: str
    fits: bool
    """It could be loaded now, after the evictions."""
    settings: PlanSettings
    quote: Quote
    devices: tuple[PlannedDevice, ...]
    """Those that the load would touch."""
    victims: tuple[Victim, ...]
    """In the order of eviction."""
    expected_load_s: float | None
    """Seconds until it would be ready."""
    nearest: tuple[NearestSettings, ...]
    """Nearest first; empty if it fits."""
    degraded: tuple[str, ...]
    """The settings that were lowered so that it fits, in words."""
    cautions: tuple[str, ...]
    """Risks of the settings for the answers, in words: a context longer than the model was trained for."""
    message: str
    """The wait before it would begin, or the reason that it does not fit; empty if it would begin at once."""
    verdict: Verdict | str
    """The outcome, were it asked for now; no_room and too_large are refusals."""
    awaited: Awaited | str
    """The thing that it would wait for; "unspecified" if it would not wait."""
    lowered: tuple[Lowered | str, ...]
    """The setting of each step of `degraded`."""


@dataclass(frozen=True)
class Considered:
    """A candidate that was not chosen.

    >>> client.select("code_generation").considered[0]
    Considered(model='talker', score=61.0, why_not='a general model, not made for code')
    """

    model: str
    score: float
    """The higher the better; comparable within one answer only."""
    why_not: str


@dataclass(frozen=True)
class Selection:
    """The model for a task, and why.

    >>> selection = client.select("code_generation", role="architect")
    >>> selection.model, selection.loaded, selection.reasons[0]
    ('coder', False, 'made for code: its name says so')
    """

    model: str
    score: float
    """The higher the better; comparable within one answer only."""
    loaded: bool
    """It answers at once."""
    fits: bool
    """It could be loaded now, after evictions."""
    reasons: tuple[str, ...]
    """In its favour, the weightiest first."""
    considered: tuple[Considered, ...]
    """The other candidates, best first."""
