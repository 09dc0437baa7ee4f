"""Python's words become messages of the wire."""

from typing import Any

import pytest
from vramd import AnswerSettings, AskSettings, InvalidRequest, LoadSettings, requests
from vramd import settings as tables
from vramd_proto.v1 import load_pb2
from vramd_proto.v1.inference_pb2 import ChatRequest, EmbedRequest, GenerateRequest, Limits, Sampling
from vramd_proto.v1.load_pb2 import LoadOptions, Scheduling
from vramd_proto.v1.model_pb2 import UpdateModelRequest


def test_every_field_of_a_load_can_be_said() -> None:
    numbers_and_words = {"output_tokens", "output_rule"}
    assert {*tables.LOAD_FIELDS.values()} == {*LoadOptions.DESCRIPTOR.fields_by_name, "outputs"} - numbers_and_words
    assert set(tables.LOAD_FIELDS) == LoadSettings.__optional_keys__


@pytest.mark.parametrize(
    ("settings", "options"),
    [
        ({"kv_type": "q8_0"}, LoadOptions(kv_type=load_pb2.KV_TYPE_Q8_0)),
        ({"kv_type": "iq4_nl"}, LoadOptions(kv_type=load_pb2.KV_TYPE_IQ4_NL)),
        ({"flash_attention": "off"}, LoadOptions(flash_attention=load_pb2.FLASH_ATTENTION_OFF)),
        ({"outputs": "all"}, LoadOptions(output_rule=load_pb2.OUTPUT_RULE_ALL)),
        ({"outputs": "auto"}, LoadOptions(output_rule=load_pb2.OUTPUT_RULE_AUTO)),
        ({"outputs": 8}, LoadOptions(output_tokens=8)),
        ({"outputs": "8"}, LoadOptions(output_tokens=8)),
        ({"gpu_layers": "all"}, LoadOptions(gpu_layers=-1)),
        ({"gpu_layers": "auto"}, LoadOptions(gpu_layers=-2)),
        ({"gpu_layers": "24"}, LoadOptions(gpu_layers=24)),
        ({"gpu_layers": -1}, LoadOptions(gpu_layers=-1)),
    ],
)
def test_words_travel_as_values_of_enums(settings: LoadSettings, options: LoadOptions) -> None:
    assert requests.load_options(settings) == options


@pytest.mark.parametrize(
    "settings",
    [
        {"kv_type": "q9"},
        {"kv_type": "Q8_0"},
        {"kv_type": ""},
        {"kv_type": 8},
        {"flash_attention": "maybe"},
        {"flash_attention": True},
        {"outputs": "some"},
        {"outputs": "-1"},
        {"outputs": -1},
        {"outputs": 1.5},
        {"outputs": "unspecified"},
        {"gpu_layers": "some"},
        {"gpu_layers": "1.5"},
    ],
)
def test_words_that_there_are_not_are_refused_before_they_travel(settings: LoadSettings) -> None:
    (field,) = settings
    with pytest.raises(InvalidRequest, match=field) as caught:
        requests.load_options(settings)
    assert caught.value.metadata == {"field": field}


def test_every_field_of_an_answer_can_be_said() -> None:
    assert set(tables.SAMPLING_FIELDS.values()) == set(Sampling.DESCRIPTOR.fields_by_name)
    assert {*tables.LIMIT_FIELDS.values(), "stop"} == set(Limits.DESCRIPTOR.fields_by_name)
    own = {*tables.SAMPLING_FIELDS, *tables.LIMIT_FIELDS, *tables.REQUEST_FIELDS, "stop"}
    assert own | AskSettings.__optional_keys__ == AnswerSettings.__optional_keys__


@pytest.mark.parametrize("field", ["parse_special", "show_special", "every_token"])
def test_control_tokens_and_delivery_are_as_usual_unless_it_is_said(field: str) -> None:
    for build in (requests.chat, requests.generate):
        assert build("talker", "Hello", {}) == build("talker", "Hello", {field: None})  # type: ignore[misc]
        assert getattr(build("talker", "Hello", {field: True}), field) is True  # type: ignore[misc]
        with pytest.raises(InvalidRequest, match=field):
            build("talker", "Hello", {field: "yes"})  # type: ignore[misc]


@pytest.mark.parametrize(("cache", "number"), [("private", 1), ("shared", 2), (None, 0)])
def test_a_conversation_and_its_cache_can_be_named(cache: str | None, number: int) -> None:
    for build in (requests.chat, requests.generate):
        asked = build("talker", "Hello", {"session": "tea", "cache": cache})
        assert (asked.session, asked.cache) == ("tea", number)
        assert not build("talker", "Hello", {}).HasField("session")
        with pytest.raises(InvalidRequest, match="cache") as caught:
            build("talker", "Hello", {"cache": "public"})
        assert caught.value.metadata == {"field": "cache"}


def test_every_way_to_wait_can_be_said() -> None:
    assert {*tables.SCHEDULING_FIELDS, "progress"} == set(Scheduling.DESCRIPTOR.fields_by_name)
    assert {*tables.SCHEDULING_FIELDS, *tables.LOAD_FIELDS} == AskSettings.__optional_keys__
    known = (
        (tables.PRIORITIES, "PRIORITY", load_pb2.Priority.keys()),
        (tables.PREFERENCES, "PREFER", load_pb2.Prefer.keys()),
    )
    for words, prefix, names in known:
        assert {f"{prefix}_{word.upper()}" for word in (*words, "unspecified")} == set(names)


@pytest.mark.parametrize("call", ["generate", "chat", "embed"])
def test_how_a_call_waits(call: str) -> None:
    def built(settings: AnswerSettings) -> GenerateRequest | ChatRequest | EmbedRequest:
        match call:
            case "generate":
                return requests.generate("task:code", "Hello", settings)
            case "chat":
                return requests.chat("task:code", "Hello", settings)
            case _:
                return requests.embed("task:code", "Hello", settings)

    request = built({"priority": "batch", "prefer": "light_now", "on_crash": "fail"})
    wanted = Scheduling(
        priority=load_pb2.PRIORITY_BATCH, prefer=load_pb2.PREFER_LIGHT_NOW, on_crash=load_pb2.ON_CRASH_FAIL
    )
    assert (request.scheduling, request.HasField("load")) == (wanted, False)
    assert not built({}).HasField("scheduling")
    assert not built({"priority": None, "prefer": None}).HasField("scheduling")
    for field in ("priority", "prefer", "on_crash"):
        with pytest.raises(InvalidRequest, match=f"{field}: 'soon' is not one of") as caught:
            built({field: "soon"})  # type: ignore[misc]  # no such word
        assert caught.value.metadata == {"field": field}


def test_progress_is_for_answers_that_come_bit_by_bit() -> None:
    for build in (requests.chat, requests.generate):
        assert build("talker", "Hello", {}, progress=True).scheduling == Scheduling(progress=True)
        assert not build("talker", "Hello", {}, progress=False).HasField("scheduling")


def test_what_is_not_given_is_not_sent() -> None:
    request = requests.generate("talker", "Once", {"temperature": None, "stop": None, "context": None})
    assert not request.HasField("sampling")
    assert not request.HasField("limits")
    assert not request.HasField("load")
    assert [part.text for part in request.prompt] == ["Once"]


def test_zero_is_given() -> None:
    request = requests.generate("talker", "Once", {"temperature": 0, "gpu_layers": 0, "keep_alive_s": 0, "seed": 0})
    assert request.sampling.HasField("temperature")
    assert request.sampling.HasField("seed")
    assert request.load.HasField("gpu_layers")
    assert request.load.HasField("keep_alive_s")


def test_settings_arrive_under_their_names() -> None:
    request = requests.chat(
        "talker", "Hello", {"context": 4096, "batch": 256, "top_k": 5, "max_tokens": 7, "stop": "\n"}
    )
    assert (request.load.context_tokens, request.load.batch_tokens) == (4096, 256)
    assert (request.sampling.top_k, request.limits.max_tokens, list(request.limits.stop)) == (5, 7, ["\n"])


@pytest.mark.parametrize(
    "messages",
    ["Hello", [{"role": "user", "content": "Hello"}], [("user", "Hello")], ({"content": "Hello", "role": "user"},)],
)
def test_a_conversation_may_be_said_in_three_ways(messages: requests.Messages) -> None:
    (message,) = requests.chat("talker", messages, {}).messages
    assert (message.role, [part.text for part in message.parts]) == ("user", ["Hello"])


@pytest.mark.parametrize("message", [{"role": "user"}, ("user",), "hi", 5, {"content": "x"}])
def test_what_is_no_message_is_refused(message: object) -> None:
    with pytest.raises(InvalidRequest, match="role") as caught:
        requests.chat("talker", [message], {})  # type: ignore[list-item]  # what a caller without types may do
    assert caught.value.metadata == {"field": "messages"}


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"top_k": -1}, "top_k"),
        ({"context": 2**40}, "context"),
        ({"temperature": "hot"}, "temperature"),
        ({"device": 3}, "device"),
        ({"stop": ["\ud800"]}, "stop"),
    ],
)
def test_what_cannot_travel_is_named(settings: AnswerSettings, field: str) -> None:
    with pytest.raises(InvalidRequest, match=field) as caught:
        requests.generate("talker", "Once", settings)
    assert (caught.value.reason, caught.value.metadata) == ("FIELD_INVALID", {"field": field})


def test_a_setting_that_does_not_exist_is_a_mistake_of_the_program() -> None:
    settings: dict[str, object] = {"temprature": 1.0}
    with pytest.raises(TypeError, match="temprature"):
        requests.generate("talker", "Once", settings)  # type: ignore[arg-type]  # the misspelling is the point
    with pytest.raises(TypeError, match="top_k"):
        requests.load_options({"top_k": 1})  # type: ignore[typeddict-unknown-key]  # no setting of a load


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("temprature", "temperature"),
        ("max_completion_tokens", "max_tokens"),
        ("num_ctx", "context"),
        ("repetition_penalty", "repeat_penalty"),
        ("keep_alive", "keep_alive_s"),
        ("timeout", "timeout_s"),
    ],
)
def test_a_setting_by_another_name_is_told_the_right_one(given: str, meant: str) -> None:
    with pytest.raises(TypeError, match=rf"{given} \(did you mean {meant}\?\)"):
        requests.generate("talker", "Once", {given: 1})  # type: ignore[misc]  # no such setting
    with pytest.raises(TypeError, match=r"no such setting: zzz$"):
        requests.generate("talker", "Once", {"zzz": 1})  # type: ignore[typeddict-unknown-key]  # like nothing


@pytest.mark.parametrize(
    "content",
    [
        ["Hel", "lo"],
        [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}],
        ({"text": "Hel"}, "lo"),
        [{"type": "text", "text": "Hel", "cache_control": {}}, {"type": "text", "text": ""}, "lo"],
    ],
)
def test_content_as_a_list_of_parts(content: requests.Content) -> None:
    (message,) = requests.chat("talker", [{"role": "user", "content": content}], {}).messages
    assert [part.text for part in message.parts] == ["Hel", "lo"]


@pytest.mark.parametrize(
    "content", [None, 5, [None], [{"type": "image_url", "image_url": {"url": "x"}}], [{"type": "text"}], {"text": "x"}]
)
def test_content_that_is_no_text(content: requests.Content) -> None:
    with pytest.raises(InvalidRequest, match="content: ") as caught:
        requests.chat("talker", [("user", content)], {})
    assert caught.value.metadata == {"field": "content"}


@pytest.mark.parametrize("messages", [None, 5, b"bytes", {"role": "user", "content": "x"}])
def test_what_is_no_conversation(messages: requests.Messages) -> None:
    with pytest.raises(InvalidRequest, match=r"messages: .* is neither a text nor a list"):
        requests.chat("talker", messages, {})


def test_none_is_no_text_anywhere() -> None:
    nothing: Any = None
    for build in (
        lambda: requests.generate("talker", nothing, {}),
        lambda: requests.generate(nothing, "Once", {}),
        lambda: requests.embed("talker", nothing, {}),
        lambda: requests.embed("talker", [nothing], {}),
        lambda: requests.tokenize("talker", nothing, False, False, {}),
        lambda: requests.detokenize("talker", nothing, {}),
        lambda: requests.generate("talker", "Once", {"stop": [nothing]}),
        lambda: requests.generate("talker", "Once", {"stop": 5}),  # type: ignore[typeddict-item]  # no text either
    ):
        with pytest.raises(InvalidRequest):
            build()


@pytest.mark.parametrize("text", ["\udcff", b"bytes"])
def test_text_that_is_no_utf8_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="UTF-8"):
        requests.generate("talker", text, {})
    with pytest.raises(InvalidRequest, match="model"):
        requests.model(text)


def test_one_text_or_many_to_embed() -> None:
    assert len(requests.embed("m", "one", {}).inputs) == 1
    assert [request.parts[0].text for request in requests.embed("m", ("one", "two"), {}).inputs] == ["one", "two"]


def test_token_ids_out_of_range_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="token_ids"):
        requests.detokenize("m", [1, 2**31], {})


def test_what_changes_of_a_model_is_sent_and_nothing_else() -> None:
    assert requests.update("m", None, None, None) == UpdateModelRequest(model="m")
    every = UpdateModelRequest(model="m", pinned=False, keep_alive_s=0, priority=load_pb2.PRIORITY_BATCH)
    assert requests.update("m", False, 0, "batch") == every
    for field, wrong in (("pinned", ("x", None, None)), ("keep_alive_s", (None, "x", None))):
        with pytest.raises(InvalidRequest) as caught:
            requests.update("m", *wrong)  # what a caller without types may do
        assert caught.value.metadata == {"field": field}
    with pytest.raises(InvalidRequest, match="'soon' is not one of interactive, normal, batch"):
        requests.update("m", None, None, "soon")


def test_events_are_chosen_by_name() -> None:
    assert list(requests.watch(["LEDGER", "EVICTION", "THRASH", "QUEUE"], 7).kinds) == [2, 3, 6, 7]
    with pytest.raises(InvalidRequest, match="kinds"):
        requests.watch(["NOISE"], 0)  # type: ignore[list-item]  # no such kind


def test_a_negative_number_of_lines_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="lines"):
        requests.logs("", -1, False)
