"""The keyword arguments of a call: how a model is loaded, how the call waits, how the answer is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypedDict

from google.protobuf.descriptor import EnumDescriptor
from vramd_proto.v1 import load_pb2

from vramd.enum_words import numbers


class LoadSettings(TypedDict, total=False):
    """Settings of a load. What is not given, or None, comes from the configuration, then from the defaults.

    A call for a model that is resident with other settings is refused; `keep_alive_s` is applied, never compared.

    >>> client.load("talker", context=4096, kv_type="q8_0", keep_alive_s=600).context_tokens
    4096
    """

    context: int | None
    """Tokens that all parallel sequences share."""
    threads: int | None
    """CPU threads while the model computes alone."""
    device: str | None
    """Id of a device, or "auto"."""
    gpu_layers: int | None
    """Layers on the GPU; -1 is all, 0 none."""
    batch: int | None
    """Tokens per decode step."""
    kv_type: str | None
    """Type of the KV cache: f16, f32, bf16, q8_0, q5_1, q5_0, q4_1, q4_0, iq4_nl."""
    parallel: int | None
    """Sequences that may run at the same time."""
    ubatch: int | None
    """Tokens of one computation, a part of the batch."""
    flash_attention: str | None
    """"auto" where the backend has it, "on" or "off"."""
    swa_full: bool | None
    """Keep the whole context in layers with a sliding window too."""
    outputs: str | int | None
    """Results of one computation: "auto" (one for each sequence), "all", or a number."""
    kv_split: bool | None
    """A cache of its own for each sequence instead of one that they share."""
    gpu_only: bool | None
    """Refuse rather than leave a layer to the CPU; applied, never compared."""
    least_context: int | None
    """The context may be lowered to so many tokens; applied, never compared."""
    degrade: bool | None
    """Take smaller settings where those that nobody asked for do not fit; by default on GPUs only."""
    keep_alive_s: float | None
    """Seconds that the model stays after its last use; 0 leaves at once, -1 stays."""


class AskSettings(LoadSettings, total=False):
    """How a call waits, beside the settings of a load that may come first.

    >>> client.embed("task:embedding", "a cat", priority="batch").model
    'reader'
    """

    priority: Literal["interactive", "normal", "batch"] | None
    """What is more urgent is served first; by default as the configuration says of the model, else "interactive"."""
    prefer: Literal["light_now"] | None
    """For the model "task:NAME": a loaded one that suits answers, while a better one is loaded for the next time."""


class AnswerSettings(AskSettings, total=False):
    """How an answer is made: sampling and limits, beside how the call waits.

    >>> client.chat("talker", "Say hello.", temperature=0, max_tokens=40, stop=["\\n"]).text
    'Hello, you.'
    """

    temperature: float | None
    """0 or more; 0 takes the likeliest token always."""
    top_p: float | None
    top_k: int | None
    min_p: float | None
    repeat_penalty: float | None
    frequency_penalty: float | None
    presence_penalty: float | None
    penalty_last_tokens: int | None
    """Tokens that the penalties look back."""
    seed: int | None
    max_tokens: int | None
    stop: str | Sequence[str] | None
    """The answer ends before the first of these."""
    max_tokens_per_s: float | None
    parse_special: bool | None
    """Names of control tokens are read as those tokens; by default in a prompt of `generate`, not in messages."""
    show_special: bool | None
    """Control tokens that the model generates come in the text by name; by default those of thinking and tools only."""


LOAD_FIELDS: Mapping[str, str] = {
    "context": "context_tokens",
    "threads": "threads",
    "device": "device",
    "gpu_layers": "gpu_layers",
    "batch": "batch_tokens",
    "kv_type": "kv_type",
    "parallel": "parallel",
    "ubatch": "ubatch_tokens",
    "flash_attention": "flash_attention",
    "swa_full": "swa_full",
    "outputs": "output_tokens",
    "kv_split": "kv_split",
    "gpu_only": "gpu_only",
    "least_context": "least_context_tokens",
    "degrade": "degrade",
    "keep_alive_s": "keep_alive_s",
}
"""Setting → field of the wire; `outputs` has another field for words."""

ENUMS: Mapping[str, EnumDescriptor] = {
    "kv_type": load_pb2.KvType.DESCRIPTOR,
    "flash_attention": load_pb2.FlashAttention.DESCRIPTOR,
    "priority": load_pb2.Priority.DESCRIPTOR,
    "prefer": load_pb2.Prefer.DESCRIPTOR,
}
"""Settings that are words here and numbers on the wire."""

SAMPLING_FIELDS: Mapping[str, str] = {
    name: name
    for name in (
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "repeat_penalty",
        "frequency_penalty",
        "presence_penalty",
        "penalty_last_tokens",
        "seed",
    )
}
LIMIT_FIELDS: Mapping[str, str] = {"max_tokens": "max_tokens", "max_tokens_per_s": "max_tokens_per_s"}
SCHEDULING_FIELDS: Mapping[str, str] = {"priority": "priority", "prefer": "prefer"}
SPECIAL_FIELDS: Mapping[str, str] = {"parse_special": "parse_special", "show_special": "show_special"}
"""Of the request itself."""

ELSEWHERE: Mapping[str, str] = {
    "n_ctx": "context",
    "num_ctx": "context",
    "ctx_size": "context",
    "context_length": "context",
    "n_gpu_layers": "gpu_layers",
    "num_gpu": "gpu_layers",
    "n_threads": "threads",
    "num_thread": "threads",
    "n_batch": "batch",
    "n_parallel": "parallel",
    "cache_type_k": "kv_type",
    "keep_alive": "keep_alive_s",
    "num_predict": "max_tokens",
    "n_predict": "max_tokens",
    "max_new_tokens": "max_tokens",
    "max_completion_tokens": "max_tokens",
    "repetition_penalty": "repeat_penalty",
    "repeat_last_n": "penalty_last_tokens",
    "stop_sequences": "stop",
}
"""Words of other libraries → the setting here."""

PRIORITIES = tuple(numbers(ENUMS["priority"]))
PREFERENCES = tuple(numbers(ENUMS["prefer"]))

ASK_FIELDS = (*LOAD_FIELDS, *SCHEDULING_FIELDS)
ANSWER_FIELDS = (*ASK_FIELDS, *SAMPLING_FIELDS, *LIMIT_FIELDS, *SPECIAL_FIELDS, "stop")
