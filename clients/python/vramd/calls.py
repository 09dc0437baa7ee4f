"""Every method of the wire, in one table: where it goes, and how each message of its answer is read. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from google.protobuf.message import DecodeError, Message
from vramd_proto.v1 import inference_pb2, model_pb2, supervisor_pb2

from vramd.errors import Internal
from vramd.reading import read
from vramd.values.answers import Embeddings, Piece
from vramd.values.configuration import Reloaded
from vramd.values.devices import Device, Drained, Reservation, StandingReservation, Status
from vramd.values.events import Decision, Event
from vramd.values.models import Held, LoadProgress, Model, Receipt, Rescan, ResidentModel
from vramd.values.plans import Plan, Selection

Value = TypeVar("Value")
Value_co = TypeVar("Value_co", covariant=True)


@dataclass(frozen=True)
class Call(Generic[Value_co]):
    """One call, ready to be made."""

    path: str
    """/package.Service/Method."""
    request: bytes
    read: Callable[[bytes], Value_co]
    """Makes a value of a message. Raises Internal for bytes that are no such message."""


@dataclass(frozen=True)
class Method(Generic[Value_co]):
    """A method of the wire; called with a request, it is a `Call`."""

    name: str
    """Service/Method."""
    reply: type[Message]
    value: Callable[[Any], Value_co]

    def __call__(self, request: Message | None = None) -> Call[Value_co]:
        """Without a request for methods that ask nothing."""
        return Call(f"/vramd.v1.{self.name}", request.SerializeToString() if request else b"", self._read)

    def _read(self, raw: bytes) -> Value_co:
        try:
            message = self.reply.FromString(raw)
        except DecodeError as error:
            name = self.name.partition("/")[2]
            raise Internal("INTERNAL", f"the answer to {name} cannot be read: {error}") from error
        return self.value(message)


@dataclass(frozen=True)
class LoadStep:
    """One message of a load."""

    progress: LoadProgress
    resident: ResidentModel | None
    """In the last one."""


def _read_as(kind: type[Value], field: str = "") -> Callable[[Any], Value]:
    return lambda reply: read(kind, getattr(reply, field) if field else reply)


def _read_each(kind: type[Value], field: str) -> Callable[[Any], tuple[Value, ...]]:
    return lambda reply: tuple(read(kind, one) for one in getattr(reply, field))


def _model(reply: model_pb2.GetModelResponse) -> Model:
    resident = read(ResidentModel, reply.resident) if reply.HasField("resident") else None
    return replace(read(Model, reply.model), resident=resident)


def _load_step(reply: model_pb2.LoadModelResponse) -> LoadStep:
    resident = read(ResidentModel, reply.resident) if reply.HasField("resident") else None
    return LoadStep(read(LoadProgress, reply), resident)


CHAT = Method("InferenceService/Chat", inference_pb2.ChatResponse, _read_as(Piece))
GENERATE = Method("InferenceService/Generate", inference_pb2.GenerateResponse, _read_as(Piece))
EMBED = Method("InferenceService/Embed", inference_pb2.EmbedResponse, _read_as(Embeddings))
TOKENIZE: Method[tuple[int, ...]] = Method(
    "InferenceService/Tokenize", inference_pb2.TokenizeResponse, lambda reply: tuple(reply.token_ids)
)
DETOKENIZE: Method[str] = Method(
    "InferenceService/Detokenize", inference_pb2.DetokenizeResponse, lambda reply: reply.text
)

LIST_MODELS = Method("ModelService/ListModels", model_pb2.ListModelsResponse, _read_each(Model, "models"))
GET_MODEL = Method("ModelService/GetModel", model_pb2.GetModelResponse, _model)
RESCAN_MODELS = Method("ModelService/RescanModels", model_pb2.RescanModelsResponse, _read_as(Rescan))
LOAD_MODEL = Method("ModelService/LoadModel", model_pb2.LoadModelResponse, _load_step)
PLAN_LOAD = Method("ModelService/PlanLoad", model_pb2.PlanLoadResponse, _read_as(Plan))
SELECT_MODEL = Method("ModelService/SelectModel", model_pb2.SelectModelResponse, _read_as(Selection))
UNLOAD_MODEL = Method("ModelService/UnloadModel", model_pb2.UnloadModelResponse, _read_as(Receipt, "receipt"))
UPDATE_MODEL = Method("ModelService/UpdateModel", model_pb2.UpdateModelResponse, _read_as(Model, "model"))
RESET_MODEL = Method("ModelService/ResetModel", model_pb2.ResetModelResponse, _read_as(Model, "model"))
RESTART_MODEL = Method("ModelService/RestartModel", model_pb2.RestartModelResponse, _read_as(ResidentModel, "resident"))

GET_STATUS = Method("SupervisorService/GetStatus", supervisor_pb2.GetStatusResponse, _read_as(Status))
LIST_DEVICES = Method(
    "SupervisorService/ListDevices", supervisor_pb2.ListDevicesResponse, _read_each(Device, "devices")
)
WATCH_EVENTS = Method("SupervisorService/WatchEvents", supervisor_pb2.WatchEventsResponse, _read_as(Event))
HOLD_MODEL = Method("SupervisorService/HoldModel", supervisor_pb2.HoldModelResponse, _read_as(Held))
TAIL_LOGS: Method[str] = Method("SupervisorService/TailLogs", supervisor_pb2.TailLogsResponse, lambda reply: reply.line)
LIST_RESERVATIONS = Method(
    "SupervisorService/ListReservations",
    supervisor_pb2.ListReservationsResponse,
    _read_each(StandingReservation, "reservations"),
)
RELEASE_MEMORY: Method[bool] = Method(
    "SupervisorService/ReleaseMemory", supervisor_pb2.ReleaseMemoryResponse, lambda reply: reply.released
)
LIST_DECISIONS = Method(
    "SupervisorService/ListDecisions", supervisor_pb2.ListDecisionsResponse, _read_each(Decision, "decisions")
)
RELOAD_CONFIG = Method("SupervisorService/ReloadConfig", supervisor_pb2.ReloadConfigResponse, _read_as(Reloaded))
DRAIN = Method("SupervisorService/Drain", supervisor_pb2.DrainResponse, _read_as(Drained))
UNDRAIN = Method("SupervisorService/Undrain", supervisor_pb2.UndrainResponse, lambda _: None)
SHUTDOWN = Method("SupervisorService/Shutdown", supervisor_pb2.ShutdownResponse, lambda _: None)


def reserve_memory(asked: supervisor_pb2.ReserveMemoryRequest) -> Call[Reservation]:
    """Calls ReserveMemory, whose answer says only what the request does not."""

    def value(reply: supervisor_pb2.ReserveMemoryResponse) -> Reservation:
        return Reservation(reply.reservation, asked.device, asked.size_bytes, asked.ttl_s, asked.label, reply.waited_s)

    return Method("SupervisorService/ReserveMemory", supervisor_pb2.ReserveMemoryResponse, value)(asked)


def loaded(last: LoadStep | None) -> ResidentModel:
    """Gives the model that a load came to, by its last step. Raises Internal if that does not tell."""
    if last is None or last.resident is None:
        raise Internal("INTERNAL", "the load ended without saying how")
    return last.resident
