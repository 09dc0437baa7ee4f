"""Every call, described once: where it goes, what it asks, how each message of its answer is read.

Pure: the clients are shells around these descriptions, one that waits and one that awaits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.message import DecodeError, Message
from vramd_proto.v1 import inference_pb2, model_pb2, supervisor_pb2

from vramd import decision_replies, plan_replies, replies, requests, scheduling, selection_replies
from vramd.answer_values import Embeddings
from vramd.decision_values import Decision
from vramd.errors import Internal
from vramd.plan_values import Plan
from vramd.requests import AnswerSettings, AskSettings, LoadSettings, Messages
from vramd.reservation import Reservation, StandingReservation
from vramd.scheduling_values import Waiting
from vramd.selection_values import Selection
from vramd.values import (
    Device,
    Event,
    EventKind,
    Held,
    Model,
    Receipt,
    Rescan,
    ResidentModel,
    Status,
)

Reply = TypeVar("Reply", bound=Message)
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


def _call(
    service: str, method: str, request: Message, reply: type[Reply], value: Callable[[Reply], Value]
) -> Call[Value]:
    def read(raw: bytes) -> Value:
        try:
            message = reply.FromString(raw)
        except DecodeError as error:
            raise Internal("INTERNAL", f"the answer to {method} cannot be read: {error}") from error
        return value(message)

    return Call(f"/vramd.v1.{service}/{method}", request.SerializeToString(), read)


def _inference(method: str, request: Message, reply: type[Reply], value: Callable[[Reply], Value]) -> Call[Value]:
    return _call("InferenceService", method, request, reply, value)


def _models(method: str, request: Message, reply: type[Reply], value: Callable[[Reply], Value]) -> Call[Value]:
    return _call("ModelService", method, request, reply, value)


def _supervisor(method: str, request: Message, reply: type[Reply], value: Callable[[Reply], Value]) -> Call[Value]:
    return _call("SupervisorService", method, request, reply, value)


def chat(model: str, messages: Messages, settings: AnswerSettings, *, progress: bool) -> Call[replies.Piece]:
    """A stream; with `progress` it tells what it waits for."""
    request = requests.chat(model, messages, settings, progress)
    return _inference("Chat", request, inference_pb2.ChatResponse, replies.piece)


def generate(model: str, prompt: str, settings: AnswerSettings, *, progress: bool) -> Call[replies.Piece]:
    """A stream; with `progress` it tells what it waits for."""
    request = requests.generate(model, prompt, settings, progress)
    return _inference("Generate", request, inference_pb2.GenerateResponse, replies.piece)


def before_answer(on_waiting: Callable[[Waiting], None] | None) -> Callable[[replies.Piece], bool]:
    """What takes the messages that come before an answer, and says of each whether it was one."""

    def take(piece: replies.Piece) -> bool:
        if piece.waiting is None:
            return False
        if on_waiting is not None:
            on_waiting(piece.waiting)
        return True

    return take


def embed(model: str, texts: str | Sequence[str], settings: AskSettings) -> Call[Embeddings]:
    """One answer."""
    request = requests.embed(model, texts, settings)
    return _inference("Embed", request, inference_pb2.EmbedResponse, replies.embeddings)


def tokenize(
    model: str, text: str, add_special: bool, parse_special: bool, settings: LoadSettings
) -> Call[tuple[int, ...]]:
    """One answer."""
    request = requests.tokenize(model, text, add_special, parse_special, settings)
    return _inference("Tokenize", request, inference_pb2.TokenizeResponse, lambda reply: tuple(reply.token_ids))


def detokenize(model: str, token_ids: Iterable[int], settings: LoadSettings) -> Call[str]:
    """One answer."""
    request = requests.detokenize(model, token_ids, settings)
    return _inference("Detokenize", request, inference_pb2.DetokenizeResponse, lambda reply: reply.text)


def models() -> Call[tuple[Model, ...]]:
    """One answer."""
    return _models(
        "ListModels",
        model_pb2.ListModelsRequest(),
        model_pb2.ListModelsResponse,
        lambda reply: tuple(map(replies.model, reply.models)),
    )


def model(name: str) -> Call[Model]:
    """One answer."""
    return _models(
        "GetModel",
        model_pb2.GetModelRequest(model=requests.name(name)),
        model_pb2.GetModelResponse,
        lambda reply: replies.model(reply.model, reply.resident if reply.HasField("resident") else None),
    )


def rescan() -> Call[Rescan]:
    """One answer."""
    return _models("RescanModels", model_pb2.RescanModelsRequest(), model_pb2.RescanModelsResponse, replies.rescan)


def load(name: str, settings: LoadSettings, reload: bool) -> Call[replies.LoadStep]:
    """A stream; its last step has the loaded model."""
    options = requests.load_options(settings)
    request = model_pb2.LoadModelRequest(model=requests.name(name), load=options, reload=reload)
    return _models("LoadModel", request, model_pb2.LoadModelResponse, replies.load_step)


def loaded(last: replies.LoadStep | None) -> ResidentModel:
    """What a load came to, by its last step. Raises Internal if that does not tell."""
    if last is None or last.resident is None:
        raise Internal("INTERNAL", "the load ended without saying how")
    return last.resident


def plan(name: str, settings: LoadSettings) -> Call[Plan]:
    """One answer."""
    request = model_pb2.PlanLoadRequest(model=requests.name(name), load=requests.load_options(settings))
    return _models("PlanLoad", request, model_pb2.PlanLoadResponse, plan_replies.plan)


def select(task: str, role: str, context: int, prefer: str | None) -> Call[Selection]:
    """One answer."""
    request = scheduling.select(task, role, context, prefer)
    return _models("SelectModel", request, model_pb2.SelectModelResponse, selection_replies.selection)


def unload(name: str, force: bool) -> Call[Receipt]:
    """One answer."""
    request = model_pb2.UnloadModelRequest(model=requests.name(name), force=force)
    return _models("UnloadModel", request, model_pb2.UnloadModelResponse, lambda reply: replies.receipt(reply.receipt))


def update(name: str, pinned: bool | None, keep_alive_s: float | None, priority: str | None) -> Call[Model]:
    """One answer."""
    request = requests.update(name, pinned, keep_alive_s, priority)
    return _models("UpdateModel", request, model_pb2.UpdateModelResponse, lambda reply: replies.model(reply.model))


def restart(name: str, force: bool) -> Call[ResidentModel]:
    """One answer."""
    request = model_pb2.RestartModelRequest(model=requests.name(name), force=force)
    return _models(
        "RestartModel", request, model_pb2.RestartModelResponse, lambda reply: replies.resident(reply.resident)
    )


def status() -> Call[Status]:
    """One answer."""
    return _supervisor("GetStatus", supervisor_pb2.GetStatusRequest(), supervisor_pb2.GetStatusResponse, replies.status)


def devices() -> Call[tuple[Device, ...]]:
    """One answer."""
    return _supervisor(
        "ListDevices",
        supervisor_pb2.ListDevicesRequest(),
        supervisor_pb2.ListDevicesResponse,
        lambda reply: tuple(map(replies.device, reply.devices)),
    )


def watch(kinds: Iterable[EventKind], after_sequence: int | None) -> Call[Event]:
    """A stream; its header comes when nothing more can be missed."""
    request = requests.watch(kinds, after_sequence)
    return _supervisor("WatchEvents", request, supervisor_pb2.WatchEventsResponse, replies.event)


def hold(name: str, label: str, settings: LoadSettings) -> Call[Held]:
    """A stream; the model is kept warm as long as it lives."""
    request = requests.hold(name, label, settings)
    return _supervisor("HoldModel", request, supervisor_pb2.HoldModelResponse, replies.held)


def logs(name: str, lines: int, follow: bool) -> Call[str]:
    """A stream."""
    request = requests.logs(name, lines, follow)
    return _supervisor("TailLogs", request, supervisor_pb2.TailLogsResponse, lambda reply: reply.line)


def reserve(size: str | int, device: str, ttl_s: float, label: str) -> Call[Reservation]:
    """One answer."""
    request = requests.reserve(size, device, ttl_s, label)
    return _supervisor(
        "ReserveMemory",
        request,
        supervisor_pb2.ReserveMemoryResponse,
        lambda reply: replies.reservation(request, reply),
    )


def reservations() -> Call[tuple[StandingReservation, ...]]:
    """One answer."""
    return _supervisor(
        "ListReservations",
        supervisor_pb2.ListReservationsRequest(),
        supervisor_pb2.ListReservationsResponse,
        lambda reply: tuple(map(replies.standing_reservation, reply.reservations)),
    )


def release(reservation: Reservation | StandingReservation | int) -> Call[bool]:
    """One answer."""
    request = requests.release(reservation if isinstance(reservation, int) else reservation.id)
    return _supervisor("ReleaseMemory", request, supervisor_pb2.ReleaseMemoryResponse, lambda reply: reply.released)


def decisions(model: str, limit: int) -> Call[tuple[Decision, ...]]:
    """One answer."""
    request = requests.decisions(model, limit)
    return _supervisor("ListDecisions", request, supervisor_pb2.ListDecisionsResponse, decision_replies.decisions)


def shutdown(force: bool) -> Call[None]:
    """One answer."""
    request = supervisor_pb2.ShutdownRequest(force=force)
    return _supervisor("Shutdown", request, supervisor_pb2.ShutdownResponse, lambda _: None)
