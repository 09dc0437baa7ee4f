"""Benchmarks: their figures, what is made of measurements and shown of them, and the model that they use."""

import json
from pathlib import Path

import pytest
from gguf import GGMLQuantizationType, GGUFReader
from vramd_bench import answering, machine, profiles, random_model, report, swap, threads
from vramd_bench.answering import Timed
from vramd_bench.figures import BenchError, Result, Unit, at_least, at_most, figure, ratios
from vramd_bench.profiles import Turn
from vramd_bench.random_model import END, Shape
from vramd_bench.streamed import Streamed
from vramd_bench.two_models import rate_together
from vramd_supervisor.domain.host_profile import Profile


def test_a_spread_is_that_of_its_runs() -> None:
    spread = figure("swap", Unit.SECONDS, [3.0, 1.0, 2.0, 10.0]).spread
    assert (spread.least, spread.median, spread.most) == (1.0, 2.5, 10.0)
    assert spread.runs == (3.0, 1.0, 2.0, 10.0)


@pytest.mark.parametrize(("value", "met"), [(1.24, True), (1.25, True), (1.26, False)])
def test_at_most(value: float, met: bool) -> None:
    assert figure("share", Unit.RATIO, [value], at_most(1.25)).met is met


@pytest.mark.parametrize(("value", "met"), [(0.98, True), (0.97, True), (0.96, False)])
def test_at_least(value: float, met: bool) -> None:
    assert figure("share", Unit.RATIO, [value], at_least(0.97)).met is met


def test_a_figure_without_a_bar_is_neither_met_nor_missed() -> None:
    assert figure("swap", Unit.SECONDS, [1.0]).met is None


def test_the_median_is_judged() -> None:
    assert figure("share", Unit.RATIO, [1.0, 1.1, 9.0], at_most(1.25)).met is True


def test_ratios_are_taken_pair_by_pair() -> None:
    # The machine was twice as slow in the second run, for both.
    found = ratios("share", [10.0, 20.0], [5.0, 10.0], at_most(2.0))
    assert found.spread.runs == (2.0, 2.0)
    assert found.met


def test_values_without_a_partner_are_a_fault() -> None:
    with pytest.raises(ValueError, match="zip"):
        ratios("share", [1.0, 2.0], [1.0], at_most(2.0))


def test_a_stream_counts_from_its_request() -> None:
    stream = Streamed(10.0, (11.0, 12.0, 14.0), (1, 2, 1))
    assert stream.first_token_s == 1.0
    assert stream.tokens_per_s == 1.0
    assert stream.tokens_between(11.0, 12.0) == 2
    assert stream.tokens_between(0.0, 20.0) == 4


def test_streams_together_are_counted_while_both_run() -> None:
    early = Streamed(0.0, (1.0, 2.0, 3.0, 4.0), (1, 1, 1, 1))
    late = Streamed(0.0, (2.0, 4.0, 6.0, 8.0), (1, 1, 1, 1))
    # From 2 to 4: two tokens of the one, one of the other.
    assert rate_together([early, late]) == 1.5
    # Alone from its first token to its last.
    assert rate_together([early]) == 1.0


def test_streams_that_never_ran_together_give_no_rate() -> None:
    with pytest.raises(BenchError, match="did not overlap"):
        rate_together([Streamed(0.0, (1.0, 2.0), (1, 1)), Streamed(2.5, (3.0, 4.0), (1, 1))])


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


def test_a_swap_is_held_against_the_raw_sum_and_the_router() -> None:
    parts = {
        "vramd": [{"request to first token": 0.5}],
        "raw sum": [{"reap": 0.1, "load and context": 0.2, "first token": 0.1}],
        "mapped weights": [{"request to first token": 0.4}],
        "llama-server's router": [{"request to first token": 0.8}],
    }
    found = {f.name: (f.spread.median, f.met) for f in swap.judged(parts)}
    assert found["raw sum"][0] == pytest.approx(0.4)
    assert found["raw: reap"] == (0.1, None)
    assert found["vramd / raw sum"][0] == pytest.approx(1.25)
    assert found["vramd / mapped weights"] == (1.25, None)
    assert found["vramd / llama-server's router"] == (0.625, True)
    assert "request to first token, raw sum" not in found


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


ROOT = Path(__file__).parents[2]

MACHINE = machine.Machine("Linux 6", "A CPU", 2, 8_000_000_000, "3.11.7", {"vramd": "0.1.0"}, "abc+")
RESULT = Result(
    "ipc",
    (
        figure("short call, vramd, p50", Unit.SECONDS, [0.001, 0.002, 0.0015]),
        figure("vramd / relay", Unit.RATIO, [1.2], at_most(1.25)),
        figure("vramd / direct", Unit.RATIO, [0.9], at_least(0.97)),
    ),
    ("a note",),
)
REPORT = report.Report(MACHINE, "tiny.gguf", 5_000_000, 2, 3, quick=False, results=(RESULT,))


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (0.00137, Unit.SECONDS, "1.37 ms"),
        (0.918, Unit.SECONDS, "918 ms"),
        (2.0, Unit.SECONDS, "2.00 s"),
        (55_900_000, Unit.BYTES, "55.9 MB"),
        (159.96, Unit.TOKENS_PER_S, "160.0 tokens/s"),
        (0.974, Unit.RATIO, "0.97 \u00d7"),
        (0.074, Unit.SHARE, "7 %"),
    ],
)
def test_amounts_are_for_people(value: float, unit: Unit, shown: str) -> None:
    assert report.amount(value, unit) == shown


def test_a_row_says_whether_the_bar_is_met() -> None:
    plain, met, missed = report.rows(RESULT)
    assert plain == ("short call, vramd, p50", "1.00 ms", "1.50 ms", "2.00 ms", "", "")
    assert met[-2:] == ("\u2264 1.25 \u00d7", "met")
    assert missed[-2:] == ("\u2265 0.97 \u00d7", "missed")
    assert report.missed([RESULT]) == ["ipc: vramd / direct"]


def test_json_has_everything() -> None:
    told = json.loads(json.dumps(report.as_json(REPORT)))
    assert told["machine"]["commit"] == "abc+"
    assert told["machine"]["versions"] == {"vramd": "0.1.0"}
    assert told["model"] == {"name": "tiny.gguf", "size_bytes": 5_000_000}
    assert (told["threads"], told["runs"], told["quick"]) == (2, 3, False)
    (result,) = told["results"]
    first, second, third = result["figures"]
    assert (first["min"], first["median"], first["max"], first["unit"]) == (0.001, 0.0015, 0.002, "s")
    assert first["values"] == [0.001, 0.002, 0.0015]
    assert (first["bar"], first["met"]) == (None, None)
    assert (second["bar"], second["met"]) == ({"limit": 1.25, "at_most": True}, True)
    assert third["met"] is False


def test_where_it_was_measured() -> None:
    line = report.where(REPORT)
    assert "A CPU, 2 cores, 8.0 GB" in line
    assert "vramd 0.1.0, commit abc+; tiny.gguf, 5 MB; 3 runs" in line
    assert "no worth" not in line


def test_the_section_goes_between_the_marks(tmp_path: Path) -> None:
    file = tmp_path / "README.md"
    file.write_text("before\n<!-- bench -->\nold\n<!-- /bench -->\nafter\n", "utf-8")
    for _ in range(2):  # a second time it replaces its own
        report.write_readme(file, REPORT)
    text = file.read_text("utf-8")
    assert text.startswith("before\n<!-- bench -->\n")
    assert text.endswith("\n<!-- /bench -->\nafter\n")
    assert "old" not in text
    assert (
        text.count("| ipc | vramd / relay | 1.20 \u00d7 | 1.20 \u00d7 | 1.20 \u00d7 | \u2264 1.25 \u00d7 | met |") == 1
    )
    assert "p50" not in text, "a figure without a bar"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<!-- bench -->",
        "<!-- /bench -->\n<!-- bench -->",
        "<!-- bench --><!-- bench --><!-- /bench -->",
        "<!-- bench --><!-- /bench --><!-- /bench -->",
    ],
)
def test_a_file_without_one_place_for_it_is_refused(text: str) -> None:
    with pytest.raises(BenchError, match="one line"):
        report.put_into(text, "section")


def test_the_machine_is_this_one() -> None:
    found = machine.look()
    assert found.cpu
    assert found.cores > 0
    assert found.ram_bytes > 100_000_000
    assert found.versions["vramd"]


def test_a_commit_is_told_of_the_own_checkout_only(tmp_path: Path) -> None:
    strange = tmp_path / "clients/python/vramd"
    strange.mkdir(parents=True)
    assert machine.commit(strange) is None
    (tmp_path / ".git").mkdir()
    assert machine.commit(strange) is None
    if (ROOT / ".git").exists():
        assert machine.commit(ROOT / "proto/vramd_proto/v1") is None
        assert bool(machine.commit(machine.OWN_FOLDER)) == machine.OWN_FOLDER.is_relative_to(ROOT)


SMALL = Shape("small", 64, 2, 2, 1, 96, 320, 128)


def test_it_has_its_shape(tmp_path: Path) -> None:
    file = tmp_path / "small.gguf"
    random_model.write(file, SMALL)
    tensors = {tensor.name: tensor for tensor in GGUFReader(file).tensors}
    assert len(tensors) == 2 + 7 * 2 + 1 + 2 * 2
    packed = {tensor.tensor_type for name, tensor in tensors.items() if "norm" not in name}
    assert packed == {GGMLQuantizationType.Q8_0}
    assert tuple(tensors["blk.1.attn_k.weight"].shape) == (64, 32)
    assert not tensors["output.weight"].data[END].any()


def test_it_is_always_the_same(tmp_path: Path) -> None:
    one, other = tmp_path / "one.gguf", tmp_path / "other.gguf"
    for file in (one, other):
        random_model.write(file, SMALL)
    assert one.read_bytes() == other.read_bytes()


def test_the_usual_one_has_the_size_that_the_bars_are_for() -> None:
    shape = random_model.USUAL
    parameters = sum(rows * columns for _, rows, columns in random_model._matrices(shape))
    assert 245_000_000 < parameters < 247_000_000
    assert all(columns % 32 == 0 for _, _, columns in random_model._matrices(shape))
