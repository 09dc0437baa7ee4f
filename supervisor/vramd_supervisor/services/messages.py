"""Values to public messages, and wishes from them."""

from collections.abc import Mapping

from typing_extensions import assert_never
from vramd_common.load_settings import MOST_TOKENS
from vramd_common.printable import one_line, printable
from vramd_common.statuses import MOST_MESSAGE_BYTES
from vramd_proto.v1 import load_pb2, model_pb2, supervisor_pb2

from ..core.actions import Evicted, LedgerChanged, ModelChanged, PressureChanged, QueueChanged, Released, Thrashing
from ..core.view import DeviceBooks, ModelView, ReservationView, Resident
from ..devices.device import Device
from ..domain.catalog import ModelFile, Problem, why_no_task
from ..domain.device_view import Sample
from ..domain.receipt import Receipt
from ..files.journal import Record
from ..selection.tasks import Choice, Wish
from . import plan_messages
from .enums import CAUSES, DEVICE_KINDS, STATES, filled
from .event_log import Published
from .validation import bad, name

GONE = "its file is gone: once it is unloaded, it is no longer listed"


def model(entry: ModelView, problem: Problem | None) -> model_pb2.Model:
    """A model that vramd knows, and why it cannot be loaded."""
    known = entry.spec
    message = filled(model_pb2.Model, entry, aliases=known.aliases)
    if isinstance(known.source, ModelFile):
        words = problem.text if problem else "" if entry.listed else GONE
        of_file = filled(
            model_pb2.Model,
            known.source,
            engine=model_pb2.ENGINE_LLAMA,
            architecture=printable(known.source.architecture),
            problem=one_line(words, MOST_MESSAGE_BYTES),
        )
        message.MergeFrom(of_file)
    else:
        message.engine = model_pb2.ENGINE_SIMULATED
        message.size_bytes = sum(known.source.memory.values())
        message.has_chat_template = True
    return message


def resident(seen: Resident, measured: Mapping[str, int | None]) -> model_pb2.ResidentModel:
    """A model that has a process or waits for one, with what its process takes."""
    known, plan = [size for size in measured.values() if size is not None], seen.plan
    return filled(
        model_pb2.ResidentModel,
        seen,
        devices=[
            model_pb2.DeviceUse(id=device, reserved_bytes=size, measured_bytes=measured.get(device))
            for device, size in seen.reserved.items()
        ],
        reserved_bytes=sum(seen.reserved.values()),
        measured_bytes=sum(known) if known else None,
        degraded=plan.degraded if plan else (),
        lowered=plan_messages.lowered(plan) if plan else (),
        cautions=plan.cautions if plan else (),
        settings=plan_messages.settings(plan.settings) if plan else None,
        quote=plan_messages.quote(plan.quote) if plan else None,
    )


def reservation(seen: ReservationView) -> supervisor_pb2.Reservation:
    """Bytes that are kept free for another program."""
    return filled(supervisor_pb2.Reservation, seen)


def device(known: Device, books: DeviceBooks, unusable: str, sample: Sample) -> supervisor_pb2.Device:
    """A device with what the ledger says of it."""
    return filled(
        supervisor_pb2.Device,
        books,
        id=known.id,
        kind=DEVICE_KINDS[known.kind],
        name=known.name,
        temperature_c=sample.temperature_c,
        utilisation_percent=sample.utilisation_percent,
        uuid=known.uuid,
        unusable=unusable,
    )


def receipt(given: Receipt) -> model_pb2.Receipt:
    """The end of a process. What was observed is never a copy of what was expected: unknown stays unset."""
    observed = {device: seen.size_bytes for device, seen in given.observed.items() if seen.size_bytes is not None}
    unknown = [f"{device}: {seen.reason}" for device, seen in given.observed.items() if seen.size_bytes is None]
    known = [f"{device}: {given.observed[device].reason}" for device in observed]
    return filled(
        model_pb2.Receipt,
        given,
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
            message.model_changed.worker_id = changed.worker_id
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
            message.evicted.worker_id = evicted.worker_id
            message.evicted.cause = CAUSES[evicted.because.cause]
            message.evicted.message = evicted.because.words
            message.evicted.for_model = evicted.beneficiary.model
            message.evicted.for_reservation = evicted.beneficiary.reservation
        case Released() as released:
            message.kind = supervisor_pb2.EVENT_KIND_RELEASE
            message.released.CopyFrom(receipt(released.receipt))
        case PressureChanged() as pressed:
            message.kind = supervisor_pb2.EVENT_KIND_PRESSURE
            message.pressure_changed.CopyFrom(filled(supervisor_pb2.PressureChanged, pressed))
        case QueueChanged() as changed:
            message.kind = supervisor_pb2.EVENT_KIND_QUEUE
            message.queue_changed.CopyFrom(filled(supervisor_pb2.QueueChanged, changed))
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
    return filled(
        supervisor_pb2.Decision,
        record.decision,
        id=record.number,
        time_s=record.time_s,
        worker_id=record.decision.worker_id,
        rejected=[filled(supervisor_pb2.Rejected, one) for one in record.decision.rejected],
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
    considered = [filled(model_pb2.Considered, other) for other in chosen.considered]
    return filled(model_pb2.SelectModelResponse, chosen, considered=considered)
