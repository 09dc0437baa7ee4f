"""Messages of the wire become values."""

from typing import get_args

import pytest
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
from support.fake_answers import queue_changed, thrashing, waiting
from support.fake_supervisor import device, known, receipt, resident
from vramd import (
    CoResident,
    Device,
    DeviceUse,
    Embeddings,
    Event,
    Evicted,
    Held,
    LedgerChanged,
    Model,
    ModelChanged,
    Plan,
    QueueChanged,
    Receipt,
    ResidentModel,
    Thrashing,
    Waiting,
    calls,
)
from vramd.enum_words import words
from vramd.reading import read
from vramd.values import words as vocabulary
from vramd.values.answers import Piece
from vramd_proto.v1 import inference_pb2, load_pb2, model_pb2, supervisor_pb2


@pytest.mark.parametrize(
    ("wire", "literal"),
    [
        (model_pb2.ModelState, vocabulary.ModelState),
        (model_pb2.Cause, vocabulary.Cause),
        (model_pb2.Awaited, vocabulary.Awaited),
        (model_pb2.Engine, vocabulary.Engine),
        (model_pb2.Lowered, vocabulary.Lowered),
        (model_pb2.Exit, vocabulary.Exit),
        (model_pb2.PlanVerdict, vocabulary.Verdict),
        (model_pb2.QuoteSource, vocabulary.QuoteSource),
        (model_pb2.QuoteConfidence, vocabulary.QuoteConfidence),
        (load_pb2.Priority, vocabulary.Priority),
        (supervisor_pb2.DeviceKind, vocabulary.DeviceKind),
        (supervisor_pb2.EventKind, vocabulary.EventKind),
        (supervisor_pb2.Pressure, vocabulary.Pressure),
        (supervisor_pb2.DecisionKind, vocabulary.DecisionKind),
        (inference_pb2.FinishReason, vocabulary.FinishReason),
    ],
)
def test_every_enum_of_the_wire_has_its_words(wire: EnumTypeWrapper, literal: object) -> None:
    known = {word.lower() for word in words(wire.DESCRIPTOR).values()}
    own = {"unspecified", "cancelled"}
    """Of the client: nothing was said, and an answer that was cancelled from here."""
    assert known - own == {one.lower() for one in get_args(literal)} - own


@pytest.mark.parametrize("name", [name for name, value in vars(calls).items() if isinstance(value, calls.Method)])
def test_an_answer_that_says_nothing_can_be_read(name: str) -> None:
    getattr(calls, name)().read(b"")


def test_a_resident_model() -> None:
    value = read(ResidentModel, resident())
    assert (value.state, value.pid, value.context_tokens, value.last_used_s) == ("READY", 4711, 4096, 1.5)
    assert value.devices == (DeviceUse("gpu0", 3 << 30, 2 << 30),)


def test_why_a_model_stays() -> None:
    held = read(ResidentModel, resident())
    assert (held.holders, held.keep_alive_s, held.keep_alive_left_s) == (("game",), 300.0, None)
    assert (held.priority, read(Model, known()).priority, read(Model, known()).keep_alive_s) == (
        "interactive",
        "interactive",
        300.0,
    )
    idle = read(ResidentModel, model_pb2.ResidentModel(keep_alive_s=0, keep_alive_left_s=0))
    assert (idle.keep_alive_s, idle.keep_alive_left_s) == (0.0, 0.0)


def test_what_nobody_knows_is_none() -> None:
    bare = read(ResidentModel, model_pb2.ResidentModel(model="talker", devices=[model_pb2.DeviceUse(id="host")]))
    assert (bare.pid, bare.measured_bytes, bare.loaded_s, bare.last_used_s, bare.context_tokens) == (None,) * 5
    assert bare.devices[0].measured_bytes is None
    assert bare.state == "UNSPECIFIED"
    card = read(Device, supervisor_pb2.Device(id="gpu0"))
    assert (card.temperature_c, card.utilisation_percent, card.uuid, card.unusable) == (None,) * 4
    gone = read(Receipt, model_pb2.Receipt(model="talker"))
    assert (gone.pid, gone.observed_bytes) == (None, None)
    model = read(Model, model_pb2.Model(id="talker"))
    assert (model.path, model.parameters, model.quantization, model.problem, model.resident) == (None,) * 5


def test_zero_that_was_measured_is_zero() -> None:
    cold = supervisor_pb2.Device(id="gpu0", temperature_c=0, utilisation_percent=0)
    assert (read(Device, cold).temperature_c, read(Device, cold).utilisation_percent) == (0, 0)
    assert read(Receipt, model_pb2.Receipt(observed_bytes=0)).observed_bytes == 0


def test_a_value_of_the_future_comes_as_its_number() -> None:
    message, plan, held = resident(), model_pb2.PlanLoadResponse(), supervisor_pb2.HoldModelResponse()
    event = supervisor_pb2.WatchEventsResponse()
    future = ((message, "state"), (message.settings, "kv_type"), (message.quote, "source"), (plan, "verdict"))
    for made, field in (*future, (held, "cause"), (held, "awaited"), (event, "kind")):
        setattr(made, field, 99)
    seen, step = read(ResidentModel, message), read(Held, held)
    assert seen.settings
    assert seen.quote
    assert (seen.state, seen.settings.kv_type, seen.quote.source) == ("99",) * 3
    assert (read(Plan, plan).verdict, step.cause, step.awaited) == ("99",) * 3
    assert (read(Event, event).kind, read(Event, event).detail) == ("99", None)


def test_devices_models_and_receipts_keep_their_numbers() -> None:
    card = read(Device, device())
    assert (card.kind, card.budget_bytes, card.free_bytes, card.uuid) == ("nvidia", 7 << 30, 3 << 30, "GPU-1")
    answer = model_pb2.GetModelResponse(model=known(), resident=resident())
    assert calls.GET_MODEL().read(answer.SerializeToString()).resident == read(ResidentModel, resident())
    gone = read(Receipt, receipt())
    assert (gone.exit_s, gone.release_s, gone.observed_bytes) == (0.25, 0.01, 198 << 20)
    assert gone.devices[0].observed_bytes is None


def test_embeddings_come_in_the_order_of_the_texts() -> None:
    message = inference_pb2.EmbedResponse(
        model="m",
        dimensions=2,
        embeddings=[
            inference_pb2.Embedding(index=1, values=[0.0, 1.0]),
            inference_pb2.Embedding(index=0, values=[1.0, 0.0]),
        ],
    )
    vectors = read(Embeddings, message)
    assert list(vectors) == [(1.0, 0.0), (0.0, 1.0)]
    assert (len(vectors), vectors[1], vectors.dimensions) == (2, (0.0, 1.0), 2)


def test_events_carry_what_happened() -> None:
    changed = supervisor_pb2.ModelChanged(
        model="talker",
        worker_id=3,
        before=model_pb2.MODEL_STATE_LOADING,
        after=model_pb2.MODEL_STATE_READY,
        cause=model_pb2.CAUSE_LOADING,
        message="loaded",
    )
    ledger = supervisor_pb2.LedgerChanged(
        devices=[supervisor_pb2.LedgerRow(id="host", reserved_bytes=1, budget_bytes=2)], message="reserved"
    )
    evicted = supervisor_pb2.Evicted(
        model="a", worker_id=1, cause=model_pb2.CAUSE_EVICTED_FOR_RESERVATION, message="old", for_reservation=8
    )
    events = [
        read(Event, supervisor_pb2.WatchEventsResponse(sequence=1, time_s=2.5, kind=1, model_changed=changed)),  # type: ignore[arg-type]  # the number of MODEL
        read(Event, supervisor_pb2.WatchEventsResponse(ledger_changed=ledger)),
        read(Event, supervisor_pb2.WatchEventsResponse(evicted=evicted)),
        read(Event, supervisor_pb2.WatchEventsResponse(released=receipt())),
        read(Event, supervisor_pb2.WatchEventsResponse(sequence=9)),
    ]
    assert (events[0].sequence, events[0].time_s, events[0].kind) == (1, 2.5, "MODEL")
    assert events[0].detail == ModelChanged("talker", 3, "LOADING", "READY", "loading", "loaded")
    assert [type(event.detail) for event in events[1:4]] == [LedgerChanged, Evicted, Receipt]
    assert events[2].detail == Evicted("a", 1, "evicted_for_reservation", "old", None, 8)
    assert (events[4].kind, events[4].detail) == ("UNSPECIFIED", None)


def test_events_of_the_scheduler_keep_their_numbers() -> None:
    queue, thrash = read(Event, queue_changed()), read(Event, thrashing())
    assert (queue.kind, queue.detail) == ("QUEUE", QueueChanged("talker", 3, 5))
    together = (CoResident("talker", ("kv-type q8_0",), 2 << 30, ("kv_type",)),)
    assert (thrash.kind, thrash.detail) == ("THRASH", Thrashing(("reader", "talker"), 7.5, 0.25, together))


def test_what_a_stream_waits_for() -> None:
    told = waiting(3, "two is DRAINING", None, model_pb2.MODEL_STATE_QUEUED, model_pb2.AWAITED_BUSY_MODELS)
    assert read(Piece, told).waiting == Waiting(3, "two is DRAINING", None, "QUEUED", "busy_models")
    assert read(Piece, waiting(0, "", 0.0)).waiting == Waiting(0, "", 0.0, "UNSPECIFIED", "unspecified")
    assert read(Piece, inference_pb2.ChatResponse(text="a")).waiting is None
