"""Values to public messages, and wishes from them."""

from collections.abc import Mapping
from functools import partial

from typing_extensions import assert_never
from vramd_common.printable import one_line, printable
from vramd_common.statuses import MOST_MESSAGE_BYTES
from vramd_proto.v1 import load_pb2, model_pb2, supervisor_pb2

from ..core.actions import Evicted, LedgerChanged, ModelChanged, PressureChanged, QueueChanged, Released, Thrashing
from ..core.view import DeathsView, DeviceBooks, ModelView, ReservationView, Resident
from ..devices.device import Device
from ..domain.catalog import ModelFile, Problem
from ..domain.device_view import Sample
from ..domain.receipt import Receipt
from ..files.journal import Record
from ..selection.tasks import Choice, Wish
from . import plan_messages, validation
from .enums import filled
from .event_log import Published

GONE = "its file is gone: once it is unloaded, it is no longer listed"


def model(entry: ModelView, problem: Problem | None) -> model_pb2.Model:
    """A model that vramd knows, and why it cannot be loaded."""
    known = entry.spec
    message = filled(model_pb2.Model, entry, aliases=known.aliases, deaths=_deaths(entry.deaths))
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
        lowered=plan.lowered if plan else (),
        cautions=plan.cautions if plan else (),
        settings=plan_messages.settings(plan.settings) if plan else None,
        quote=plan_messages.quote(plan.quote) if plan else None,
        deaths=_deaths(seen.deaths),
    )


def _deaths(seen: DeathsView | None) -> model_pb2.Deaths | None:
    return filled(model_pb2.Deaths, seen, message=one_line(seen.message, MOST_MESSAGE_BYTES)) if seen else None


def reservation(seen: ReservationView) -> supervisor_pb2.Reservation:
    """Bytes that are kept free for another program."""
    return filled(supervisor_pb2.Reservation, seen)


def device(known: Device, books: DeviceBooks, unusable: str, sample: Sample) -> supervisor_pb2.Device:
    """A device with what the ledger says of it."""
    return filled(
        supervisor_pb2.Device,
        books,
        id=known.id,
        kind=known.kind,
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
    made = partial(supervisor_pb2.WatchEventsResponse, sequence=published.sequence, time_s=published.time_s)
    match published.notice:
        case ModelChanged(because=because) as changed:
            told = filled(supervisor_pb2.ModelChanged, changed, cause=because.cause, message=because.words)
            return made(kind=supervisor_pb2.EVENT_KIND_MODEL, model_changed=told)
        case LedgerChanged(reserved_and_budget=rows, message=words):
            devices = [
                supervisor_pb2.LedgerRow(id=device_id, reserved_bytes=reserved, budget_bytes=budget)
                for device_id, (reserved, budget) in rows.items()
            ]
            ledger = supervisor_pb2.LedgerChanged(message=words, devices=devices)
            return made(kind=supervisor_pb2.EVENT_KIND_LEDGER, ledger_changed=ledger)
        case Evicted(because=because, beneficiary=beneficiary) as evicted:
            gone = filled(
                supervisor_pb2.Evicted,
                evicted,
                cause=because.cause,
                message=because.words,
                for_model=beneficiary.model,
                for_reservation=beneficiary.reservation,
            )
            return made(kind=supervisor_pb2.EVENT_KIND_EVICTION, evicted=gone)
        case Released() as released:
            return made(kind=supervisor_pb2.EVENT_KIND_RELEASE, released=receipt(released.receipt))
        case PressureChanged() as pressed:
            pressure = filled(supervisor_pb2.PressureChanged, pressed)
            return made(kind=supervisor_pb2.EVENT_KIND_PRESSURE, pressure_changed=pressure)
        case QueueChanged() as queue:
            return made(kind=supervisor_pb2.EVENT_KIND_QUEUE, queue_changed=filled(supervisor_pb2.QueueChanged, queue))
        case Thrashing() as thrashing:
            together = [
                filled(
                    supervisor_pb2.CoResident,
                    plan,
                    model=model_id,
                    changes=plan.degraded,
                    needed_bytes=plan.quote.total_bytes,
                )
                for model_id, plan in zip(thrashing.models, thrashing.together, strict=False)
            ]
            found = filled(supervisor_pb2.Thrashing, thrashing, together=together)
            return made(kind=supervisor_pb2.EVENT_KIND_THRASH, thrashing=found)
        case _:
            assert_never(published.notice)


def decision(record: Record) -> supervisor_pb2.Decision:
    """One record of the journal."""
    return filled(
        supervisor_pb2.Decision,
        record.decision,
        id=record.number,
        time_s=record.time_s,
        rejected=[filled(supervisor_pb2.Rejected, one) for one in record.decision.rejected],
    )


def wish(request: model_pb2.SelectModelRequest) -> Wish:
    """Reads the wish of a call. Raises RefusedError."""
    validation.wish(request)
    return Wish(
        request.task,
        request.role,
        request.context_tokens,
        light_now=request.prefer == load_pb2.PREFER_LIGHT_NOW,
    )


def choice(chosen: Choice) -> model_pb2.SelectModelResponse:
    """The model that was chosen, and why."""
    considered = [filled(model_pb2.Considered, other) for other in chosen.considered]
    return filled(model_pb2.SelectModelResponse, chosen, considered=considered)
