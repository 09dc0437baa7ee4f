"""The keyword arguments of a call: how a model is loaded, how the call waits, how the answer is made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from vramd_common import wire_values
from vramd_common.load_settings import LOAD_SETTINGS
from vramd_common.sampling import CONTROL_TOKENS, DELIVERY, LIMITS, SAMPLING
from vramd_proto.v1 import load_pb2

from vramd.option_types import AnswerOptions, LoadSettings


class AskSettings(LoadSettings, total=False):
    """How a call waits, beside the settings of a load that may come first.

    >>> client.embed("task:embedding", "a cat", priority="batch").model
    'reader'
    """

    priority: Literal["interactive", "normal", "batch"] | None
    """Urgent calls are served first; by default as the configuration says of the model, else "interactive"."""
    prefer: Literal["light_now"] | None
    """For the model "task:NAME": a loaded one that suits answers, while a better one is loaded for the next time."""
    on_crash: Literal["resume", "fail"] | None
    """If its process dies, is stuck or is ended: by default the call goes on in another one, a stream behind what has
    come of it, at most twice; "fail" ends it."""


class AnswerSettings(AskSettings, AnswerOptions, total=False):
    """How an answer is made: sampling and limits, beside how the call waits.

    >>> client.chat("talker", "Say hello.", temperature=0, max_tokens=40, stop=["\\n"]).text
    'Hello, you.'
    """


LOAD_FIELDS = {row.name: row.field for row in LOAD_SETTINGS}
"""Setting → field of the wire."""
SAMPLING_FIELDS, LIMIT_FIELDS, REQUEST_FIELDS = (
    {row.name: row.field for row in table if row.kind is not tuple}
    for table in (SAMPLING, LIMITS, (*CONTROL_TOKENS, *DELIVERY))
)
SCHEDULING_FIELDS: Mapping[str, str] = {"priority": "priority", "prefer": "prefer", "on_crash": "on_crash"}

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

PRIORITIES = tuple(wire_values.words(load_pb2.Priority.DESCRIPTOR))
ON_CRASH = tuple(wire_values.words(load_pb2.OnCrash.DESCRIPTOR))
PREFERENCES = tuple(wire_values.words(load_pb2.Prefer.DESCRIPTOR))

ASK_FIELDS = (*LOAD_FIELDS, *SCHEDULING_FIELDS)
ANSWER_FIELDS = (*ASK_FIELDS, *SAMPLING_FIELDS, *LIMIT_FIELDS, *REQUEST_FIELDS, "stop")
