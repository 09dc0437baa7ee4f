"""Builds requests from Python's words. Pure. Raises InvalidRequest for what cannot be said."""

from __future__ import annotations

import difflib
import textwrap
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TypeVar

from google.protobuf.message import Message
from vramd_common import wire_values
from vramd_common.load_settings import LOAD_SETTINGS
from vramd_common.sizes import parse_size
from vramd_proto.v1 import inference_pb2, load_pb2, model_pb2, supervisor_pb2

from vramd.errors import InvalidRequest
from vramd.option_types import LoadSettings
from vramd.settings import (
    ANSWER_FIELDS,
    ASK_FIELDS,
    ELSEWHERE,
    LIMIT_FIELDS,
    LOAD_FIELDS,
    REQUEST_FIELDS,
    SAMPLING_FIELDS,
    SCHEDULING_FIELDS,
    AnswerSettings,
    AskSettings,
)
from vramd.values.devices import Reservation, StandingReservation
from vramd.values.words import EventKind

Content = str | Sequence[str | Mapping[str, object]]
"""The content of a message: a text, or texts in turn, each also as {"type": "text", "text": …}."""

Messages = str | Sequence[Mapping[str, Content] | tuple[str, Content]]
"""A conversation, oldest first: {"role": …, "content": …} or (role, text); a plain text is one turn of the user."""

Filled = TypeVar("Filled", bound=Message)
Value = TypeVar("Value")


def generate(
    model: str, prompt: str, settings: AnswerSettings, progress: bool = False
) -> inference_pb2.GenerateRequest:
    """Asks to go on with a prompt as it stands. `progress`: and to say what is waited for."""
    request = inference_pb2.GenerateRequest(model=_name(model), prompt=_parts("prompt", prompt))
    return _with_settings(request, settings, progress)


def chat(model: str, messages: Messages, settings: AnswerSettings, progress: bool = False) -> inference_pb2.ChatRequest:
    """Asks to answer a conversation. `progress`: and to say what is waited for."""
    turns = [("user", messages)] if isinstance(messages, str) else map(_turn, _listed("messages", messages))
    request = inference_pb2.ChatRequest(
        model=_name(model),
        messages=[
            inference_pb2.ChatMessage(role=_text("role", role), parts=_content(content)) for role, content in turns
        ],
    )
    return _with_settings(request, settings, progress)


def embed(model: str, texts: str | Sequence[str], settings: AskSettings) -> inference_pb2.EmbedRequest:
    """Asks for the vectors of texts; a plain text is one."""
    _refuse_unknown(settings, ASK_FIELDS)
    listed = [texts] if isinstance(texts, str) else _listed("inputs", texts)
    return inference_pb2.EmbedRequest(
        model=_name(model),
        inputs=[inference_pb2.EmbedInput(parts=_parts("inputs", text)) for text in listed],
        load=_load_options(settings),
        scheduling=_scheduling(settings),
    )


def tokenize(
    model: str, text: str, add_special: bool, parse_special: bool, settings: LoadSettings
) -> inference_pb2.TokenizeRequest:
    """Asks for the tokens of a text."""
    return inference_pb2.TokenizeRequest(
        model=_name(model),
        text=_text("text", text),
        add_special=add_special,
        parse_special=parse_special,
        load=load_options(settings),
    )


def detokenize(model: str, token_ids: Iterable[int], settings: LoadSettings) -> inference_pb2.DetokenizeRequest:
    """Asks for the text of tokens."""
    request = inference_pb2.DetokenizeRequest(model=_name(model), load=load_options(settings))
    try:
        request.token_ids.extend(_listed("token_ids", token_ids))
    except (TypeError, ValueError) as error:
        raise _invalid("token_ids", error) from error
    return request


def model(name: str) -> model_pb2.GetModelRequest:
    """Asks for one model."""
    return model_pb2.GetModelRequest(model=_name(name))


def load(name: str, settings: LoadSettings, reload: bool) -> model_pb2.LoadModelRequest:
    """Asks for a load."""
    return model_pb2.LoadModelRequest(model=_name(name), load=load_options(settings), reload=reload)


def plan(name: str, settings: LoadSettings) -> model_pb2.PlanLoadRequest:
    """Asks what a load would come to."""
    return model_pb2.PlanLoadRequest(model=_name(name), load=load_options(settings))


def select(task: str, role: str, context: int, prefer: str | None) -> model_pb2.SelectModelRequest:
    """Asks for the model for a task."""
    asked = {"task": task, "role": role, "context_tokens": context, "prefer": prefer}
    return _filled(model_pb2.SelectModelRequest(), asked)


def unload(name: str, force: bool) -> model_pb2.UnloadModelRequest:
    """Asks for the end of a model's process."""
    return model_pb2.UnloadModelRequest(model=_name(name), force=force)


def reset(name: str) -> model_pb2.ResetModelRequest:
    """Asks to forget the deaths of a model's processes."""
    return model_pb2.ResetModelRequest(model=_name(name))


def restart(name: str, force: bool) -> model_pb2.RestartModelRequest:
    """Asks for a new process."""
    return model_pb2.RestartModelRequest(model=_name(name), force=force)


def update(
    name: str, pinned: bool | None, keep_alive_s: float | None, priority: str | None
) -> model_pb2.UpdateModelRequest:
    """Asks for changes of a model; None leaves it as it is."""
    changes = {"pinned": pinned, "keep_alive_s": keep_alive_s, "priority": priority}
    return _filled(model_pb2.UpdateModelRequest(model=_name(name)), changes)


def hold(name: str, label: str, settings: LoadSettings) -> supervisor_pb2.HoldModelRequest:
    """Asks to keep a model warm; the label says for whom."""
    return supervisor_pb2.HoldModelRequest(model=_name(name), load=load_options(settings), label=_text("label", label))


def watch(kinds: Iterable[EventKind], after_sequence: int | None) -> supervisor_pb2.WatchEventsRequest:
    """Asks for events; no kinds means all."""
    try:
        wanted = [supervisor_pb2.EventKind.Value(f"EVENT_KIND_{kind.upper()}") for kind in kinds]
    except ValueError as error:
        raise _invalid("kinds", error) from error
    return _filled(supervisor_pb2.WatchEventsRequest(kinds=wanted), {"after_sequence": after_sequence})


def logs(name: str, lines: int, follow: bool) -> supervisor_pb2.TailLogsRequest:
    """Asks for lines of a model's log; an empty id means the supervisor's own."""
    return _filled(supervisor_pb2.TailLogsRequest(model=_name(name), follow=follow), {"lines": lines})


def decisions(name: str, limit: int) -> supervisor_pb2.ListDecisionsRequest:
    """Asks for the last decisions about a model; an empty id means about all."""
    return _filled(supervisor_pb2.ListDecisionsRequest(model=_name(name)), {"limit": limit})


def reserve(size: str | int, device: str, ttl_s: float, label: str) -> supervisor_pb2.ReserveMemoryRequest:
    """Asks for bytes to be kept free; a text is a size such as "1.5GiB"."""
    try:
        size_bytes = parse_size(size) if isinstance(size, str) else size
    except ValueError as error:
        raise _invalid("size_bytes", error) from error
    request = supervisor_pb2.ReserveMemoryRequest(device=_text("device", device), label=_text("label", label))
    return _filled(request, {"size_bytes": size_bytes, "ttl_s": ttl_s})


def release(reservation: Reservation | StandingReservation | int) -> supervisor_pb2.ReleaseMemoryRequest:
    """Asks for the end of a reservation."""
    number = reservation if isinstance(reservation, int) else reservation.id
    return _filled(supervisor_pb2.ReleaseMemoryRequest(), {"reservation": number})


def reload_config(check_only: bool) -> supervisor_pb2.ReloadConfigRequest:
    """Asks for the configuration to be read again."""
    return supervisor_pb2.ReloadConfigRequest(check_only=check_only)


def shutdown(force: bool) -> supervisor_pb2.ShutdownRequest:
    """Asks the supervisor to end."""
    return supervisor_pb2.ShutdownRequest(force=force)


def load_options(settings: LoadSettings) -> load_pb2.LoadOptions | None:
    """Says how to load; None where nothing is asked for. Raises TypeError for a setting that does not exist."""
    _refuse_unknown(settings, LOAD_FIELDS)
    return _load_options(settings)


def _load_options(settings: LoadSettings) -> load_pb2.LoadOptions | None:
    given = dict(settings) | {row.name: row.number(settings.get(row.name)) for row in LOAD_SETTINGS}
    return _or_none(_filled(load_pb2.LoadOptions(), given, LOAD_FIELDS))


def _scheduling(settings: AskSettings, progress: bool = False) -> load_pb2.Scheduling | None:
    return _or_none(_filled(load_pb2.Scheduling(progress=progress), settings, SCHEDULING_FIELDS))


def _with_settings(request: Filled, settings: AnswerSettings, progress: bool) -> Filled:
    """Adds how the model is loaded, how the call waits, and how the answer is made."""
    _refuse_unknown(settings, ANSWER_FIELDS)
    limits = _filled(inference_pb2.Limits(), settings, LIMIT_FIELDS)
    stop = settings.get("stop") or ()
    limits.stop.extend(_text("stop", text) for text in ([stop] if isinstance(stop, str) else _listed("stop", stop)))
    parts: dict[str, Message | None] = {
        "sampling": _or_none(_filled(inference_pb2.Sampling(), settings, SAMPLING_FIELDS)),
        "limits": _or_none(limits),
        "load": _load_options(settings),
        "scheduling": _scheduling(settings, progress),
    }
    for name, part in parts.items():
        if part is not None:
            getattr(request, name).CopyFrom(part)
    return _filled(request, settings, REQUEST_FIELDS)


def _or_none(message: Filled) -> Filled | None:
    """None for a message that says nothing."""
    return message if message.ListFields() else None


def _filled(request: Filled, given: Mapping[str, object], fields: Mapping[str, str] | None = None) -> Filled:
    """Sets what is given; `fields` has the names on the wire, and which to set."""
    for name, field in (fields or {name: name for name in given}).items():
        value = given.get(name)
        if value is not None:
            try:
                wire_values.put(request, field, value)
            except (TypeError, ValueError) as error:
                raise _invalid(name, error) from error
    return request


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
    """Suggests a known name that is like it, or means the same in another library."""
    elsewhere = ELSEWHERE.get(name)
    near = [elsewhere] if elsewhere in known else difflib.get_close_matches(name, [*known, "timeout_s"], 1)
    return "".join(f" (did you mean {one}?)" for one in near)


def _invalid(field: str, error: Exception) -> InvalidRequest:
    return InvalidRequest("FIELD_INVALID", f"{field}: {error}", {"field": field})


def _name(model: str) -> str:
    return _text("model", model)
