"""What a scripted supervisor says: of models for a task, of its decisions, of those who wait, of models kept warm."""

from support.fake_supervisor import Trailer
from vramd_common.timeline import KEY, Told, pack
from vramd_proto.v1 import inference_pb2, model_pb2, supervisor_pb2


def selection() -> model_pb2.SelectModelResponse:
    """A coder that is not loaded, before a general model that is."""
    general = model_pb2.Considered(model="talker", score=61, why_not="a general model, not made for code")
    return model_pb2.SelectModelResponse(
        model="coder",
        score=87.5,
        fits=True,
        reasons=["made for code: its name says so", "there is room for it"],
        considered=[general],
    )


def decision() -> supervisor_pb2.Decision:
    """An eviction, with every field set."""
    return supervisor_pb2.Decision(
        id=12,
        time_s=1_700_000_000.5,
        kind=supervisor_pb2.DECISION_KIND_EVICT,
        model="reader",
        worker_id=2,
        for_whom="talker",
        cause=model_pb2.CAUSE_EVICTED_FOR_MODEL,
        message="talker lacks 52.0 MiB on gpu0; reader is the least recently used of the idle",
        numbers={"lacking_bytes": 52 << 20, "idle_s": 12.5, "queued": 3},
        rejected=[supervisor_pb2.Rejected(what="evict listener", why="it is pinned")],
    )


def timeline() -> Trailer:
    """Of a call that waited for a load."""
    seconds = {"queued_s": 0.25, "loaded_s": 2.5, "prompt_s": 0.5, "decode_s": 1.5}
    return Trailer(((KEY, pack(Told("talker", 3, seconds))),))


def held() -> tuple[supervisor_pb2.HoldModelResponse, ...]:
    """A model that is loaded first."""
    return (
        supervisor_pb2.HoldModelResponse(
            state=model_pb2.MODEL_STATE_LOADING,
            message="talker is LOADING",
            model="talker",
            cause=model_pb2.CAUSE_LOADING,
            awaited=model_pb2.AWAITED_WEIGHTS,
        ),
        supervisor_pb2.HoldModelResponse(state=model_pb2.MODEL_STATE_READY, message="it is kept warm", model="talker"),
    )


def waiting(
    ahead: int,
    message: str,
    progress: float | None = None,
    state: model_pb2.ModelState.ValueType = model_pb2.MODEL_STATE_UNSPECIFIED,
    awaited: model_pb2.Awaited.ValueType = model_pb2.AWAITED_UNSPECIFIED,
) -> inference_pb2.ChatResponse:
    """Comes before an answer; the same bytes are one of Generate."""
    told = model_pb2.Waiting(ahead=ahead, message=message, progress=progress, state=state, awaited=awaited)
    return inference_pb2.ChatResponse(waiting=told)


def queue_changed() -> supervisor_pb2.WatchEventsResponse:
    """Five wait, three of them for one model."""
    changed = supervisor_pb2.QueueChanged(model="talker", queued=3, queued_in_all=5)
    return supervisor_pb2.WatchEventsResponse(sequence=11, kind=supervisor_pb2.EVENT_KIND_QUEUE, queue_changed=changed)


def thrashing(*, curable: bool = True) -> supervisor_pb2.WatchEventsResponse:
    """Two models drive each other out; if curable, smaller settings of one would help."""
    smaller = supervisor_pb2.CoResident(
        model="talker", changes=["kv-type q8_0"], needed_bytes=2 << 30, lowered=[model_pb2.LOWERED_KV_TYPE]
    )
    found = supervisor_pb2.Thrashing(
        models=["reader", "talker"], loads_per_minute=7.5, useful_share=0.25, together=[smaller] if curable else []
    )
    return supervisor_pb2.WatchEventsResponse(sequence=12, kind=supervisor_pb2.EVENT_KIND_THRASH, thrashing=found)
