"""Settings of a load: the options that may be requested, a row each, and the decided values. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

from .printable import MOST_NAME_CHARACTERS
from .settings_table import Setting, rows, setting

MOST_TOKENS = 1 << 24
"""Bound of every number of tokens."""
DEFAULT_CONTEXT_TOKENS = 8192
DEFAULT_BATCH_TOKENS = 512
DEFAULT_PARALLEL = 4
MORE_PARALLEL = 8
"""Default where the context has `SEQUENCE_TOKENS` for each sequence, and a further one costs next to nothing."""
SEQUENCE_TOKENS = 1024
DEFAULT_KEEP_ALIVE_S = 300.0
ALL_LAYERS, AUTO_LAYERS = -1, -2
"""Numbers that mean "all" and "auto" as `gpu_layers`."""
AUTO = "auto"
"""Value of a setting that lets vramd choose."""
KV_TYPES = ("f16", "f32", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl")
FLASH_ATTENTIONS = (AUTO, "on", "off")


@dataclass(frozen=True)
class LoadOptions:
    """Options that a call or the configuration sets for a load; None leaves one open."""

    context_tokens: int | None = setting(
        "Tokens that all parallel sequences share.",
        name="context",
        default=f"min(trained, {DEFAULT_CONTEXT_TOKENS})",
        least=1,
        most=MOST_TOKENS,
        simulated=True,
    )
    threads: int | None = setting(
        "CPU threads while the model computes alone.",
        default="the physical cores less two, at most 12, at least 1",
        least=1,
        most=1024,
        simulated=True,
    )
    device: str | None = setting(
        "Id of a device, or auto.",
        default="of the GPUs that it fits on the one with the least room to spare, else host",
        characters=MOST_NAME_CHARACTERS,
    )
    gpu_layers: int | None = setting(
        "Layers on the GPU: a number, all, or auto for as many as fit.",
        default="auto",
        least=0,
        most=(1 << 31) - 1,
        words={AUTO: AUTO_LAYERS, "all": ALL_LAYERS},
    )
    batch_tokens: int | None = setting(
        "Tokens per decode step.",
        name="batch",
        default=f"{DEFAULT_BATCH_TOKENS}, on small cards 256",
        least=1,
        most=MOST_TOKENS,
    )
    kv_type: str | None = setting("Type of the KV cache.", default="f16", words=KV_TYPES)
    parallel: int | None = setting(
        "Sequences that may run at the same time.",
        default=f"{MORE_PARALLEL} or {DEFAULT_PARALLEL}, see docs/memory.md",
        least=1,
        most=256,
        simulated=True,
    )
    keep_alive_s: float | None = setting(
        "Seconds that the model stays after its last use; 0 leaves at once, -1 stays.",
        default=f"{DEFAULT_KEEP_ALIVE_S:g}",
        least=0,
        also={-1: "to stay"},
        applied=True,
        simulated=True,
    )
    ubatch_tokens: int | None = setting(
        "Tokens of one computation, a part of the batch.",
        name="ubatch",
        default=f"as the batch, at most {DEFAULT_BATCH_TOKENS}",
        least=1,
        most=MOST_TOKENS,
    )
    flash_attention: str | None = setting(
        "Attention without its whole matrix in memory; auto: where the backend has it.",
        default="auto",
        words=FLASH_ATTENTIONS,
    )
    swa_full: bool | None = setting("Keep the whole context in layers with a sliding window too.", default="false")
    outputs: str | None = setting(
        "Results of one computation: auto (one for each sequence), all, or a number.",
        default="auto",
        least=1,
        most=MOST_TOKENS,
        words=(AUTO, "all"),
    )
    kv_split: bool | None = setting("A separate cache for each sequence instead of a shared one.", default="false")
    gpu_only: bool | None = setting("Refuse rather than leave a layer to the CPU.", default="false", applied=True)
    least_context_tokens: int | None = setting(
        "Tokens of context that are enough where the whole context does not fit.",
        name="least_context",
        default="only the default context is lowered, to 2048",
        least=1,
        most=MOST_TOKENS,
        applied=True,
    )
    degrade: bool | None = setting(
        "Take smaller settings where the default ones do not fit.", default="on GPUs", applied=True
    )

    def over(self, weaker: "LoadOptions") -> "LoadOptions":
        """Returns these options, with the open ones taken from `weaker`."""
        if self == ANYTHING:
            return weaker
        mine = {f.name: getattr(self, f.name) for f in fields(self)}
        return LoadOptions(**{key: getattr(weaker, key) if value is None else value for key, value in mine.items()})

    def chosen(self) -> "LoadOptions":
        """Returns these options without "auto" for device and GPU layers, which only overrides a weaker setting."""
        if self.device != AUTO and self.gpu_layers != AUTO_LAYERS:
            return self
        device = None if self.device == AUTO else self.device
        gpu_layers = None if self.gpu_layers == AUTO_LAYERS else self.gpu_layers
        return replace(self, device=device, gpu_layers=gpu_layers)


ANYTHING = LoadOptions()
"""Options that leave everything open."""

LOAD_SETTINGS = rows(LoadOptions)


def load_faults(options: LoadOptions) -> Iterator[tuple[Setting, str]]:
    """Yields the settings that are out of range, each with its fault in words."""
    for row in LOAD_SETTINGS:
        is_least = row.field == "least_context_tokens" and options.context_tokens
        bounded = replace(row, most=options.context_tokens) if is_least else row
        if fault := bounded.fault(getattr(options, row.field)):
            yield row, fault


@dataclass(frozen=True)
class Settings:
    """Settings of a load, each one decided."""

    context_tokens: int
    threads: int
    device: str
    """Id of the device that computes, or of the first of several; "host" for the CPU."""
    gpu_layers: int
    """-1 is all."""
    batch_tokens: int
    kv_type: str
    parallel: int
    ubatch_tokens: int = DEFAULT_BATCH_TOKENS
    """Tokens of one computation at most (n_ubatch)."""
    flash_attention: str = "auto"
    """"auto", "on" or "off"."""
    outputs: int = DEFAULT_PARALLEL
    """Tokens of one computation whose result may be wanted (n_outputs_max)."""
    swa_full: bool = False
    """Layers with a sliding window keep the whole context too."""
    kv_split: bool = False
    """Each sequence has a separate cache."""
    shares: tuple[tuple[str, float], ...] = ()
    """Devices that share the layers, and the share of each; empty: `device` takes all."""

    @property
    def devices(self) -> tuple[str, ...]:
        """Every device that computes."""
        return tuple(device for device, _ in self.shares) or (self.device,)

    def again(self, keep_alive_s: float) -> LoadOptions:
        """Returns options that request these settings; layers on several devices are divided again."""
        same = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "shares"}
        same.update(outputs=str(self.outputs), device=None if self.shares else self.device)
        return LoadOptions(**same, keep_alive_s=keep_alive_s)
