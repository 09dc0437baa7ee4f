"""Where the time of an answered call went, as its trailing metadata tells it. Pure."""

from collections.abc import Mapping

from vramd_common.timeline import KEY, Told, pack
from vramd_proto.v1.inference_pb2 import ChatResponse


def trailing(
    model: str, incarnation: int, until_grant: Mapping[str, float], worked: Mapping[str, float]
) -> tuple[tuple[str, str], ...]:
    """The trailing metadata; `until_grant` and `worked` are seconds by the names of the phases."""
    return ((KEY, pack(Told(model, incarnation, {**until_grant, **worked}))),)


def generated(last: bytes) -> Mapping[str, float]:
    """What the worker took for an answer, by the last message of its stream; nothing if that does not tell.

    Generate and Chat end alike: `finish` has one number in both messages, so that one of them reads both.
    """
    message = ChatResponse.FromString(last)
    if not message.HasField("finish"):
        return {}
    return {"prompt_s": message.finish.usage.prompt_s, "decode_s": message.finish.usage.generation_s}
