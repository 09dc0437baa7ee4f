"""The words of values: what a state, a cause or a kind may be. A newer supervisor may know more."""

from typing import Literal

ModelState = Literal[
    "UNSPECIFIED",
    "UNLOADED",
    "QUEUED",
    "STARTING",
    "LOADING",
    "READY",
    "DRAINING",
    "STOPPING",
    "BACKOFF",
    "QUARANTINED",
]
"""The state of a model. BACKOFF: its process died, the next one is started after a pause. QUARANTINED: its processes
died too often, and none is started for a while."""

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
    "pause",
    "other_loads",
]
"""The thing that a model, or a request for it, waits for; "unspecified": nothing."""

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
    "evicted_for_budget",
    "configuration",
    "shutdown",
    "pause",
    "quarantined",
    "quarantine_over",
    "reset",
]
"""The cause of a change of state, or of the end of a process."""

ConfigEffect = Literal["unspecified", "applied", "when_idle", "drains", "needs_restart"]
"""The effect of a change to the configuration: at once; once nothing runs on the model's process, which is then
replaced; the model is unloaded once nothing runs on it; at the next start."""

Engine = Literal["unspecified", "llama", "simulated"]

Exit = Literal[
    "unspecified",
    "ended",
    "forced",
    "died",
    "not_started",
    "killed",
    "crashed",
    "assertion",
    "out_of_memory",
    "driver_lost",
    "hung",
    "refused",
]
"""The end of a process: as asked, by force of vramd, an exit code, never started, killed from outside, a signal for
a fault in its code, an assertion of its code, no memory, no driver, hung, or it refused its file."""

Priority = Literal["unspecified", "interactive", "normal", "batch"]

Lowered = Literal["unspecified", "ubatch", "kv_type", "context", "gpu_layers"]
"""A setting that was lowered below the usual value, or the requested one, so that a load fits."""

Verdict = Literal["unspecified", "begins", "evicts", "waits", "no_room", "too_large", "loaded", "loaded_differently"]
"""The outcome of a load, were it asked for now; no_room and too_large are refusals."""

QuoteSource = Literal["unspecified", "declared", "closed_form", "dry_run", "learned", "file_size"]

QuoteConfidence = Literal["unspecified", "exact", "close", "rough"]

DeviceKind = Literal["unspecified", "host", "nvidia", "virtual", "backend"]

Pressure = Literal["UNSPECIFIED", "NONE", "WARN", "CLOSED", "EVICT", "CRITICAL"]
"""How scarce memory is, rising. CLOSED: nothing is loaded there. EVICT, CRITICAL: idle models are evicted."""

EventKind = Literal["UNSPECIFIED", "MODEL", "LEDGER", "EVICTION", "RELEASE", "PRESSURE", "THRASH", "QUEUE"]

DecisionKind = Literal[
    "load", "evict", "refuse", "degrade", "give_back", "thrash", "unload", "resume", "quarantine", "threads"
]
"""The kind of a decision."""

FinishReason = Literal["UNSPECIFIED", "STOP", "LENGTH", "CANCELLED"]
"""STOP: the model was done, or a stop string came. LENGTH: max_tokens or the context was reached. CANCELLED: from here,
before its end."""
