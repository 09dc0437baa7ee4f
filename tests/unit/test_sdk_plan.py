"""What a load would come to, and which model serves a task: how it is asked, and all of the answer."""

import dataclasses

import pytest
import vramd
from support.fake_answers import selection
from support.fake_supervisor import FakeSupervisor, Refusal, plan, plan_that_does_not_fit, quote, resident, settings
from vramd.reading import read
from vramd_common.reasons import Reason
from vramd_proto.v1 import load_pb2, model_pb2

SETTINGS = vramd.PlanSettings(
    context=4096,
    batch=512,
    ubatch=512,
    kv_type="f16",
    flash_attention="auto",
    parallel=4,
    outputs=4,
    gpu_layers=-1,
    threads=2,
    devices=("gpu0",),
    swa_full=False,
    kv_split=False,
)
QUOTE = vramd.Quote(
    source="dry_run",
    confidence="exact",
    seconds=0.25,
    devices=(
        vramd.QuotedDevice("gpu0", 2 << 30, 512 << 20, 256 << 20, 256 << 20),
        vramd.QuotedDevice("host", 0, 0, 16 << 20, 48 << 20),
    ),
)
PLAN = vramd.Plan(
    model="talker",
    fits=True,
    settings=SETTINGS,
    quote=QUOTE,
    devices=(
        vramd.PlannedDevice("gpu0", 2 << 30, 3 << 29, 1 << 30, 512 << 20),
        vramd.PlannedDevice("host", 1 << 30, 0, 0, 0),
    ),
    victims=(vramd.Victim("reader", 2, (vramd.GivenBack("gpu0", 3 << 29), vramd.GivenBack("host", 64 << 20))),),
    expected_load_s=2.5,
    nearest=(),
    degraded=(),
    cautions=(),
    message="1.00 GiB are missing on gpu0",
    verdict="evicts",
    awaited="unspecified",
    lowered=(),
)


def test_a_plan_has_every_number_of_the_answer(fake: FakeSupervisor, either: vramd.Client) -> None:
    fake.script("PlanLoad", plan())
    assert either.plan("talker") == PLAN


def test_what_is_asked_travels_as_for_a_load(fake: FakeSupervisor, either: vramd.Client) -> None:
    fake.script("PlanLoad", plan())
    either.plan("talker", context=8192, ubatch=256, outputs=8, gpu_only=True, degrade=False)
    either.plan("talker", kv_type="q8_0")
    either.plan("talker")
    load = load_pb2.LoadOptions(context_tokens=8192, ubatch_tokens=256, output_tokens=8, gpu_only=True, degrade=False)
    assert fake.requests("PlanLoad") == [
        model_pb2.PlanLoadRequest(model="talker", load=load),
        model_pb2.PlanLoadRequest(model="talker", load=load_pb2.LoadOptions(kv_type=load_pb2.KV_TYPE_Q8_0)),
        model_pb2.PlanLoadRequest(model="talker"),
    ]


def test_the_limit_of_the_call_is_kept(fake: FakeSupervisor, either: vramd.Client) -> None:
    fake.script("PlanLoad", plan())
    either.plan("talker", timeout_s=30)
    left_s = fake.calls[0].left_s
    assert left_s is not None
    assert 0 < left_s < 32


def test_a_setting_that_there_is_not(fake: FakeSupervisor, either: vramd.Client) -> None:
    with pytest.raises(TypeError, match="contxt"):
        either.plan("talker", contxt=1)  # type: ignore[call-arg]  # the misspelling is the point
    assert fake.calls == []


def test_a_refusal_is_raised(fake: FakeSupervisor, either: vramd.Client) -> None:
    fake.script("PlanLoad", Refusal(Reason.MODEL_NOT_FOUND))
    with pytest.raises(vramd.NotFound):
        either.plan("nobody")


def test_what_would_fit_has_its_settings_beside_what_changed() -> None:
    found = read(vramd.Plan, plan_that_does_not_fit())
    (nearest,) = found.nearest
    assert (found.fits, found.verdict) == (False, "too_large")
    assert (nearest.needed_bytes, nearest.changes[0]) == (3 << 30, "ubatch 128")
    assert nearest.lowered == ("ubatch", "kv_type", "context")
    assert (nearest.context, nearest.ubatch, nearest.kv_type, nearest.devices) == (1536, 128, "q8_0", ("gpu0",))
    names = [field.name for field in dataclasses.fields(nearest)]
    assert names == [*(field.name for field in dataclasses.fields(SETTINGS)), "needed_bytes", "changes", "lowered"]


def test_a_load_of_unknown_length_is_none_and_one_of_no_length_is_zero() -> None:
    assert read(vramd.Plan, model_pb2.PlanLoadResponse()).expected_load_s is None
    assert read(vramd.Plan, model_pb2.PlanLoadResponse(expected_load_s=0)).expected_load_s == 0


def test_switches_and_degradations_arrive() -> None:
    message = model_pb2.PlanLoadResponse(
        settings=load_pb2.Settings(swa_full=True, kv_split=True, gpu_layers=12), degraded=["KV cache as q8_0"]
    )
    found = read(vramd.Plan, message)
    assert (found.settings.swa_full, found.settings.kv_split, found.settings.gpu_layers) == (True, True, 12)
    assert found.degraded == ("KV cache as q8_0",)


def test_a_quoted_device_sums_up_its_kinds() -> None:
    assert [device.total_bytes for device in QUOTE.devices] == [3 << 30, 64 << 20]


def test_a_resident_model_tells_what_it_is_loaded_with() -> None:
    message = resident()
    message.degraded.append("KV cache as q8_0")
    loaded = read(vramd.ResidentModel, message)
    assert (loaded.settings, loaded.quote, loaded.degraded) == (SETTINGS, QUOTE, ("KV cache as q8_0",))
    assert read(vramd.PlanSettings, settings()) == SETTINGS
    assert read(vramd.Quote, quote()) == QUOTE


def test_one_that_waits_for_room_has_no_settings_yet() -> None:
    waiting = read(vramd.ResidentModel, model_pb2.ResidentModel(model="talker"))
    assert (waiting.settings, waiting.quote, waiting.degraded) == (None, None, ())


SELECTION = vramd.Selection(
    model="coder",
    score=87.5,
    loaded=False,
    fits=True,
    reasons=("made for code: its name says so", "there is room for it"),
    considered=(vramd.Considered("talker", 61, "a general model, not made for code"),),
)


@pytest.fixture
def fake(fake: FakeSupervisor) -> FakeSupervisor:
    fake.script("SelectModel", selection())
    return fake


def test_a_selection_has_every_word_of_the_answer(fake: FakeSupervisor, either: vramd.Client) -> None:
    assert either.select("code_generation") == SELECTION


def test_what_is_asked_of_a_selection_travels(fake: FakeSupervisor, either: vramd.Client) -> None:
    either.select("code", role="architect", context=8192, prefer="light_now", timeout_s=30)
    either.select("code")
    prefer = load_pb2.PREFER_LIGHT_NOW
    assert fake.requests("SelectModel") == [
        model_pb2.SelectModelRequest(task="code", role="architect", context_tokens=8192, prefer=prefer),
        model_pb2.SelectModelRequest(task="code"),
    ]
    assert 0 < (fake.calls[0].left_s or 0) < 32


def test_what_cannot_be_asked(fake: FakeSupervisor, either: vramd.Client) -> None:
    with pytest.raises(vramd.InvalidRequest, match="prefer: 'soon' is not one of light_now"):
        either.select("code", prefer="soon")  # type: ignore[arg-type]  # no such word
    with pytest.raises(vramd.InvalidRequest, match="context_tokens"):
        either.select("code", context=-1)
    with pytest.raises(vramd.InvalidRequest, match="task") as caught:
        either.select("\ud800")
    assert caught.value.metadata == {"field": "task"}
    assert fake.calls == []


def test_where_no_model_serves(fake: FakeSupervisor, either: vramd.Client) -> None:
    fake.script("SelectModel", Refusal(Reason.MODEL_NOT_FOUND))
    either.select("code")
    with pytest.raises(vramd.NotFound):
        either.select("code")
