"""The edge: public requests are checked here once, so that behind it every value is in range. Knows no core."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any

from google.protobuf.message import Message
from vramd_common import wire_values
from vramd_common.load_settings import ANYTHING, LOAD_SETTINGS, MOST_TOKENS, LoadOptions, load_faults
from vramd_common.printable import MOST_ID_CHARACTERS, MOST_NAME_CHARACTERS, printable
from vramd_common.reasons import Reason
from vramd_common.sampling import LIMITS, MOST_STOP_BYTES, MOST_STOPS, SAMPLING
from vramd_common.settings_table import Setting
from vramd_proto.v1 import inference_pb2, load_pb2, model_pb2, supervisor_pb2

from ..domain.catalog import why_no_task
from ..domain.config import Priority
from ..domain.errors import Refusal, RefusedError, Violation, in_words, refusal
from .enums import TABLES

MOST_REQUEST_BYTES = 8 * 1024 * 1024
MOST_INPUTS = 1024
MOST_TOKEN_IDS = 1 << 20
MOST_LISTED = 5000
MOST_RESERVED_S = 86_400

_MOST_VIOLATIONS = 16
"""More of one request are not told."""

_Violations = Iterator[Violation]


def refuse(violations: Iterable[Violation]) -> None:
    """Refuses a request for all of these fields at once, or does nothing if there are none. Raises RefusedError."""
    found = tuple(islice(violations, _MOST_VIOLATIONS))
    if found:
        text = "; ".join(f"{field}: {problem}" for field, problem in found)
        raise RefusedError(Refusal(Reason.FIELD_INVALID, text, {"field": found[0].field}, violations=found))


def generate(request: inference_pb2.GenerateRequest) -> None:
    """Raises RefusedError."""
    _sized(request)
    refuse(chain(_common(request), _parts("prompt", request.prompt), _answer(request)))


def chat(request: inference_pb2.ChatRequest) -> None:
    """Raises RefusedError."""
    _sized(request)
    refuse(chain(_common(request), _messages(request), _answer(request)))


def embed(request: inference_pb2.EmbedRequest) -> None:
    """Raises RefusedError."""
    _sized(request)
    refuse(chain(_common(request), _inputs(request)))


def tokenize(request: inference_pb2.TokenizeRequest) -> None:
    """Raises RefusedError."""
    _sized(request)
    refuse(_common(request))


def detokenize(request: inference_pb2.DetokenizeRequest) -> None:
    """Raises RefusedError."""
    _sized(request)
    refuse(chain(_common(request), _token_ids(request)))


def model_id(model: str) -> str:
    """The id, if it can be one. Ids are looked up, never joined to paths. Raises RefusedError."""
    refuse(_model(model))
    return model


def load(model: str, options: load_pb2.LoadOptions, label: str = "") -> LoadOptions:
    """Reads the settings of the load of a model that a call asks for. Raises RefusedError."""
    refuse(chain(_model(model), _load(options), _name("label", label)))
    return load_options(options)


def load_options(options: load_pb2.LoadOptions) -> LoadOptions:
    """Reads the settings of a load that a call asks for. Raises RefusedError."""
    if not options.ListFields():
        return ANYTHING
    refuse(_load(options))
    return LoadOptions(**{row.field: _given(options, row) for row in LOAD_SETTINGS})


def priority(given: "load_pb2.Priority.ValueType") -> Priority | None:
    """How urgent a request is that was checked; None: it does not say."""
    return _PRIORITIES.get(given)


def resumes(on_crash: "load_pb2.OnCrash.ValueType") -> bool:
    """Whether a request that was checked goes on in another process."""
    return on_crash != load_pb2.ON_CRASH_FAIL


def changes(request: model_pb2.UpdateModelRequest) -> None:
    """Raises RefusedError."""
    refuse(chain(_model(request.model), _keep_alive(request), _one_of("priority", request.priority, _PRIORITIES)))


def wish(request: model_pb2.SelectModelRequest) -> None:
    """Raises RefusedError."""
    refuse(chain(_task(request), _name("role", request.role), _one_of("prefer", request.prefer, _PREFERENCES)))


def kinds(request: supervisor_pb2.WatchEventsRequest) -> None:
    """Raises RefusedError."""
    numbers = enumerate(request.kinds)
    refuse(chain.from_iterable(_one_of(f"kinds[{place}]", number, _EVENT_KINDS) for place, number in numbers))


def listed(model: str, limit: int) -> None:
    """How many records are asked for, and of which model. Raises RefusedError."""
    refuse(chain(_model(model) if model else (), _most("limit", limit, MOST_LISTED)))


def reservation(request: supervisor_pb2.ReserveMemoryRequest, devices: Collection[str]) -> None:
    """Raises RefusedError."""
    refuse(chain(_reserved(request, devices), _name("label", request.label)))


_PRIORITIES = {number: member for member, number in TABLES[Priority].items() if member is not None}
_PREFERENCES = frozenset(load_pb2.Prefer.values())
_ON_CRASH = frozenset(load_pb2.OnCrash.values())
_CACHES = frozenset(inference_pb2.PromptCache.values())
_EVENT_KINDS = frozenset(supervisor_pb2.EventKind.values())


def _sized(request: Message) -> None:
    size = request.ByteSize()
    if size > MOST_REQUEST_BYTES:
        text = f"the request has {in_words(size)}, at most {in_words(MOST_REQUEST_BYTES)} are taken"
        raise RefusedError(refusal(Reason.PROMPT_TOO_LARGE, text, bytes=size, limitBytes=MOST_REQUEST_BYTES))


def _common(request: Any) -> _Violations:
    """Yields violations of the fields that all requests of inference share."""
    yield from _model(request.model)
    yield from _load(request.load)
    if "scheduling" in request.DESCRIPTOR.fields_by_name:
        yield from _one_of("scheduling.priority", request.scheduling.priority, _PRIORITIES)
        yield from _one_of("scheduling.prefer", request.scheduling.prefer, _PREFERENCES)
        yield from _one_of("scheduling.on_crash", request.scheduling.on_crash, _ON_CRASH)


def _model(model: str) -> _Violations:
    if not model:
        yield Violation("model", "is empty; `vramd models` lists what there is")
    if len(model) > MOST_ID_CHARACTERS:
        yield Violation("model", f"has {len(model)} characters, at most {MOST_ID_CHARACTERS} are taken")


def _name(field: str, text: str) -> _Violations:
    """A short text that will stand in messages and logs."""
    if len(text) > MOST_NAME_CHARACTERS or printable(text) != text:
        yield Violation(field, f"is not at most {MOST_NAME_CHARACTERS} printable characters")


def _load(options: load_pb2.LoadOptions) -> _Violations:
    if not options.ListFields():
        return
    known = {}
    for row in LOAD_SETTINGS:
        try:
            known[row.field] = _given(options, row)
        except wire_values.UnknownValueError as error:
            yield Violation(_wire_name(options, row), str(error))
    yield from (Violation(_wire_name(options, row), fault) for row, fault in load_faults(LoadOptions(**known)))


def _given(options: load_pb2.LoadOptions, row: Setting) -> Any:
    value = wire_values.get(options, row.field)
    return str(value) if row.kind is str and value is not None else value


def _wire_name(options: load_pb2.LoadOptions, row: Setting) -> str:
    return f"load.{options.WhichOneof('outputs') if row.field == 'outputs' else row.field}"


def _keep_alive(request: model_pb2.UpdateModelRequest) -> _Violations:
    if request.HasField("keep_alive_s"):
        faults = load_faults(LoadOptions(keep_alive_s=request.keep_alive_s))
        yield from (Violation(row.field, fault) for row, fault in faults)


def _task(request: model_pb2.SelectModelRequest) -> _Violations:
    yield from _most("context_tokens", request.context_tokens, MOST_TOKENS)
    if why := why_no_task(request.task):
        yield Violation("task", why)


def _reserved(request: supervisor_pb2.ReserveMemoryRequest, devices: Collection[str]) -> _Violations:
    if request.device not in devices:
        yield Violation("device", f"{request.device[:200]!r} is not one of {', '.join(devices)}")
    if not request.size_bytes:
        yield Violation("size_bytes", "0 bytes need no reservation")
    if not 0 < request.ttl_s <= MOST_RESERVED_S:  # nor a value that is no number
        yield Violation("ttl_s", f"{request.ttl_s:g} is not above 0 and at most {MOST_RESERVED_S}")


def _most(field: str, value: int, most: int) -> _Violations:
    if value > most:
        yield Violation(field, f"must be 0 to {most}, not {value}")


def _one_of(field: str, number: int, known: Collection[int]) -> _Violations:
    if number and number not in known:
        yield Violation(field, f"{number} is not one that this version knows")


def _parts(field: str, parts: Sequence[inference_pb2.ContentPart]) -> _Violations:
    for place, part in enumerate(parts):
        if part.WhichOneof("content") is None:
            yield Violation(f"{field}[{place}]", "has no content that this version knows; text is taken")


def _messages(request: inference_pb2.ChatRequest) -> _Violations:
    if not request.messages:
        yield Violation("messages", "at least one message is needed")
    for place, message in enumerate(request.messages):
        if not message.role:
            yield Violation(f"messages[{place}].role", "is empty; usual are system, user, assistant")
        yield from _name(f"messages[{place}].role", message.role)
        yield from _parts(f"messages[{place}].parts", message.parts)


def _inputs(request: inference_pb2.EmbedRequest) -> _Violations:
    if not 1 <= len(request.inputs) <= MOST_INPUTS:
        yield Violation("inputs", f"1 to {MOST_INPUTS} are taken, not {len(request.inputs)}")
    for place, given in enumerate(request.inputs):
        yield from _parts(f"inputs[{place}].parts", given.parts)
        if not any(part.text for part in given.parts):
            yield Violation(f"inputs[{place}].parts", "there is no text to embed")


def _token_ids(request: inference_pb2.DetokenizeRequest) -> _Violations:
    if len(request.token_ids) > MOST_TOKEN_IDS:
        yield Violation("token_ids", f"has {len(request.token_ids)} ids, at most {MOST_TOKEN_IDS} are taken")
    elif request.token_ids and min(request.token_ids) < 0:
        yield Violation("token_ids", "an id is negative")


def _answer(request: inference_pb2.GenerateRequest | inference_pb2.ChatRequest) -> _Violations:
    for path, message, table in (("sampling", request.sampling, SAMPLING), ("limits", request.limits, LIMITS)):
        for row in table:
            if row.kind is not tuple and (fault := row.fault(wire_values.get(message, row.field))):
                yield Violation(f"{path}.{row.field}", fault)
    yield from _name("session", request.session)
    yield from _one_of("cache", request.cache, _CACHES)
    if len(request.limits.stop) > MOST_STOPS:
        yield Violation("limits.stop", f"more than {MOST_STOPS} are given")
    for place, stop in enumerate(request.limits.stop[:MOST_STOPS]):
        if not 1 <= len(stop.encode()) <= MOST_STOP_BYTES:
            yield Violation(f"limits.stop[{place}]", f"is not from 1 to {MOST_STOP_BYTES} bytes long")
