"""What past loads teach: residuals by device, driver and build, sizes by the very same load, and what never teaches."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vramd_common.load_settings import Settings
from vramd_supervisor.domain.device_view import CUDA_CONTEXT_BYTES, DeviceKind
from vramd_supervisor.domain.quote import Confidence, DeviceBytes, Quote, Source
from vramd_supervisor.quoting.learning import (
    LOADS_KEPT,
    MARGIN_BYTES,
    LearnedUsage,
    Observation,
    Place,
    adjust,
    learn,
    load_bytes,
    load_key,
    residual_bytes,
)

MIB = 1 << 20
CARD = Place("GPU-1f3e", "550.54.14", "0.3.36 cuda")
OTHER_CARD = Place("GPU-77aa", "550.54.14", "0.3.36 cuda")
RAM = Place("host", "", "0.3.36 cuda")
PLACES = {"gpu0": CARD, "gpu1": OTHER_CARD, "host": RAM}
SETTINGS = Settings(8192, 4, "gpu0", -1, 512, "f16", 4)
KEY = load_key("digest", SETTINGS, PLACES)
QUOTE = Quote(
    {
        "gpu0": DeviceBytes(4000 * MIB, 1000 * MIB, 300 * MIB, CUDA_CONTEXT_BYTES),
        "host": DeviceBytes(280 * MIB, 0, 20 * MIB, 60 * MIB),
    },
    Confidence.CLOSE,
    Source.DRY_RUN,
    seconds=0.02,
)


def on_card(measured: int | None = 5400, place: Place = CARD) -> Observation:
    """In MiB; the engine counts 5300 of them."""
    measured_bytes = None if measured is None else measured * MIB
    return Observation(place, 5300 * MIB, measured_bytes)


def on_host(measured: int = 390) -> Observation:
    return Observation(RAM, 300 * MIB, measured * MIB)


def after(*seen: Observation, key: str = KEY) -> LearnedUsage:
    return learn((key, one) for one in seen)


def test_nothing_learned_changes_nothing() -> None:
    assert adjust(QUOTE, KEY, PLACES, LearnedUsage()) == QUOTE


def test_the_residual_of_other_models_takes_the_place_of_the_prior_after_three_loads() -> None:
    two = after(on_card(5410), on_card(5430), key="another")
    assert adjust(QUOTE, KEY, PLACES, two) == QUOTE
    three = learn([*(("another", on_card(size)) for size in (5410, 5430)), ("a third", on_card(5420))])
    adjusted = adjust(QUOTE, KEY, PLACES, three)
    assert adjusted.devices["gpu0"] == replace(QUOTE.devices["gpu0"], process_bytes=120 * MIB)
    assert adjusted.devices["host"] == QUOTE.devices["host"]
    assert (adjusted.source, adjusted.confidence, adjusted.seconds) == (Source.DRY_RUN, Confidence.CLOSE, 0.02)


def test_three_loads_make_the_quote_learned_and_nearer_the_truth() -> None:
    truth = {"gpu0": 5402 * MIB, "host": 390 * MIB}
    loads = [(on_card(5400 + extra), on_host(380 + 5 * extra)) for extra in (1, 3, 2)]
    for known in (1, 2):
        earlier = adjust(QUOTE, KEY, PLACES, after(*sum(loads[:known], ())))
        assert (earlier.source, earlier.confidence) == (Source.DRY_RUN, Confidence.CLOSE)
    adjusted = adjust(QUOTE, KEY, PLACES, after(*sum(loads, ())))
    assert (adjusted.source, adjusted.confidence, adjusted.seconds) == (Source.LEARNED, Confidence.EXACT, 0.02)
    for device, bytes_ in truth.items():
        margin_bytes = min(MARGIN_BYTES, bytes_ * 2 // 100)
        assert adjusted.devices[device].total_bytes == bytes_ + margin_bytes
        assert adjusted.devices[device].engine_bytes == QUOTE.devices[device].engine_bytes
    assert abs(adjusted.needs["gpu0"] - truth["gpu0"]) < abs(QUOTE.needs["gpu0"] - truth["gpu0"])


def test_a_load_is_learned_only_when_all_its_devices_are() -> None:
    lessons = after(*[on_card(5500), on_host()] * 2, on_card(5500))
    adjusted = adjust(QUOTE, KEY, PLACES, lessons)
    assert adjusted.source is Source.DRY_RUN
    assert adjusted.devices["gpu0"].process_bytes == 200 * MIB
    assert adjusted.devices["host"].process_bytes == 60 * MIB


@pytest.mark.parametrize("at", [0, 1, 2, 9])
@pytest.mark.parametrize("wrong", [9_700, 40_000, 5_500])
def test_a_single_load_that_went_wrong_is_not_believed(at: int, wrong: int) -> None:
    loads = [on_card(5400)] * max(2, at)
    lessons = after(*loads[:at], on_card(wrong), *loads[at:])
    assert load_bytes(lessons, KEY, CARD) == 5400 * MIB
    assert residual_bytes(lessons, CARD) == 100 * MIB


def test_a_load_below_the_engines_own_bytes_leaves_those() -> None:
    lessons = after(*[on_card(4000), on_host(100)] * 3)
    adjusted = adjust(QUOTE, KEY, PLACES, lessons)
    assert adjusted.source is Source.LEARNED
    assert adjusted.needs == {"gpu0": 5300 * MIB, "host": (300 + 60) * MIB}, "the process itself is there, too"


def test_what_is_declared_stays() -> None:
    declared = replace(QUOTE, source=Source.DECLARED, confidence=Confidence.EXACT)
    assert adjust(declared, KEY, PLACES, after(*[on_card(), on_host()] * 3)) == declared


@pytest.mark.parametrize(
    "useless",
    [
        on_card(None),
        on_card(0),
        Observation(CARD, (1 << 64) - MIB, 5400 * MIB),
        Observation(CARD, -1, 5400 * MIB),
        Observation(CARD, 5300 * MIB, 1 << 63),
    ],
    ids=["not measured", "nothing measured", "count wrapped round", "negative", "absurd"],
)
def test_a_useless_observation_teaches_nothing(useless: Observation) -> None:
    assert useless.useless
    lessons = after(*[useless, on_host()] * 40)
    assert residual_bytes(lessons, CARD) is None
    assert load_bytes(lessons, KEY, CARD) is None
    assert residual_bytes(lessons, RAM) == 90 * MIB
    assert adjust(QUOTE, KEY, PLACES, lessons).devices["gpu0"] == QUOTE.devices["gpu0"]


@pytest.mark.parametrize(
    "elsewhere",
    [replace(CARD, build="0.3.37 cuda"), replace(CARD, driver="560.28.03"), replace(CARD, device="GPU-0000")],
    ids=["build", "driver", "card"],
)
def test_a_change_of_build_driver_or_card_forgets(elsewhere: Place) -> None:
    lessons = after(*[on_card(), on_host()] * 3)
    places = PLACES | {"gpu0": elsewhere}
    assert residual_bytes(lessons, CARD) == 100 * MIB
    assert residual_bytes(lessons, elsewhere) is None
    changed = adjust(QUOTE, load_key("digest", SETTINGS, places), places, lessons)
    assert changed.source is Source.DRY_RUN
    assert changed.devices["gpu0"] == QUOTE.devices["gpu0"]


def test_what_changes_the_bytes_changes_the_key() -> None:
    changes = [
        replace(SETTINGS, context_tokens=4096),
        replace(SETTINGS, batch_tokens=256),
        replace(SETTINGS, ubatch_tokens=128),
        replace(SETTINGS, parallel=2),
        replace(SETTINGS, kv_split=True),
        replace(SETTINGS, kv_type="q8_0"),
        replace(SETTINGS, flash_attention="off"),
        replace(SETTINGS, swa_full=True),
        replace(SETTINGS, outputs=512),
        replace(SETTINGS, gpu_layers=3),
        replace(SETTINGS, device="gpu1"),
        replace(SETTINGS, shares=(("gpu0", 0.6), ("gpu1", 0.4))),
        replace(SETTINGS, shares=(("gpu0", 0.5), ("gpu1", 0.5))),
        replace(SETTINGS, shares=(("gpu1", 0.5), ("gpu0", 0.5))),
    ]
    keys = {KEY, load_key("digest of another", SETTINGS, PLACES)}
    keys |= {load_key("digest", changed, PLACES) for changed in changes}
    assert len(keys) == len(changes) + 2


def test_what_does_not_change_the_bytes_leaves_the_key() -> None:
    assert load_key("digest", replace(SETTINGS, threads=9), PLACES) == KEY
    renamed = {"card": CARD, "host": RAM, "gpu0": OTHER_CARD}
    assert load_key("digest", replace(SETTINGS, device="card"), renamed) == KEY


def test_a_device_that_ran_out_of_memory_gets_more_under_that_key_once() -> None:
    bumped = learn([], [(KEY, CARD.device), (KEY, CARD.device)])
    before, adjusted = QUOTE.devices["gpu0"], adjust(QUOTE, KEY, PLACES, bumped)
    assert adjusted.devices["gpu0"].total_bytes == before.total_bytes + before.total_bytes // 10
    assert adjusted.devices["host"] == QUOTE.devices["host"]
    assert adjust(QUOTE, "another", PLACES, bumped) == QUOTE


def test_a_small_device_that_ran_out_of_memory_gets_128_mib_more_than_was_learned() -> None:
    lessons = learn([(KEY, one) for one in [on_card(), on_host()] * 3], [(KEY, "host")])
    adjusted = adjust(QUOTE, KEY, PLACES, lessons)
    assert adjusted.needs == {"gpu0": (5400 + 16) * MIB, "host": (390 + 128) * MIB + 390 * MIB * 2 // 100}
    assert adjusted.source is Source.LEARNED


def test_priors() -> None:
    assert DeviceKind.NVIDIA.context_bytes == 320 * MIB
    assert DeviceKind.VIRTUAL.context_bytes == 0
    assert DeviceKind.BACKEND.context_bytes == 0


def test_what_other_models_took_of_the_host_says_nothing() -> None:
    lessons = after(*[on_host(100)] * 3, key="another")
    assert adjust(QUOTE, KEY, PLACES, lessons) == QUOTE


def test_a_process_that_has_not_touched_all_its_bytes_leaves_no_residual() -> None:
    lessons = after(*[on_card(5000)] * 3, key="another")
    assert residual_bytes(lessons, CARD) == 0
    assert adjust(QUOTE, KEY, PLACES, lessons).needs["gpu0"] == 5300 * MIB


@pytest.mark.parametrize(("loads", "rank"), [(3, 2), (19, 18), (20, 19), (21, 20), (32, 31)])
def test_the_95th_percentile_is_the_nearest_rank_and_never_the_most(loads: int, rank: int) -> None:
    falling = after(*(on_card(5300 + number) for number in range(loads, 0, -1)))
    assert residual_bytes(falling, CARD) == rank * MIB


def test_the_oldest_loads_are_forgotten() -> None:
    lessons = after(*[on_card(9000)] * 3, *[on_card(5400)] * LOADS_KEPT)
    assert residual_bytes(lessons, CARD) == 100 * MIB
    assert load_bytes(lessons, KEY, CARD) == 5400 * MIB


sizes = st.integers(0, 64 << 30)
observations = st.builds(Observation, st.sampled_from([CARD, OTHER_CARD, RAM]), sizes, st.none() | sizes)
needs = st.builds(DeviceBytes, sizes, sizes, sizes, sizes)


@given(
    st.dictionaries(st.sampled_from(sorted(PLACES)), needs, min_size=1),
    st.lists(st.tuples(st.sampled_from([KEY, "another"]), observations), max_size=40),
    st.lists(st.sampled_from([(KEY, CARD.device), (KEY, "host"), ("another", "host")])),
    st.sampled_from([source for source in Source if source is not Source.LEARNED]),
)
def test_no_lesson_touches_the_engines_own_bytes(
    devices: dict[str, DeviceBytes], seen: list[tuple[str, Observation]], bumped: list[tuple[str, str]], source: Source
) -> None:
    lessons = learn(seen, bumped)
    adjusted = adjust(Quote(devices, Confidence.CLOSE, source), KEY, PLACES, lessons)
    assert adjusted.devices.keys() == devices.keys()
    for device, need in devices.items():
        now = adjusted.devices[device]
        assert replace(now, process_bytes=need.process_bytes) == need
        assert now.total_bytes >= need.engine_bytes
        if adjusted.source is Source.LEARNED:
            same = [one for key, one in seen if (key, one.place) == (KEY, PLACES[device]) and not one.useless]
            assert len(same) >= 3
            taken = sorted(one.measured_bytes or 0 for one in same[-LOADS_KEPT:])
            assert now.total_bytes >= taken[-2] + min(MARGIN_BYTES, int(taken[-2] * 0.02))


@given(st.lists(sizes, min_size=3, max_size=LOADS_KEPT))
def test_at_least_95_of_100_residuals_are_within_the_percentile_but_for_one(measured: list[int]) -> None:
    lessons = learn((KEY, Observation(CARD, 0, size + 1)) for size in measured)
    found = residual_bytes(lessons, CARD)
    assert found is not None
    assert sum(size + 1 <= found for size in measured) >= min(0.95 * len(measured), len(measured) - 1)
    assert sum(size + 1 < found for size in measured) < 0.95 * len(measured)
