"""Builds requests from Python's words. Pure; shared by all clients. Raises InvalidRequest for what cannot be said."""

from __future__ import annotations

import difflib
import textwrap
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal, TypedDict, TypeVar

from google.protobuf.message import Message
from vramd_common.sizes import parse_size
from vramd_proto.v1 import inference_pb2, load_pb2, model_pb2, supervisor_pb2

from vramd.enum_words import WireEnum, numbers
from vramd.errors import InvalidRequest
from vramd.scheduling import SCHEDULING_FIELDS, priority, scheduling
from vramd.values import EventKind

Content = str | Sequence[str | Mapping[str, object]]
"""Of a message: a text, or texts in turn; {"type": "text", "text": …} is one, as other libraries write it."""

Messages = str | Sequence[Mapping[str, Content] | tuple[str, Content]]
"""A conversation, oldest first: {"role": …, "content": …} or (role, text); a plain text is one turn of the user."""


class LoadSettings(TypedDict, total=False):
    """Settings of a load. What is not given, or None, comes from the configuration, then from the defaults.

    A call for a model that is resident with other settings is refused; `keep_alive_s` is applied, never compared.

    >>> client.load("talker", context=4096, kv_type="q8_0", keep_alive_s=600).context_tokens
    4096
    """

    context: int | None
    """Tokens that all parallel sequences share."""
    threads: int | None
    """CPU threads while the model computes alone."""
    device: str | None
    """Id of a device, or "auto"."""
    gpu_layers: int | None
    """Layers on the GPU; -1 is all, 0 none."""
    batch: int | None
    """Tokens per decode step."""
    kv_type: str | None
    """Type of the KV cache: f16, f32, bf16, q8_0, q5_1, q5_0, q4_1, q4_0, iq4_nl."""
    parallel: int | None
    """Sequences that may run at the same time."""
    ubatch: int | None
    """Tokens of one computation, a part of the batch."""
    flash_attention: str | None
    """"auto" where the backend has it, "on" or "off"."""
    swa_full: bool | None
    """Keep the whole context in layers with a sliding window too."""
    outputs: str | int | None
    """Results of one computation: "auto" (one for each sequence), "all", or a number."""
    kv_split: bool | None
    """A cache of its own for each sequence instead of one that they share."""
    gpu_only: bool | None
    """Refuse rather than leave a layer to the CPU; applied, never compared."""
    least_context: int | None
    """The context may be lowered to so many tokens; applied, never compared."""
    degrade: bool | None
    """Take smaller settings where those that nobody asked for do not fit; by default on GPUs only."""
    keep_alive_s: float | None
    """Seconds that the model stays after its last use; 0 leaves at once, -1 stays."""


class AskSettings(LoadSettings, total=False):
    """How a call waits, beside the settings of a load that may come first.

    >>> client.embed("task:embedding", "a cat", priority="batch").model
    'reader'
    """

    priority: Literal["interactive", "normal", "batch"] | None
    """What is more urgent is served first; by default as the configuration says of the model, else "interactive"."""
    prefer: Literal["light_now"] | None
    """For the model "task:NAME": a loaded one that suits answers, while a better one is loaded for the next time."""


class AnswerSettings(AskSettings, total=False):
    """How an answer is made: sampling and limits, beside how the call waits.

    >>> client.chat("talker", "Say hello.", temperature=0, max_tokens=40, stop=["\\n"]).text
    'Hello, you.'
    """

    temperature: float | None
    """0 or more; 0 takes the likeliest token always."""
    top_p: float | None
    top_k: int | None
    min_p: float | None
    repeat_penalty: float | None
    frequency_penalty: float | None
    presence_penalty: float | None
    penalty_last_tokens: int | None
    """Tokens that the penalties look back."""
    seed: int | None
    max_tokens: int | None
    stop: str | Sequence[str] | None
    """The answer ends before the first of these."""
    max_tokens_per_s: float | None
    parse_special: bool | None
    """Names of control tokens are read as those tokens; by default in a prompt of `generate`, not in messages."""
    show_special: bool | None
    """Control tokens that the model generates come in the text by name; by default those of thinking and tools only."""


LOAD_FIELDS: Mapping[str, str] = {
    "context": "context_tokens",
    "threads": "threads",
    "device": "device",
    "gpu_layers": "gpu_layers",
    "batch": "batch_tokens",
    "kv_type": "kv_type",
    "parallel": "parallel",
    "ubatch": "ubatch_tokens",
    "flash_attention": "flash_attention",
    "swa_full": "swa_full",
    "outputs": "output_tokens",
    "kv_split": "kv_split",
    "gpu_only": "gpu_only",
    "least_context": "least_context_tokens",
    "degrade": "degrade",
    "keep_alive_s": "keep_alive_s",
}
"""Setting → field of the wire; `outputs` has another field for words."""

_LOAD_ENUMS: Mapping[str, WireEnum] = {"kv_type": load_pb2.KvType, "flash_attention": load_pb2.FlashAttention}
"""Settings that are words here and numbers on the wire."""

SAMPLING_FIELDS: Mapping[str, str] = {
    name: name
    for name in (
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "repeat_penalty",
        "frequency_penalty",
        "presence_penalty",
        "penalty_last_tokens",
        "seed",
    )
}
LIMIT_FIELDS: Mapping[str, str] = {"max_tokens": "max_tokens", "max_tokens_per_s": "max_tokens_per_s"}
SPECIAL_FIELDS: Mapping[str, str] = {"parse_special": "parse_special", "show_special": "show_special"}
"""Of the request itself."""

_ELSEWHERE: Mapping[str, str] = {
    "n_ctx": "context",
    "num_ctx": "context",
    "ctx_size": "context",
    "context_length": "context",
    "n_gpu_layers": "gpu_layers",
    "num_gpu": "gpu_layers",
    "n_threads": "threads",
    "num_thread": "threads",
    "n_batch": "batch",
    "n_parallel": "parallel",
    "cache_type_k": "kv_type",
    "keep_alive": "keep_alive_s",
    "num_predict": "max_tokens",
    "n_predict": "max_tokens",
    "max_new_tokens": "max_tokens",
    "max_completion_tokens": "max_tokens",
    "repetition_penalty": "repeat_penalty",
    "repeat_last_n": "penalty_last_tokens",
    "stop_sequences": "stop",
}
"""Words of other libraries → the setting here."""

_ASK_FIELDS = (*LOAD_FIELDS, *SCHEDULING_FIELDS)
_ANSWER_FIELDS = (*_ASK_FIELDS, *SAMPLING_FIELDS, *LIMIT_FIELDS, *SPECIAL_FIELDS, "stop")


Value = TypeVar("Value")


def name(model: str) -> str:
    """A model's id, as it may travel."""
    return _text("model", model)


def load_options(settings: LoadSettings) -> load_pb2.LoadOptions | None:
    """None where nothing is asked for. Raises TypeError for a setting that does not exist."""
    _refuse_unknown(settings, LOAD_FIELDS)
    return _load_options(settings)


def generate(
    model: str, prompt: str, settings: AnswerSettings, progress: bool = False
) -> inference_pb2.GenerateRequest:
    """A prompt to go on with, as it stands."""
    _refuse_unknown(settings, _ANSWER_FIELDS)
    request = inference_pb2.GenerateRequest(
        model=name(model),
        prompt=_parts("prompt", prompt),
        sampling=_sampling(settings),
        limits=_limits(settings),
        load=_load_options(settings),
        scheduling=scheduling(settings, progress),
    )
    _fill(request, SPECIAL_FIELDS, settings)
    return request


def chat(model: str, messages: Messages, settings: AnswerSettings, progress: bool = False) -> inference_pb2.ChatRequest:
    """A conversation to answer."""
    _refuse_unknown(settings, _ANSWER_FIELDS)
    turns = [("user", messages)] if isinstance(messages, str) else map(_turn, _listed("messages", messages))
    request = inference_pb2.ChatRequest(
        model=name(model),
        messages=[
            inference_pb2.ChatMessage(role=_text("role", role), parts=_content(content)) for role, content in turns
        ],
        sampling=_sampling(settings),
        limits=_limits(settings),
        load=_load_options(settings),
        scheduling=scheduling(settings, progress),
    )
    _fill(request, SPECIAL_FIELDS, settings)
    return request


def embed(model: str, texts: str | Sequence[str], settings: AskSettings) -> inference_pb2.EmbedRequest:
    """Texts to embed; a plain text is one."""
    _refuse_unknown(settings, _ASK_FIELDS)
    listed = [texts] if isinstance(texts, str) else _listed("inputs", texts)
    return inference_pb2.EmbedRequest(
        model=name(model),
        inputs=[inference_pb2.EmbedInput(parts=_parts("inputs", text)) for text in listed],
        load=_load_options(settings),
        scheduling=scheduling(settings),
    )


def tokenize(
    model: str, text: str, add_special: bool, parse_special: bool, settings: LoadSettings
) -> inference_pb2.TokenizeRequest:
    """A text to cut into tokens."""
    return inference_pb2.TokenizeRequest(
        model=name(model),
        text=_text("text", text),
        add_special=add_special,
        parse_special=parse_special,
        load=load_options(settings),
    )


def detokenize(model: str, token_ids: Iterable[int], settings: LoadSettings) -> inference_pb2.DetokenizeRequest:
    """Tokens to put together."""
    request = inference_pb2.DetokenizeRequest(model=name(model), load=load_options(settings))
    try:
        request.token_ids.extend(_listed("token_ids", token_ids))
    except (TypeError, ValueError) as error:
        raise _invalid("token_ids", error) from error
    return request


def update(
    model: str, pinned: bool | None, keep_alive_s: float | None, urgency: str | None
) -> model_pb2.UpdateModelRequest:
    """What is to change of a model; None leaves it as it is."""
    request = model_pb2.UpdateModelRequest(model=name(model), priority=priority(urgency))
    for field, value in {"pinned": pinned, "keep_alive_s": keep_alive_s}.items():
        if value is not None:
            try:
                setattr(request, field, value)
            except (TypeError, ValueError) as error:
                raise _invalid(field, error) from error
    return request


def watch(kinds: Iterable[EventKind], after_sequence: int | None) -> supervisor_pb2.WatchEventsRequest:
    """Events wanted; no kinds means all."""
    try:
        wanted = [supervisor_pb2.EventKind.Value(f"EVENT_KIND_{kind.upper()}") for kind in kinds]
    except ValueError as error:
        raise _invalid("kinds", error) from error
    try:
        return supervisor_pb2.WatchEventsRequest(kinds=wanted, after_sequence=after_sequence)
    except ValueError as error:
        raise _invalid("after", error) from error


def hold(model: str, label: str, settings: LoadSettings) -> supervisor_pb2.HoldModelRequest:
    """A model to be kept warm; the label says for whom."""
    return supervisor_pb2.HoldModelRequest(model=name(model), load=load_options(settings), label=_text("label", label))


def logs(model: str, lines: int, follow: bool) -> supervisor_pb2.TailLogsRequest:
    """Lines of a model's log; an empty id means the supervisor's own."""
    try:
        return supervisor_pb2.TailLogsRequest(model=name(model), lines=lines, follow=follow)
    except ValueError as error:
        raise _invalid("lines", error) from error


def decisions(model: str, limit: int) -> supervisor_pb2.ListDecisionsRequest:
    """The last decisions about a model; an empty id means about all."""
    try:
        return supervisor_pb2.ListDecisionsRequest(model=name(model), limit=limit)
    except (TypeError, ValueError) as error:
        raise _invalid("limit", error) from error


def reserve(size: str | int, device: str, ttl_s: float, label: str) -> supervisor_pb2.ReserveMemoryRequest:
    """Bytes to be kept free; a text is a size such as "1.5GiB"."""
    try:
        size_bytes = parse_size(size) if isinstance(size, str) else size
        request = supervisor_pb2.ReserveMemoryRequest(size_bytes=size_bytes)
    except (TypeError, ValueError) as error:
        raise _invalid("size_bytes", error) from error
    request.device, request.label = _text("device", device), _text("label", label)
    try:
        request.ttl_s = ttl_s
    except (TypeError, ValueError) as error:
        raise _invalid("ttl_s", error) from error
    return request


def release(reservation: int) -> supervisor_pb2.ReleaseMemoryRequest:
    """A reservation that is to end."""
    try:
        return supervisor_pb2.ReleaseMemoryRequest(reservation=reservation)
    except (TypeError, ValueError) as error:
        raise _invalid("reservation", error) from error


def _load_options(settings: LoadSettings) -> load_pb2.LoadOptions | None:
    options = load_pb2.LoadOptions()
    given: dict[str, object] = dict(settings)
    field, given["outputs"] = _outputs(given.get("outputs"))
    for name, enum in _LOAD_ENUMS.items():
        given[name] = _numbered(name, given.get(name), enum)
    return options if _fill(options, {**LOAD_FIELDS, "outputs": field}, given) else None


def _outputs(asked: object) -> tuple[str, object]:
    """The field for it, and its value there."""
    if isinstance(asked, str) and not asked.isdecimal():
        return "output_rule", _numbered("outputs", asked, load_pb2.OutputRule)
    return "output_tokens", int(asked) if isinstance(asked, str) else asked


def _numbered(field: str, asked: object, enum: WireEnum) -> int | None:
    """The value of an enum that a word stands for."""
    if asked is None:
        return None
    known = numbers(enum)
    if not isinstance(asked, str) or asked not in known:
        raise InvalidRequest("FIELD_INVALID", f"{field}: {asked!r} is not one of {', '.join(known)}", {"field": field})
    return known[asked]


def _sampling(settings: AnswerSettings) -> inference_pb2.Sampling | None:
    sampling = inference_pb2.Sampling()
    return sampling if _fill(sampling, SAMPLING_FIELDS, settings) else None


def _limits(settings: AnswerSettings) -> inference_pb2.Limits | None:
    limits = inference_pb2.Limits()
    stop = settings.get("stop") or ()
    limits.stop.extend(_text("stop", text) for text in ([stop] if isinstance(stop, str) else _listed("stop", stop)))
    return limits if _fill(limits, LIMIT_FIELDS, settings) or limits.stop else None


def _fill(
    message: Message,
    fields: Mapping[str, str],
    settings: Mapping[str, object],
) -> bool:
    """Sets what is given; says whether anything was."""
    given = {name: field for name, field in fields.items() if settings.get(name) is not None}
    for name, field in given.items():
        try:
            setattr(message, field, settings[name])
        except (TypeError, ValueError) as error:
            raise _invalid(name, error) from error
    return bool(given)


def _turn(message: Mapping[str, Content] | tuple[str, Content]) -> tuple[str, Content]:
    match message:
        case {"role": str() as role, "content": content}:
            return role, content
        case (str() as role, content):
            return role, content
        case _:
            shape = 'a message is {"role": …, "content": …} or (role, text)'
            raise InvalidRequest("FIELD_INVALID", f"{shape}, not {_brief(message)}", {"field": "messages"})


def _content(content: Content) -> list[inference_pb2.ContentPart]:
    if isinstance(content, str):
        return _parts("content", content)
    return [part for one in _listed("content", content) for part in _parts("content", _part(one))]


def _part(part: str | Mapping[str, object]) -> str:
    match part:
        case str():
            return part
        case {"text": str() as text} if part.get("type", "text") == "text":
            return text
        case {"type": kind} if kind != "text":
            words = f"content: a part of the type {kind!r} cannot be sent: models here read text only"
            raise InvalidRequest("FIELD_INVALID", words, {"field": "content"})
        case _:
            words = f'content: a part is a text, or {{"type": "text", "text": …}}, not {_brief(part)}'
            raise InvalidRequest("FIELD_INVALID", words, {"field": "content"})


def _parts(field: str, text: str) -> list[inference_pb2.ContentPart]:
    return [inference_pb2.ContentPart(text=text)] if _text(field, text) else []


def _text(field: str, text: str) -> str:
    """The text, if it can be written as UTF-8: bytes of a command line that are none come as lone surrogates."""
    if not isinstance(text, str):
        raise InvalidRequest("FIELD_INVALID", f"{field}: {_brief(text)} is no UTF-8 text", {"field": field})
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequest("FIELD_INVALID", f"{field} is no UTF-8 text", {"field": field}) from error
    return text


def _listed(field: str, values: Iterable[Value]) -> list[Value]:
    if hasattr(values, "__iter__") and not isinstance(values, bytes | Mapping):
        return list(values)
    raise InvalidRequest("FIELD_INVALID", f"{field}: {_brief(values)} is neither a text nor a list", {"field": field})


def _brief(value: object) -> str:
    """A value that came in the place of another one; its beginning at least."""
    return textwrap.shorten(repr(value), 60, placeholder=" …")


def _refuse_unknown(settings: Mapping[str, object], known: Collection[str]) -> None:
    if unknown := sorted(settings.keys() - known):
        raise TypeError(f"no such setting: {', '.join(name + _meant(name, known) for name in unknown)}")


def _meant(name: str, known: Collection[str]) -> str:
    """What is known by a like name, or by this one elsewhere."""
    elsewhere = _ELSEWHERE.get(name)
    near = [elsewhere] if elsewhere in known else difflib.get_close_matches(name, [*known, "timeout_s"], 1)
    return "".join(f" (did you mean {one}?)" for one in near)


def _invalid(field: str, error: Exception) -> InvalidRequest:
    return InvalidRequest("FIELD_INVALID", f"{field}: {error}", {"field": field})
