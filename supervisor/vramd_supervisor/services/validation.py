"""The edge: public requests are checked here once, so that behind it every value is in range. Knows no core."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NoReturn, TypeVar

from google.protobuf.message import Message
from vramd_common import wire_values
from vramd_common.load_settings import LOAD_SETTINGS, LoadOptions, load_faults
from vramd_common.printable import MOST_ID_CHARACTERS, MOST_NAME_CHARACTERS, printable
from vramd_common.reasons import Reason
from vramd_common.sampling import LIMITS, MOST_STOP_BYTES, MOST_STOPS, SAMPLING
from vramd_common.settings_table import Setting
from vramd_proto.v1 import inference_pb2, load_pb2, supervisor_pb2

from ..domain.config import Priority
from ..domain.errors import RefusedError, in_words, refusal
from .enums import TABLES

MOST_REQUEST_BYTES = 8 * 1024 * 1024
MOST_INPUTS = 1024
MOST_TOKEN_IDS = 1 << 20
MOST_LISTED = 5000
MOST_RESERVED_S = 86_400

_RESUMES = {True: load_pb2.ON_CRASH_RESUME, False: load_pb2.ON_CRASH_FAIL}

_Member = TypeVar("_Member")


def bad(field: str, problem: str) -> NoReturn:
    """Refuses a request for one field."""
    raise RefusedError(refusal(Reason.FIELD_INVALID, f"{field}: {problem}", field=field))


def generate(request: inference_pb2.GenerateRequest) -> None:
    """Raises RefusedError."""
    _common(request, request.model)
    _parts("prompt", request.prompt)
    _answer(request)


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
    _answer(request)


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
    """Reads the settings of a load that a call asks for. Raises RefusedError."""
    asked = LoadOptions(**{row.field: _given(options, row) for row in LOAD_SETTINGS})
    for row, fault in load_faults(asked):
        bad(_wire_name(options, row), fault)
    return asked


def _given(options: load_pb2.LoadOptions, row: Setting) -> Any:
    try:
        value = wire_values.get(options, row.field)
    except wire_values.UnknownValueError as error:
        bad(_wire_name(options, row), str(error))
    return str(value) if row.kind is str and value is not None else value


def _wire_name(options: load_pb2.LoadOptions, row: Setting) -> str:
    return f"load.{options.WhichOneof('outputs') if row.field == 'outputs' else row.field}"


def priority(field: str, given: "load_pb2.Priority.ValueType") -> Priority | None:
    """How urgent a request is; None: it does not say. Raises RefusedError."""
    return _one_of(field, given, TABLES[Priority])


def resumes(field: str, on_crash: "load_pb2.OnCrash.ValueType") -> bool:
    """Whether a request goes on in another process. Raises RefusedError."""
    return _one_of(field, on_crash, _RESUMES) is not False


def keep_alive_s(seconds: float) -> float:
    """Seconds that a model may stay idle, if they can be such. Raises RefusedError."""
    for row, fault in load_faults(LoadOptions(keep_alive_s=seconds)):
        bad(row.field, fault)
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


def _one_of(field: str, number: int, numbers: Mapping[_Member, int]) -> _Member | None:
    """Returns the member that a number of the wire means; None for the unspecified one."""
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


def _answer(request: inference_pb2.GenerateRequest | inference_pb2.ChatRequest) -> None:
    for path, message, table in (("sampling", request.sampling, SAMPLING), ("limits", request.limits, LIMITS)):
        for row in table:
            if row.kind is not tuple and (fault := row.fault(wire_values.get(message, row.field))):
                bad(f"{path}.{row.field}", fault)
    _stops(request.limits.stop)


def _stops(stops: Iterable[str]) -> None:
    for place, stop in enumerate(stops):
        if place >= MOST_STOPS:
            bad("limits.stop", f"more than {MOST_STOPS} are given")
        if not 1 <= len(stop.encode()) <= MOST_STOP_BYTES:
            bad(f"limits.stop[{place}]", f"is not from 1 to {MOST_STOP_BYTES} bytes long")
