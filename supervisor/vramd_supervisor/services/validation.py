"""The edge: public requests are checked here once, so that behind it every value is in range. Knows no core."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NoReturn, TypeVar

from google.protobuf.message import Message
from vramd_common.printable import printable
from vramd_common.reasons import Reason
from vramd_proto.v1 import inference_pb2, load_pb2, supervisor_pb2

from ..domain.catalog import LoadOptions
from ..domain.config import Priority
from ..domain.errors import RefusedError, in_words, refusal
from .enums import FLASH_ATTENTIONS, KV_TYPES, OUTPUT_RULES, PRIORITIES

MOST_REQUEST_BYTES = 8 * 1024 * 1024
MOST_ID_CHARACTERS = 512
MOST_STOPS = 16
MOST_STOP_BYTES = 256
MOST_INPUTS = 1024
MOST_TOKEN_IDS = 1 << 20
MOST_LISTED = 5000
LEAST_TOKENS_PER_S = 0.001
MOST_TOKENS = 1 << 24
LEAST_REPEAT_PENALTY, MOST_REPEAT_PENALTY = 0.01, 100.0
"""Beyond these the penalties of a few tokens are more than a number can hold."""
MOST_PARALLEL = 256
MOST_THREADS = 1024
MOST_RESERVED_S = 86_400
MOST_NAME_CHARACTERS = 64
"""Of a device, a role, a task, a label: what is one word or a few."""

_Member = TypeVar("_Member")
_Number = TypeVar("_Number", int, float)


def bad(field: str, problem: str) -> NoReturn:
    """Refuses a request for one field."""
    raise RefusedError(refusal(Reason.FIELD_INVALID, f"{field}: {problem}", field=field))


def generate(request: inference_pb2.GenerateRequest) -> None:
    """Raises RefusedError."""
    _common(request, request.model)
    _parts("prompt", request.prompt)
    _sampling(request.sampling)
    _limits(request.limits)


def chat(request: inference_pb2.ChatRequest) -> None:
    """Raises RefusedError."""
    _common(request, request.model)
    if not request.messages:
        bad("messages", "at least one message is needed")
    for place, message in enumerate(request.messages):
        if not message.role:
            bad(f"messages[{place}].role", "is empty; usual are system, user, assistant")
        name(f"messages[{place}].role", message.role)
        _parts(f"messages[{place}].parts", message.parts)
    _sampling(request.sampling)
    _limits(request.limits)


def embed(request: inference_pb2.EmbedRequest) -> None:
    """Raises RefusedError."""
    _common(request, request.model)
    if not 1 <= len(request.inputs) <= MOST_INPUTS:
        bad("inputs", f"1 to {MOST_INPUTS} are taken, not {len(request.inputs)}")
    for place, given in enumerate(request.inputs):
        _parts(f"inputs[{place}].parts", given.parts)
        if not any(part.text for part in given.parts):
            bad(f"inputs[{place}].parts", "there is no text to embed")


def tokenize(request: inference_pb2.TokenizeRequest) -> None:
    """Raises RefusedError."""
    _common(request, request.model)


def detokenize(request: inference_pb2.DetokenizeRequest) -> None:
    """Raises RefusedError."""
    _common(request, request.model)
    if len(request.token_ids) > MOST_TOKEN_IDS:
        bad("token_ids", f"has {len(request.token_ids)} ids, at most {MOST_TOKEN_IDS} are taken")
    if request.token_ids and min(request.token_ids) < 0:
        bad("token_ids", "an id is negative")


def model_id(model: str) -> str:
    """The id, if it can be one. Ids are looked up, never joined to paths. Raises RefusedError."""
    if not model:
        bad("model", "is empty; `vramd models` lists what there is")
    if len(model) > MOST_ID_CHARACTERS:
        bad("model", f"has {len(model)} characters, at most {MOST_ID_CHARACTERS} are taken")
    return model


def name(field: str, text: str) -> str:
    """A short text that will stand in messages and logs, if it can. Raises RefusedError."""
    if len(text) > MOST_NAME_CHARACTERS or printable(text) != text:
        bad(field, f"is not at most {MOST_NAME_CHARACTERS} printable characters")
    return text


def load_options(options: load_pb2.LoadOptions) -> LoadOptions:
    """What a call asks of a load. Raises RefusedError."""
    gpu_layers = options.gpu_layers if options.HasField("gpu_layers") else None
    if gpu_layers is not None and gpu_layers < -1:
        bad("load.gpu_layers", f"{gpu_layers} is neither -1 nor 0 or more")
    return LoadOptions(
        context_tokens=_within(options, "context_tokens", 1, MOST_TOKENS),
        threads=_within(options, "threads", 1, MOST_THREADS),
        device=name("load.device", options.device) if options.HasField("device") else None,
        gpu_layers=gpu_layers,
        batch_tokens=_within(options, "batch_tokens", 1, MOST_TOKENS),
        kv_type=_one_of("load.kv_type", options.kv_type, KV_TYPES),
        parallel=_within(options, "parallel", 1, MOST_PARALLEL),
        keep_alive_s=keep_alive_s(options.keep_alive_s) if options.HasField("keep_alive_s") else None,
        ubatch_tokens=_within(options, "ubatch_tokens", 1, MOST_TOKENS),
        flash_attention=_one_of("load.flash_attention", options.flash_attention, FLASH_ATTENTIONS),
        swa_full=options.swa_full if options.HasField("swa_full") else None,
        outputs=_outputs(options),
        kv_split=options.kv_split if options.HasField("kv_split") else None,
        gpu_only=options.gpu_only if options.HasField("gpu_only") else None,
        least_context_tokens=_within(options, "least_context_tokens", 1, MOST_TOKENS),
        degrade=options.degrade if options.HasField("degrade") else None,
    )


def _outputs(options: load_pb2.LoadOptions) -> str | None:
    if options.HasField("output_tokens"):
        return str(_within(options, "output_tokens", 1, MOST_TOKENS))
    return _one_of("load.output_rule", options.output_rule, OUTPUT_RULES)


def priority(field: str, given: "load_pb2.Priority.ValueType") -> Priority | None:
    """How urgent a request is; None: it does not say. Raises RefusedError."""
    return _one_of(field, given, PRIORITIES)


def keep_alive_s(seconds: float) -> float:
    """Seconds that a model may stay idle, if they can be such. Raises RefusedError."""
    if not (seconds == -1 or 0 <= seconds < math.inf):
        bad("keep_alive_s", f"{seconds} is neither -1 nor 0 or more seconds")
    return seconds


def listed(limit: int) -> int:
    """How many records are asked for. Raises RefusedError."""
    if limit > MOST_LISTED:
        bad("limit", f"{limit} is more than {MOST_LISTED}")
    return limit


def reservation(request: supervisor_pb2.ReserveMemoryRequest, devices: Collection[str]) -> None:
    """Raises RefusedError."""
    if request.device not in devices:
        bad("device", f"{request.device[:200]!r} is not one of {', '.join(devices)}")
    if not request.size_bytes:
        bad("size_bytes", "0 bytes need no reservation")
    _number("ttl_s", request.ttl_s, 0 < request.ttl_s <= MOST_RESERVED_S, f"above 0 and at most {MOST_RESERVED_S}")
    name("label", request.label)


def _within(options: load_pb2.LoadOptions, field: str, least: int, most: int) -> int | None:
    if not options.HasField(field):  # type: ignore[arg-type]  # names come from load_options above
        return None
    value = int(getattr(options, field))
    if not least <= value <= most:
        bad(f"load.{field}", f"{value} is not from {least} to {most}")
    return value


def _one_of(field: str, number: int, numbers: Mapping[_Member, int]) -> _Member | None:
    """What a value of an enum stands for; None for the unspecified one."""
    known = {value: member for member, value in numbers.items()}
    if number and number not in known:
        bad(field, f"{number} is not one that this version knows")
    return known.get(number)


def _common(request: Message, model: str) -> None:
    size = request.ByteSize()
    if size > MOST_REQUEST_BYTES:
        text = f"the request has {in_words(size)}, at most {in_words(MOST_REQUEST_BYTES)} are taken"
        raise RefusedError(refusal(Reason.PROMPT_TOO_LARGE, text, bytes=size, limitBytes=MOST_REQUEST_BYTES))
    model_id(model)


def _parts(field: str, parts: Sequence[inference_pb2.ContentPart]) -> None:
    for place, part in enumerate(parts):
        if part.WhichOneof("content") is None:
            bad(f"{field}[{place}]", "has no content that this version knows; text is taken")


def _number(field: str, value: float, allowed: bool, range_: str) -> None:
    if not math.isfinite(value) or not allowed:
        bad(field, f"{value:g} is not {range_}")


def _sampling(sampling: inference_pb2.Sampling) -> None:
    s = sampling
    if s.HasField("temperature"):
        _number("sampling.temperature", s.temperature, s.temperature >= 0, "0 or more")
    if s.HasField("top_p"):
        _number("sampling.top_p", s.top_p, 0 <= s.top_p <= 1, "from 0 to 1")
    if s.HasField("min_p"):
        _number("sampling.min_p", s.min_p, 0 <= s.min_p <= 1, "from 0 to 1")
    if s.HasField("top_k") and s.top_k > MOST_TOKENS:
        bad("sampling.top_k", f"{s.top_k} is not from 0 to {MOST_TOKENS}")
    if s.HasField("repeat_penalty"):
        allowed = LEAST_REPEAT_PENALTY <= s.repeat_penalty <= MOST_REPEAT_PENALTY
        words = f"from {LEAST_REPEAT_PENALTY} to {MOST_REPEAT_PENALTY:g}"
        _number("sampling.repeat_penalty", s.repeat_penalty, allowed, words)
    if s.HasField("frequency_penalty"):
        _number("sampling.frequency_penalty", s.frequency_penalty, abs(s.frequency_penalty) <= 2, "from -2 to 2")
    if s.HasField("presence_penalty"):
        _number("sampling.presence_penalty", s.presence_penalty, abs(s.presence_penalty) <= 2, "from -2 to 2")
    if s.HasField("penalty_last_tokens") and s.penalty_last_tokens > MOST_TOKENS:
        bad("sampling.penalty_last_tokens", f"{s.penalty_last_tokens} is not from 0 to {MOST_TOKENS}")


def _limits(limits: inference_pb2.Limits) -> None:
    if limits.HasField("max_tokens") and not 1 <= limits.max_tokens <= MOST_TOKENS:
        bad("limits.max_tokens", f"{limits.max_tokens} is not from 1 to {MOST_TOKENS}")
    if limits.HasField("max_tokens_per_s"):
        rate = limits.max_tokens_per_s
        _number("limits.max_tokens_per_s", rate, rate >= LEAST_TOKENS_PER_S, f"{LEAST_TOKENS_PER_S} or more")
    _stops(limits.stop)


def _stops(stops: Iterable[str]) -> None:
    for place, stop in enumerate(stops):
        if place >= MOST_STOPS:
            bad("limits.stop", f"more than {MOST_STOPS} are given")
        if not 1 <= len(stop.encode()) <= MOST_STOP_BYTES:
            bad(f"limits.stop[{place}]", f"is not from 1 to {MOST_STOP_BYTES} bytes long")
