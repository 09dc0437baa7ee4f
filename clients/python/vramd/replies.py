"""Turns messages of the wire into values. Pure; shared by all clients."""

from collections.abc import Mapping
from dataclasses import dataclass

from vramd_common import timeline
from vramd_proto.v1 import inference_pb2, load_pb2, model_pb2, supervisor_pb2

from vramd import answer_values, plan_replies, values
from vramd.enum_words import small, word
from vramd.pressure import PressureChanged
from vramd.reservation import Reservation, StandingReservation
from vramd.scheduling_values import CoResident, QueueChanged, Thrashing, Waiting


@dataclass(frozen=True)
class Piece:
    """What one message of an answer brings."""

    text: str
    token_ids: tuple[int, ...]
    finish: answer_values.Finish | None
    waiting: Waiting | None
    """Comes before the answer, and alone."""


def piece(message: inference_pb2.GenerateResponse | inference_pb2.ChatResponse) -> Piece:
    """One message of an answer."""
    finish = None
    if message.HasField("finish"):
        reason = word(inference_pb2.FinishReason, message.finish.reason)
        finish = answer_values.Finish(reason, usage(message.finish.usage))
    waiting = None
    if message.HasField("waiting"):
        told = message.waiting
        waiting = Waiting(
            told.ahead,
            told.message,
            told.progress if told.HasField("progress") else None,
            word(model_pb2.ModelState, told.state),
            word(model_pb2.Awaited, told.awaited).lower(),
        )
    return Piece(message.text, tuple(message.token_ids), finish, waiting)


def usage(message: inference_pb2.Usage) -> answer_values.Usage:
    """What an answer took."""
    return answer_values.Usage(message.prompt_tokens, message.completion_tokens, message.prompt_s, message.generation_s)


def timeline_of(trailer: Mapping[str, str | bytes]) -> answer_values.Timeline | None:
    """Where the time of a call went, by the metadata of its end; None if that does not say it in our words."""
    value = trailer.get(timeline.KEY)
    told = timeline.unpack(value) if isinstance(value, str) else None
    if told is None:
        return None
    seconds = {phase: told.seconds.get(phase) for phase in timeline.PHASES}
    return answer_values.Timeline(**seconds, model=told.model, incarnation=told.incarnation)


def embeddings(message: inference_pb2.EmbedResponse) -> answer_values.Embeddings:
    """Vectors in the order of the texts."""
    ordered = sorted(message.embeddings, key=lambda embedding: embedding.index)
    vectors = tuple(tuple(embedding.values) for embedding in ordered)
    return answer_values.Embeddings(message.model, message.dimensions, vectors, usage(message.usage))


def resident(message: model_pb2.ResidentModel) -> values.ResidentModel:
    """A model that has a process, or waits for one."""
    return values.ResidentModel(
        model=message.model,
        incarnation=message.incarnation,
        state=word(model_pb2.ModelState, message.state),
        pid=message.pid or None,
        devices=tuple(
            values.DeviceUse(use.id, use.reserved_bytes, use.measured_bytes if use.HasField("measured_bytes") else None)
            for use in message.devices
        ),
        reserved_bytes=message.reserved_bytes,
        measured_bytes=message.measured_bytes if message.HasField("measured_bytes") else None,
        parallel=message.parallel,
        in_flight=message.in_flight,
        queued=message.queued,
        loaded_s=message.loaded_s if message.HasField("loaded_s") else None,
        last_used_s=message.last_used_s if message.HasField("last_used_s") else None,
        pinned=message.pinned,
        context_tokens=message.context_tokens or None,
        degraded=tuple(message.degraded),
        lowered=small(model_pb2.Lowered, message.lowered),
        cautions=tuple(message.cautions),
        settings=plan_replies.settings(message.settings) if message.HasField("settings") else None,
        quote=plan_replies.quote(message.quote) if message.HasField("quote") else None,
        holders=tuple(message.holders),
        keep_alive_s=message.keep_alive_s if message.HasField("keep_alive_s") else None,
        keep_alive_left_s=message.keep_alive_left_s if message.HasField("keep_alive_left_s") else None,
        priority=word(load_pb2.Priority, message.priority).lower(),
    )


def model(message: model_pb2.Model, residency: model_pb2.ResidentModel | None = None) -> values.Model:
    """A model that vramd knows."""
    return values.Model(
        id=message.id,
        engine=word(model_pb2.Engine, message.engine).lower(),
        path=message.path or None,
        size_bytes=message.size_bytes,
        architecture=message.architecture or None,
        parameters=message.parameters or None,
        quantization=message.quantization or None,
        trained_context_tokens=message.trained_context_tokens or None,
        has_chat_template=message.has_chat_template,
        projector_path=message.projector_path or None,
        pinned=message.pinned,
        state=word(model_pb2.ModelState, message.state),
        problem=message.problem or None,
        keep_alive_s=message.keep_alive_s,
        priority=word(load_pb2.Priority, message.priority).lower(),
        aliases=tuple(message.aliases),
        cautions=tuple(message.cautions),
        resident=resident(residency) if residency is not None else None,
    )


@dataclass(frozen=True)
class LoadStep:
    """What one message of a load brings."""

    progress: values.LoadProgress
    resident: values.ResidentModel | None
    """In the last one."""


def load_step(message: model_pb2.LoadModelResponse) -> LoadStep:
    """One step of a load."""
    progress = values.LoadProgress(
        word(model_pb2.ModelState, message.state),
        message.progress if message.HasField("progress") else None,
        message.message,
        word(model_pb2.Awaited, message.awaited).lower(),
    )
    return LoadStep(progress, resident(message.resident) if message.HasField("resident") else None)


def held(message: supervisor_pb2.HoldModelResponse) -> values.Held:
    """What a held model is doing."""
    return values.Held(
        word(model_pb2.ModelState, message.state),
        message.message,
        message.model,
        word(model_pb2.Cause, message.cause).lower(),
        word(model_pb2.Awaited, message.awaited).lower(),
    )


def receipt(message: model_pb2.Receipt) -> values.Receipt:
    """What an unload gave back."""
    return values.Receipt(
        model=message.model,
        incarnation=message.incarnation,
        pid=message.pid or None,
        exit=word(model_pb2.Exit, message.exit).lower(),
        message=message.message,
        exit_s=message.exit_s,
        release_s=message.release_s,
        expected_bytes=message.expected_bytes,
        observed_bytes=message.observed_bytes if message.HasField("observed_bytes") else None,
        reason=message.reason,
        devices=tuple(
            values.DeviceReceipt(
                device.id,
                device.expected_bytes,
                device.observed_bytes if device.HasField("observed_bytes") else None,
                device.reason,
            )
            for device in message.devices
        ),
    )


def rescan(message: model_pb2.RescanModelsResponse) -> values.Rescan:
    """What a new look into the folders found."""
    return values.Rescan(tuple(message.added), tuple(message.removed), message.known)


def device(message: supervisor_pb2.Device) -> values.Device:
    """One device of the ledger."""
    return values.Device(
        id=message.id,
        kind=word(supervisor_pb2.DeviceKind, message.kind).lower(),
        name=message.name,
        total_bytes=message.total_bytes,
        budget_bytes=message.budget_bytes,
        reserved_bytes=message.reserved_bytes,
        external_bytes=message.external_bytes,
        headroom_bytes=message.headroom_bytes,
        free_bytes=message.free_bytes,
        temperature_c=message.temperature_c if message.HasField("temperature_c") else None,
        utilisation_percent=message.utilisation_percent if message.HasField("utilisation_percent") else None,
        uuid=message.uuid or None,
        unusable=message.unusable or None,
        pressure=word(supervisor_pb2.Pressure, message.pressure),
    )


def status(message: supervisor_pb2.GetStatusResponse) -> values.Status:
    """The supervisor at one moment."""
    info = message.supervisor
    return values.Status(
        values.SupervisorInfo(
            info.pid, info.version, info.uptime_s, info.rss_bytes, info.address, info.usable_cores, info.api
        ),
        tuple(map(device, message.devices)),
        tuple(map(resident, message.models)),
    )


def reservation(
    asked: supervisor_pb2.ReserveMemoryRequest, message: supervisor_pb2.ReserveMemoryResponse
) -> Reservation:
    """What was asked for, now that it stands."""
    return Reservation(message.reservation, asked.device, asked.size_bytes, asked.ttl_s, asked.label, message.waited_s)


def standing_reservation(message: supervisor_pb2.Reservation) -> StandingReservation:
    """A reservation that stands."""
    return StandingReservation(
        message.id, message.device, message.size_bytes, message.taken_bytes, message.label, message.left_s
    )


def event(message: supervisor_pb2.WatchEventsResponse) -> values.Event:
    """Something that happened."""
    kind = word(supervisor_pb2.EventKind, message.kind)
    return values.Event(message.sequence, message.time_s, kind, _detail(message))


def _detail(message: supervisor_pb2.WatchEventsResponse) -> values.Detail | None:
    match message.WhichOneof("detail"):
        case "model_changed":
            change = message.model_changed
            before, after = (word(model_pb2.ModelState, state) for state in (change.before, change.after))
            cause = word(model_pb2.Cause, change.cause).lower()
            return values.ModelChanged(change.model, change.incarnation, before, after, cause, change.message)
        case "ledger_changed":
            rows = message.ledger_changed.devices
            return values.LedgerChanged(
                tuple(values.LedgerRow(row.id, row.reserved_bytes, row.budget_bytes) for row in rows),
                message.ledger_changed.message,
            )
        case "evicted":
            gone = message.evicted
            cause = word(model_pb2.Cause, gone.cause).lower()
            whom = (gone.for_model or None, gone.for_reservation or None)
            return values.Evicted(gone.model, gone.incarnation, cause, gone.message, *whom)
        case "released":
            return receipt(message.released)
        case "pressure_changed":
            pressed = message.pressure_changed
            earlier, later = (word(supervisor_pb2.Pressure, level) for level in (pressed.before, pressed.after))
            sizes = (pressed.free_bytes, pressed.external_bytes, pressed.headroom_bytes)
            return PressureChanged(pressed.device, earlier, later, *sizes, pressed.message)
        case "queue_changed":
            line = message.queue_changed
            return QueueChanged(line.model, line.queued, line.queued_in_all)
        case "thrashing":
            found = message.thrashing
            together = (
                CoResident(one.model, tuple(one.changes), one.needed_bytes, small(model_pb2.Lowered, one.lowered))
                for one in found.together
            )
            return Thrashing(tuple(found.models), found.loads_per_minute, found.useful_share, tuple(together))
        case _:
            return None
