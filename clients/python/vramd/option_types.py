"""Settings of a load and options of an answer, as keyword arguments. Made by proto/generate.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict


class LoadSettings(TypedDict, total=False):
    """Settings of a load. What is not given, or None, comes from the configuration, then from the defaults.

    A call for a model that is resident with other settings is refused, unless a setting is applied and never compared.

    >>> client.load("talker", context=4096, kv_type="q8_0", keep_alive_s=600).context_tokens
    4096
    """

    context: int | None
    """Tokens that all parallel sequences share. Default: min(trained, 8192)."""
    threads: int | None
    """CPU threads while the model computes alone. Default: the physical cores less two, at most 12, at least 1."""
    device: str | None
    """Id of a device, or auto. Default: of the GPUs that it fits on the one with the least room to spare, else host."""
    gpu_layers: int | str | None
    """Layers on the GPU: a number, all, or auto for as many as fit. Default: auto."""
    batch: int | None
    """Tokens per decode step. Default: 512, on small cards 256."""
    kv_type: str | None
    """Type of the KV cache. One of f16, f32, bf16, q8_0, q5_1, q5_0, q4_1, q4_0, iq4_nl. Default: f16."""
    parallel: int | None
    """Sequences that may run at the same time. Default: 8 or 4, see docs/memory.md."""
    keep_alive_s: float | None
    """Seconds that the model stays after its last use; 0 leaves at once, -1 stays.

    Default: 300. Applied, never compared.
    """
    ubatch: int | None
    """Tokens of one computation, a part of the batch. Default: as the batch, at most 512."""
    flash_attention: str | None
    """Attention without its whole matrix in memory; auto: where the backend has it. One of auto, on, off.

    Default: auto.
    """
    swa_full: bool | None
    """Keep the whole context in layers with a sliding window too. Default: false."""
    outputs: int | str | None
    """Results of one computation: auto (one for each sequence), all, or a number. Default: auto."""
    kv_split: bool | None
    """A separate cache for each sequence instead of a shared one. Default: false."""
    gpu_only: bool | None
    """Refuse rather than leave a layer to the CPU. Default: false. Applied, never compared."""
    least_context: int | None
    """Tokens of context that are enough where the whole context does not fit.

    Default: only the default context is lowered, to 2048. Applied, never compared.
    """
    degrade: bool | None
    """Take smaller settings where the default ones do not fit. Default: on GPUs. Applied, never compared."""


class AnswerOptions(TypedDict, total=False):
    """How an answer is made and comes: sampling, limits, control tokens and delivery."""

    temperature: float | None
    """0 takes the likeliest token always. Default: 0.8."""
    top_p: float | None
    """Smallest set of tokens of this probability; 1 is off. Default: 0.95."""
    top_k: int | None
    """Only this many of the likeliest tokens; 0 is off, and top_p then looks at the 4096 likeliest. Default: 40."""
    min_p: float | None
    """Tokens at least this share as likely as the likeliest; 0 is off. Default: 0.05."""
    repeat_penalty: float | None
    """Divides the logits of recent tokens; 1 is off. Default: 1."""
    frequency_penalty: float | None
    """Taken from a logit each time its token occurred. Default: 0."""
    presence_penalty: float | None
    """Taken from a logit once if its token occurred. Default: 0."""
    penalty_last_tokens: int | None
    """Tokens that the penalties look back. Default: 64."""
    seed: int | None
    """Makes an answer repeatable while the model's memory holds nothing else, with as many CPU threads.

    Default: drawn at random.
    """
    max_tokens: int | None
    """Tokens generated at most. Default: what is left of the context."""
    stop: str | Sequence[str] | None
    """The answer ends before the first of these."""
    max_tokens_per_s: float | None
    """Tokens per second at most. Default: as fast as it goes."""
    parse_special: bool | None
    """Names of control tokens are read as those tokens, else they are text.

    Default: true in a prompt, false in messages.
    """
    show_special: bool | None
    """Control tokens that the model generates come in the text by name. Default: those of thinking and tools only."""
    session: str | None
    """Name of the conversation, which is continued in the cache before others that begin alike."""
    cache: str | None
    """Who may use what the prompt leaves in the cache: callers with the same token, or all. One of private, shared.

    Default: private.
    """
    every_token: bool | None
    """Each token comes by itself. Default: the first at once, then those of about 30 ms together."""
