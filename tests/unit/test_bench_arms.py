"""What the benchmarks of threads and of profiles make of their measurements."""

import pytest
from vramd_bench import answering, profiles, threads
from vramd_bench.answering import Timed
from vramd_bench.figures import BenchError, Unit
from vramd_bench.profiles import Turn
from vramd_supervisor.domain.host_profile import Profile


@pytest.mark.parametrize(
    ("cores", "counts"),
    [(1, (1,)), (2, (1, 2)), (3, (1, 2)), (4, (1, 2, 4)), (7, (1, 2, 4, 6)), (64, (1, 2, 4, 6, 8, 12))],
)
def test_threads_are_tried_as_far_as_the_machine_has_them(cores: int, counts: tuple[int, ...]) -> None:
    assert threads.counts_for(cores) == counts


def test_the_best_has_the_highest_median() -> None:
    # The highest single value is that of one thread.
    assert threads.best({1: [9.0, 1.0, 1.0], 2: [4.0, 5.0, 6.0], 4: [2.0, 2.0, 2.0]}) == 2


def test_of_equally_fast_ones_the_fewest_threads_are_the_best() -> None:
    assert threads.best({8: [5.0], 2: [5.0], 4: [5.0], 1: [4.0]}) == 2


def test_an_answer_that_ended_early_goes_on_at_its_speed() -> None:
    assert Timed(first_token_s=0.5, all_s=1.0, tokens_per_s=10.0).seconds_for(101) == 10.5


def test_figures_of_threads_stand_together_by_what_they_measure() -> None:
    one = {"first token": [0.2], "100 tokens": [2.0], "tokens per second": [50.0], "CPU time / time": [0.9]}
    two = {"first token": [0.1], "100 tokens": [1.0], "tokens per second": [99.0], "CPU time / time": [1.8]}
    found = threads.result({1: one, 2: two})
    assert [(f.name, f.unit, f.spread.median) for f in found.figures] == [
        ("first token, 1 thread", Unit.SECONDS, 0.2),
        ("first token, 2 threads", Unit.SECONDS, 0.1),
        ("100 tokens, 1 thread", Unit.SECONDS, 2.0),
        ("100 tokens, 2 threads", Unit.SECONDS, 1.0),
        ("tokens per second, 1 thread", Unit.TOKENS_PER_S, 50.0),
        ("tokens per second, 2 threads", Unit.TOKENS_PER_S, 99.0),
        ("CPU time / time, 1 thread", Unit.RATIO, 0.9),
        ("CPU time / time, 2 threads", Unit.RATIO, 1.8),
    ]
    assert found.notes[-1] == "The best here by the median of tokens/s: 2 threads."


def test_profiles_are_those_of_the_supervisor() -> None:
    assert all(f"{profile.label}: " in profiles.NOTES[0] for profile in Profile)


def answered(rate: float) -> dict[str, list[float]]:
    return {"RAM after load": [100.0], "RAM, peak": [120.0], "first token": [0.1], "tokens per second": [rate, rate]}


def test_failures_are_counted_and_explained_once() -> None:
    some = {"RAM after load": [100.0], "tokens per second": [9.0]}
    found = profiles.result(
        {
            "low_memory": [Turn(answered(5.0)), Turn(answered(6.0))],
            "balanced": [Turn(some, ["it broke off"]), Turn({}, ["no room", "no room"])],
        },
        "gpu0",
    )
    shares = {f.name: f.spread.runs for f in found.figures if f.unit is Unit.RATIO}
    assert shares == {"failed / all answers, low_memory": (0.0, 0.0), "failed / all answers, balanced": (0.5, 1.0)}
    assert found.notes[-2:] == ("balanced failed: it broke off", "balanced failed: no room")
    named = {f.name: f.spread.runs for f in found.figures}
    assert named["tokens per second, low_memory"] == (5.0, 5.0, 6.0, 6.0)
    assert named["tokens per second, balanced"] == (9.0,)
    assert "first token, balanced" not in named, "nothing was measured"
    assert profiles.CARD in found.notes


def test_without_a_gpu_it_is_said_that_only_the_batch_differs() -> None:
    assert profiles.NO_GPU in profiles.result({"balanced": [Turn(answered(5.0))]}, "host").notes


def test_profiles_of_which_none_can_be_loaded_are_no_result() -> None:
    with pytest.raises(BenchError, match="no room at all"):
        profiles.result({"balanced": [Turn({}, ["no room at all"])]}, "host")


def test_a_prompt_leaves_a_small_context_room_for_the_answer() -> None:
    assert answering.prompt_tokens(768, 8192, 64) == 768
    assert answering.prompt_tokens(768, 512, 64) == 336
    assert answering.prompt_tokens(768, 64, 100) == 1
