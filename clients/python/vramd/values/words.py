"""The words of values: what a state, a cause or a kind may be. A newer supervisor may know more."""

from typing import Literal

ModelState = Literal["UNSPECIFIED", "UNLOADED", "QUEUED", "STARTING", "LOADING", "READY", "DRAINING", "STOPPING"]
"""What a model is doing."""

Awaited = Literal[
    "unspecified",
    "plan",
    "memory",
    "busy_models",
    "other_programs",
    "exclusion",
    "process",
    "weights",
    "place",
    "former_process",
]
"""What is waited for until a model answers; "unspecified": nothing."""

Cause = Literal[
    "unspecified",
    "asked_for",
    "preload",
    "loading",
    "no_room",
    "refused",
    "took_too_much",
    "hung",
    "crashed",
    "idle",
    "unload",
    "restart",
    "reload",
    "evicted_for_model",
    "evicted_for_group",
    "evicted_for_limit",
    "evicted_for_reservation",
    "evicted_for_others",
    "shutdown",
]
"""Why a model changed its state, or why its process ended."""

Engine = Literal["unspecified", "llama", "simulated"]

Exit = Literal["unspecified", "ended", "forced", "died", "not_started"]
"""How a process came to its end: as asked, killed, by itself, or it was never there."""

Priority = Literal["unspecified", "interactive", "normal", "batch"]

Lowered = Literal["unspecified", "ubatch", "kv_type", "context", "gpu_layers"]
"""A setting that is less than the usual one, or than the one asked for, so that a load fits."""

Verdict = Literal["unspecified", "begins", "evicts", "waits", "no_room", "too_large", "loaded", "loaded_differently"]
"""What a load would come to now; no_room and too_large are refusals."""

QuoteSource = Literal["unspecified", "declared", "closed_form", "dry_run", "learned", "file_size"]

QuoteConfidence = Literal["unspecified", "exact", "close", "rough"]

DeviceKind = Literal["unspecified", "host", "nvidia", "virtual", "backend"]

Pressure = Literal["UNSPECIFIED", "NONE", "WARN", "CLOSED", "EVICT", "CRITICAL"]
"""From enough to next to nothing. CLOSED: nothing is loaded there. EVICT, CRITICAL: idle models go."""

EventKind = Literal["UNSPECIFIED", "MODEL", "LEDGER", "EVICTION", "RELEASE", "PRESSURE", "THRASH", "QUEUE"]

DecisionKind = Literal["load", "evict", "refuse", "degrade", "give_back", "thrash", "unload"]
"""What was decided."""

FinishReason = Literal["UNSPECIFIED", "STOP", "LENGTH", "CANCELLED"]
"""STOP: the model was done, or a stop string came. LENGTH: max_tokens or the context was reached. CANCELLED: from here,
before its end."""
