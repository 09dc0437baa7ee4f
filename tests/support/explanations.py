"""What a scripted supervisor says of its decisions, and of where the time of a call went."""

from support.fake_supervisor import Trailer
from vramd_common.timeline import KEY, Told, pack
from vramd_proto.v1 import model_pb2, supervisor_pb2


def decision() -> supervisor_pb2.Decision:
    """An eviction, with every field set."""
    return supervisor_pb2.Decision(
        id=12,
        time_s=1_700_000_000.5,
        kind=supervisor_pb2.DECISION_KIND_EVICT,
        model="reader",
        incarnation=2,
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
