"""Values to public messages, and wishes from them."""

from collections.abc import Mapping

from typing_extensions import assert_never
from vramd_common.load_settings import MOST_TOKENS
from vramd_common.printable import one_line, printable
from vramd_common.statuses import MOST_MESSAGE_BYTES
from vramd_proto.v1 import load_pb2, model_pb2, supervisor_pb2

from ..core.actions import Evicted, LedgerChanged, ModelChanged, PressureChanged, QueueChanged, Released, Thrashing
from ..core.view import DeviceBooks, ModelView, ReservationView, Resident
from ..devices.devices import Device
from ..domain.catalog import ModelFile, Problem, why_no_task
from ..domain.receipt import Receipt
from ..files.journal import Record
from ..selection.tasks import Choice, Wish
from . import plan_messages
from .enums import CAUSES, DECISION_KINDS, DEVICE_KINDS, EXITS, LEVELS, PRIORITIES, STATES
from .event_log import Published
from .validation import bad, name

GONE = "its file is gone: once it is unloaded, it is no longer listed"


def model(entry: ModelView, problem: Problem | None) -> model_pb2.Model:
    """A model that vramd knows, and why it cannot be loaded."""
    known = entry.spec
    message = model_pb2.Model(
        id=known.id,
        pinned=entry.pinned,
        state=STATES[entry.state],
        keep_alive_s=entry.keep_alive_s,
        priority=PRIORITIES[entry.priority],
        aliases=known.aliases,
    )
    if isinstance(known.source, ModelFile):
        file = known.source
        message.engine = model_pb2.ENGINE_LLAMA
        message.path = file.path
        message.size_bytes = file.size_bytes
        message.architecture = printable(file.architecture)
        message.parameters = file.parameters
        message.quantization = file.quantization
        message.trained_context_tokens = file.trained_context_tokens
        message.has_chat_template = file.has_chat_template
        message.projector_path = file.projector_path
        words = problem.text if problem else "" if entry.listed else GONE
        message.problem = one_line(words, MOST_MESSAGE_BYTES)
        message.cautions.extend(entry.cautions)
    else:
        message.engine = model_pb2.ENGINE_SIMULATED
        message.size_bytes = sum(known.source.memory.values())
        message.has_chat_template = True
    return message


def resident(seen: Resident, measured: Mapping[str, int | None]) -> model_pb2.ResidentModel:
    """A model that has a process or waits for one, with what its process takes."""
    known = [size for size in measured.values() if size is not None]
    return model_pb2.ResidentModel(
        model=seen.model,
        incarnation=seen.worker_id,
        state=STATES[seen.state],
        pid=seen.pid,
        devices=[
            model_pb2.DeviceUse(id=device, reserved_bytes=size, measured_bytes=measured.get(device))
            for device, size in seen.reserved.items()
        ],
        reserved_bytes=sum(seen.reserved.values()),
        measured_bytes=sum(known) if known else None,
        parallel=seen.parallel,
        in_flight=seen.in_flight,
        queued=seen.queued,
        loaded_s=seen.loaded_s,
        last_used_s=seen.last_used_s,
        pinned=seen.pinned,
        context_tokens=seen.context_tokens,
        degraded=seen.plan.degraded if seen.plan else (),
        lowered=plan_messages.lowered(seen.plan) if seen.plan else (),
        cautions=seen.plan.cautions if seen.plan else (),
        settings=plan_messages.settings(seen.plan.settings) if seen.plan else None,
        quote=plan_messages.quote(seen.plan.quote) if seen.plan else None,
        holders=seen.holders,
        keep_alive_s=seen.keep_alive_s,
        keep_alive_left_s=seen.keep_alive_left_s,
        priority=PRIORITIES[seen.priority],
    )


def reservation(seen: ReservationView) -> supervisor_pb2.Reservation:
    """Bytes that are kept free for another program."""
    return supervisor_pb2.Reservation(
        id=seen.id,
        device=seen.device,
        size_bytes=seen.size_bytes,
        taken_bytes=seen.taken_bytes,
        label=seen.label,
        left_s=seen.left_s,
    )


def device(
    known: Device, books: DeviceBooks, unusable: str, temperature_c: int | None, utilisation_percent: int | None
) -> supervisor_pb2.Device:
    """A device with what the ledger says of it."""
    return supervisor_pb2.Device(
        id=known.id,
        kind=DEVICE_KINDS[known.kind],
        name=known.name,
        total_bytes=books.total_bytes,
        budget_bytes=books.budget_bytes,
        reserved_bytes=books.reserved_bytes,
        external_bytes=books.external_bytes,
        headroom_bytes=books.headroom_bytes,
        free_bytes=books.free_bytes,
        temperature_c=temperature_c,
        utilisation_percent=utilisation_percent,
        uuid=known.uuid,
        unusable=unusable,
        pressure=LEVELS[books.pressure],
    )


def receipt(given: Receipt) -> model_pb2.Receipt:
    """The end of a process. What was observed is never a copy of what was expected: unknown stays unset."""
    observed = {device: seen.size_bytes for device, seen in given.observed.items() if seen.size_bytes is not None}
    unknown = [f"{device}: {seen.reason}" for device, seen in given.observed.items() if seen.size_bytes is None]
    known = [f"{device}: {given.observed[device].reason}" for device in observed]
    return model_pb2.Receipt(
        model=given.model,
        incarnation=given.worker_id,
        pid=given.pid,
        exit=EXITS[given.exit],
        message=given.message,
        exit_s=given.exit_s,
        release_s=given.release_s,
        expected_bytes=sum(given.expected.values()),
        observed_bytes=sum(observed.values()) if observed else None,
        reason="; ".join(known + unknown),
        devices=[
            model_pb2.DeviceReceipt(
                id=device,
                expected_bytes=size,
                observed_bytes=observed.get(device),
                reason=given.observed[device].reason if device in given.observed else "",
            )
            for device, size in given.expected.items()
        ],
    )


def event(published: Published) -> supervisor_pb2.WatchEventsResponse:
    """A notice for watchers."""
    message = supervisor_pb2.WatchEventsResponse(sequence=published.sequence, time_s=published.time_s)
    match published.notice:
        case ModelChanged() as changed:
            message.kind = supervisor_pb2.EVENT_KIND_MODEL
            message.model_changed.model = changed.model
            message.model_changed.incarnation = changed.worker_id
            message.model_changed.before = STATES[changed.before]
            message.model_changed.after = STATES[changed.after]
            message.model_changed.cause = CAUSES[changed.because.cause]
            message.model_changed.message = changed.because.words
        case LedgerChanged(reserved_and_budget=rows, message=words):
            message.kind = supervisor_pb2.EVENT_KIND_LEDGER
            message.ledger_changed.message = words
            for device_id, (reserved, budget) in rows.items():
                message.ledger_changed.devices.add(id=device_id, reserved_bytes=reserved, budget_bytes=budget)
        case Evicted() as evicted:
            message.kind = supervisor_pb2.EVENT_KIND_EVICTION
            message.evicted.model = evicted.model
            message.evicted.incarnation = evicted.worker_id
            message.evicted.cause = CAUSES[evicted.because.cause]
            message.evicted.message = evicted.because.words
            message.evicted.for_model = evicted.beneficiary.model
            message.evicted.for_reservation = evicted.beneficiary.reservation
        case Released() as released:
            message.kind = supervisor_pb2.EVENT_KIND_RELEASE
            message.released.CopyFrom(receipt(released.receipt))
        case PressureChanged() as pressed:
            message.kind = supervisor_pb2.EVENT_KIND_PRESSURE
            message.pressure_changed.device = pressed.device
            message.pressure_changed.before = LEVELS[pressed.before]
            message.pressure_changed.after = LEVELS[pressed.after]
            message.pressure_changed.free_bytes = pressed.free_bytes
            message.pressure_changed.external_bytes = pressed.external_bytes
            message.pressure_changed.headroom_bytes = pressed.headroom_bytes
            message.pressure_changed.message = pressed.message
        case QueueChanged(model=model_id, queued=queued, queued_in_all=queued_in_all):
            message.kind = supervisor_pb2.EVENT_KIND_QUEUE
            message.queue_changed.model = model_id
            message.queue_changed.queued = queued
            message.queue_changed.queued_in_all = queued_in_all
        case Thrashing() as thrashing:
            message.kind = supervisor_pb2.EVENT_KIND_THRASH
            message.thrashing.models.extend(thrashing.models)
            message.thrashing.loads_per_minute = thrashing.loads_per_minute
            message.thrashing.useful_share = thrashing.useful_share
            for model_id, plan in zip(thrashing.models, thrashing.together, strict=False):
                needed_bytes = plan.quote.total_bytes
                message.thrashing.together.add(
                    model=model_id,
                    changes=plan.degraded,
                    needed_bytes=needed_bytes,
                    lowered=plan_messages.lowered(plan),
                )
        case _:
            assert_never(published.notice)
    return message


def decision(record: Record) -> supervisor_pb2.Decision:
    """One record of the journal."""
    made = record.decision
    return supervisor_pb2.Decision(
        id=record.number,
        time_s=record.time_s,
        kind=DECISION_KINDS[made.kind],
        model=made.model,
        incarnation=made.worker_id,
        for_whom=made.for_whom,
        cause=CAUSES[made.cause],
        message=made.message,
        reason=made.reason,
        numbers=made.numbers,
        rejected=[supervisor_pb2.Rejected(what=one.what, why=one.why) for one in made.rejected],
    )


def wish(request: model_pb2.SelectModelRequest) -> Wish:
    """Reads the wish of a call. Raises RefusedError."""
    if request.context_tokens > MOST_TOKENS:
        bad("context_tokens", f"must be 0 to {MOST_TOKENS}, not {request.context_tokens}")
    if why := why_no_task(request.task):
        bad("task", why)
    return Wish(
        request.task,
        name("role", request.role),
        request.context_tokens,
        light_now=request.prefer == load_pb2.PREFER_LIGHT_NOW,
    )


def choice(chosen: Choice) -> model_pb2.SelectModelResponse:
    """The model that was chosen, and why."""
    return model_pb2.SelectModelResponse(
        model=chosen.model,
        score=chosen.score,
        loaded=chosen.loaded,
        fits=chosen.fits,
        reasons=chosen.reasons,
        considered=[
            model_pb2.Considered(model=other.model, score=other.score, why_not=other.why_not)
            for other in chosen.considered
        ],
    )
