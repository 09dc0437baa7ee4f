"""vramd for Python programs.

    with vramd.Client() as client:
        for text in client.chat("talker", "Say hello."):
            print(text, end="", flush=True)

Names are imported when they are first used: `import vramd` itself takes no time, and gRPC waits for `Client`.
"""

import importlib

_MODULES = {
    "async_client": ("AsyncClient",),
    "async_stream": ("AsyncFeed", "AsyncHold", "AsyncStream"),
    "client": ("Client",),
    "errors": (
        "Cancelled",
        "ChatTemplateUnusable",
        "ClientClosed",
        "ConfigInvalid",
        "DeadlinePassed",
        "DeviceUnusable",
        "Draining",
        "EngineMissing",
        "Exhausted",
        "FileMissing",
        "FileUnusable",
        "Internal",
        "InvalidRequest",
        "LoadTimedOut",
        "LoadedDifferently",
        "MemoryExhausted",
        "NotFound",
        "NotLoaded",
        "PromptTooLong",
        "Quarantined",
        "QueueFull",
        "ScopeDenied",
        "ShuttingDown",
        "StartFailed",
        "SupervisorNotFound",
        "SupervisorUnreachable",
        "TokenRefused",
        "TooLarge",
        "Unavailable",
        "Unimplemented",
        "Unloaded",
        "Unsupported",
        "VramdError",
        "WorkerCrashed",
        "WrongContext",
    ),
    "callbacks": ("Subscription",),
    "option_types": ("LoadSettings",),
    "settings": ("AnswerSettings", "AskSettings"),
    "stream": ("Feed", "Hold", "Stream"),
    "supervisor": ("Supervisor",),
    "values.answers": ("Embeddings", "Finish", "Timeline", "Usage", "Waiting"),
    "values.configuration": ("ConfigChange", "Reloaded"),
    "values.devices": ("Device", "Drained", "Reservation", "StandingReservation", "Status", "SupervisorInfo"),
    "values.events": (
        "CoResident",
        "Decision",
        "Event",
        "Evicted",
        "LedgerChanged",
        "LedgerRow",
        "ModelChanged",
        "PressureChanged",
        "QueueChanged",
        "Rejected",
        "Thrashing",
    ),
    "values.models": (
        "Deaths",
        "DeviceReceipt",
        "DeviceUse",
        "Held",
        "LoadProgress",
        "Model",
        "Receipt",
        "Rescan",
        "ResidentModel",
    ),
    "values.plans": (
        "Considered",
        "GivenBack",
        "NearestSettings",
        "Plan",
        "PlanSettings",
        "PlannedDevice",
        "Quote",
        "QuotedDevice",
        "Selection",
        "Victim",
    ),
}
"""Module → the names of the package that it defines. Type checkers read them in the stub that is made of this."""

_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = sorted(_MODULE_OF)  # noqa: PLE0605  the table says it once


def __getattr__(name: str) -> object:
    """Imports a name when it is first used (PEP 562)."""
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version(__name__)
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULE_OF, "__version__"})
