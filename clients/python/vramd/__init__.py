"""vramd for Python programs.

    with vramd.Client() as client:
        for text in client.chat("talker", "Say hello."):
            print(text, end="", flush=True)

Names are imported when they are first used: `import vramd` itself takes no time, and gRPC waits for `Client`.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vramd.answer_values import Embeddings as Embeddings
    from vramd.answer_values import Finish as Finish
    from vramd.answer_values import Timeline as Timeline
    from vramd.answer_values import Usage as Usage
    from vramd.async_client import AsyncClient as AsyncClient
    from vramd.async_stream import AsyncFeed as AsyncFeed
    from vramd.async_stream import AsyncStream as AsyncStream
    from vramd.client import Client as Client
    from vramd.decision_values import Decision as Decision
    from vramd.decision_values import Rejected as Rejected
    from vramd.errors import Cancelled as Cancelled
    from vramd.errors import ChatTemplateUnusable as ChatTemplateUnusable
    from vramd.errors import ClientClosed as ClientClosed
    from vramd.errors import DeadlinePassed as DeadlinePassed
    from vramd.errors import DeviceUnusable as DeviceUnusable
    from vramd.errors import EngineMissing as EngineMissing
    from vramd.errors import Exhausted as Exhausted
    from vramd.errors import FileMissing as FileMissing
    from vramd.errors import FileUnusable as FileUnusable
    from vramd.errors import Internal as Internal
    from vramd.errors import InvalidRequest as InvalidRequest
    from vramd.errors import LoadedDifferently as LoadedDifferently
    from vramd.errors import LoadTimedOut as LoadTimedOut
    from vramd.errors import MemoryExhausted as MemoryExhausted
    from vramd.errors import NotFound as NotFound
    from vramd.errors import NotLoaded as NotLoaded
    from vramd.errors import PromptTooLong as PromptTooLong
    from vramd.errors import QueueFull as QueueFull
    from vramd.errors import ShuttingDown as ShuttingDown
    from vramd.errors import StartFailed as StartFailed
    from vramd.errors import SupervisorNotFound as SupervisorNotFound
    from vramd.errors import SupervisorUnreachable as SupervisorUnreachable
    from vramd.errors import TokenRefused as TokenRefused
    from vramd.errors import TooLarge as TooLarge
    from vramd.errors import Unavailable as Unavailable
    from vramd.errors import Unimplemented as Unimplemented
    from vramd.errors import Unloaded as Unloaded
    from vramd.errors import Unsupported as Unsupported
    from vramd.errors import VramdError as VramdError
    from vramd.errors import WorkerCrashed as WorkerCrashed
    from vramd.errors import WrongContext as WrongContext
    from vramd.holding import AsyncHold as AsyncHold
    from vramd.holding import Hold as Hold
    from vramd.listening import Subscription as Subscription
    from vramd.plan_values import GivenBack as GivenBack
    from vramd.plan_values import NearestSettings as NearestSettings
    from vramd.plan_values import Plan as Plan
    from vramd.plan_values import PlannedDevice as PlannedDevice
    from vramd.plan_values import PlanSettings as PlanSettings
    from vramd.plan_values import Quote as Quote
    from vramd.plan_values import QuotedDevice as QuotedDevice
    from vramd.plan_values import Victim as Victim
    from vramd.pressure import PressureChanged as PressureChanged
    from vramd.requests import AnswerSettings as AnswerSettings
    from vramd.requests import AskSettings as AskSettings
    from vramd.requests import LoadSettings as LoadSettings
    from vramd.reservation import Reservation as Reservation
    from vramd.reservation import StandingReservation as StandingReservation
    from vramd.scheduling_values import CoResident as CoResident
    from vramd.scheduling_values import QueueChanged as QueueChanged
    from vramd.scheduling_values import Thrashing as Thrashing
    from vramd.scheduling_values import Waiting as Waiting
    from vramd.selection_values import Considered as Considered
    from vramd.selection_values import Selection as Selection
    from vramd.stream import Feed as Feed
    from vramd.stream import Stream as Stream
    from vramd.supervisor import Supervisor as Supervisor
    from vramd.values import Device as Device
    from vramd.values import DeviceReceipt as DeviceReceipt
    from vramd.values import DeviceUse as DeviceUse
    from vramd.values import Event as Event
    from vramd.values import Evicted as Evicted
    from vramd.values import Held as Held
    from vramd.values import LedgerChanged as LedgerChanged
    from vramd.values import LedgerRow as LedgerRow
    from vramd.values import LoadProgress as LoadProgress
    from vramd.values import Model as Model
    from vramd.values import ModelChanged as ModelChanged
    from vramd.values import Receipt as Receipt
    from vramd.values import Rescan as Rescan
    from vramd.values import ResidentModel as ResidentModel
    from vramd.values import Status as Status
    from vramd.values import SupervisorInfo as SupervisorInfo

_ROOMS = {
    "answer_values": ("Embeddings", "Finish", "Timeline", "Usage"),
    "async_client": ("AsyncClient",),
    "async_stream": ("AsyncFeed", "AsyncStream"),
    "client": ("Client",),
    "decision_values": ("Decision", "Rejected"),
    "errors": (
        "Cancelled",
        "ChatTemplateUnusable",
        "ClientClosed",
        "DeadlinePassed",
        "DeviceUnusable",
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
        "QueueFull",
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
    "holding": ("AsyncHold", "Hold"),
    "listening": ("Subscription",),
    "plan_values": (
        "GivenBack",
        "NearestSettings",
        "Plan",
        "PlanSettings",
        "PlannedDevice",
        "Quote",
        "QuotedDevice",
        "Victim",
    ),
    "pressure": ("PressureChanged",),
    "requests": ("AnswerSettings", "AskSettings", "LoadSettings"),
    "reservation": ("Reservation", "StandingReservation"),
    "scheduling_values": ("CoResident", "QueueChanged", "Thrashing", "Waiting"),
    "selection_values": ("Considered", "Selection"),
    "stream": ("Feed", "Stream"),
    "supervisor": ("Supervisor",),
    "values": (
        "Device",
        "DeviceReceipt",
        "DeviceUse",
        "Event",
        "Evicted",
        "Held",
        "LedgerChanged",
        "LedgerRow",
        "LoadProgress",
        "Model",
        "ModelChanged",
        "Receipt",
        "Rescan",
        "ResidentModel",
        "Status",
        "SupervisorInfo",
    ),
}
"""Module → the names that stand here too."""

_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}

__all__ = sorted(_ROOM_OF)  # noqa: PLE0605  the table says it once


__version__: str
"""Of the installed package."""

if not TYPE_CHECKING:  # a type checker that saw this would take every name for granted

    def __getattr__(name: str) -> object:
        """Imports a name when it is first used (PEP 562)."""
        if name == "__version__":
            return importlib.import_module("importlib.metadata").version(__name__)
        if name not in _ROOM_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f"{__name__}.{_ROOM_OF[name]}"), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *_ROOM_OF, "__version__"})
