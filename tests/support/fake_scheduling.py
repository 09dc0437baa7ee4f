"""What a scripted supervisor says of those who wait, and of models that are kept warm."""

from vramd_proto.v1 import inference_pb2, model_pb2, supervisor_pb2


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
