"""`vramd simulate`: the real scheduler on a virtual clock, against what can be worked out by hand."""

import json
import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from support.gguf_bytes import llama
from vramd_cli.main import vramd
from vramd_supervisor.simulation.clock import VirtualClock
from vramd_supervisor.simulation.figures import waits
from vramd_supervisor.simulation.traffic import Machine, Program, Speed, Stream, Traffic

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
DEVICES = '[server]\nspare = false\n[devices.card]\nkind = "virtual"\ntotal = "8GiB"\n[devices.host]\nbudget = "4GiB"\n'
MACHINE = "[machine]\nstart_s = 0.5\nstop_s = 0.25\nrelease_s = 0.125\nprompt_tokens_per_s = 100\n"


def model(name: str, card: str = "5GiB", **settings: object) -> str:
    """The table of a model; ten tokens a second, and two seconds for its load."""
    given = {"load_s": 2.0, "tokens_per_s": 10.0, **settings}
    keys = "".join(f"{key} = {json.dumps(value)}\n" for key, value in given.items())
    memory = f'card = "{card}", host = "100MiB"' if card else 'host = "100MiB"'
    return f'[models.{name}]\nengine = "simulated"\nmemory = {{ {memory} }}\n{keys}'


def stream(name: str, **settings: object) -> str:
    """One request at the start of a run of a minute, for an answer of ten tokens, unless told otherwise."""
    given = {"every_s": 1000.0, "tokens": 10, "arrivals": "fixed", **settings}
    return f'[[stream]]\nmodel = "{name}"\n' + "".join(f"{key} = {json.dumps(value)}\n" for key, value in given.items())


class Bench:
    """Files in a folder, and the command over them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def call(self, config: str, traffic: str, *arguments: str) -> Result:
        files = (self.folder / "vramd.toml", self.folder / "traffic.toml")
        for file, text in zip(files, (config, traffic), strict=True):
            file.write_text(text, "utf-8")
        return CliRunner().invoke(vramd, ["simulate", "--json", *arguments, *map(str, files)], catch_exceptions=False)

    def report(self, config: str, traffic: str, *arguments: str) -> dict[str, Any]:
        done = self.call(config, traffic, *arguments)
        assert done.exit_code == 0, done.output
        document = json.loads(done.stdout)
        assert isinstance(document, dict)
        return document

    def run(self, models: str, *streams: str, machine: str = MACHINE, duration_s: float = 60) -> dict[str, Any]:
        return self.report(DEVICES + models, f"duration_s = {duration_s}\n{machine}" + "".join(streams))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def spans(found: Mapping[str, Any]) -> tuple[float, float]:
    """The longest wait for a place, and for the first token."""
    return found["wait"]["max_s"], found["first_token"]["max_s"]


def test_a_request_waits_for_process_and_load_then_its_prompt_is_read(bench: Bench) -> None:
    found = bench.run(model("talker"), stream("talker", prompt_tokens=50))
    assert found["requests"] == {"asked": 1, "answered": 1, "refused": {}}
    # 0.5 s the process, 2 s the load; 50 tokens of prompt at 100 a second, a tenth of a second for a token
    assert spans(found) == (2.5, 2.5 + 0.5 + 0.1)
    assert found["models"]["talker"]["seconds"]["working"] == pytest.approx(0.5 + 10 * 0.1)
    assert found["devices"]["card"]["peak_bytes"] == 5 << 30


def test_a_swap_costs_the_end_of_one_and_the_start_of_the_other(bench: Bench) -> None:
    models = model("a") + model("b")
    found = bench.run(models, stream("a"), stream("b", start_s=20.0))
    assert found["swaps"]["loads"] == 2
    assert found["swaps"]["evicted_for"] == [{"model": "a", "for": "b", "times": 1}]
    # 0.25 s until the process is gone, 0.125 s until its memory is back, then as above
    assert found["models"]["b"]["wait"]["max_s"] == pytest.approx(0.375 + 2.5)


def test_no_more_run_at_once_than_the_model_has_sequences(bench: Bench) -> None:
    streams = stream("talker"), stream("talker", start_s=20.0, clients=1), stream("talker", start_s=20.0)
    alone = bench.run(model("talker", parallel=1), *streams)
    assert alone["wait"]["p50_s"] == pytest.approx(1.0), "the third waits for ten tokens of the second"
    assert bench.run(model("talker", parallel=2), *streams)["wait"]["p50_s"] == 0.0


def test_models_on_the_cpu_share_its_cores(bench: Bench) -> None:
    machine = MACHINE + "cores = 2\n"
    models = model("a", card="") + model("b", card="")
    warm = stream("a"), stream("b")
    alone = bench.run(models, *warm, stream("a", start_s=20.0), machine=machine)
    both = bench.run(models, *warm, stream("a", start_s=20.0), stream("b", start_s=20.5), machine=machine)
    spent_s = [found["models"]["a"]["seconds"]["working"] for found in (alone, both)]
    assert spent_s[1] - spent_s[0] == pytest.approx(0.5), "the last five of ten tokens take twice as long"
    on_card = bench.run(model("a", "1GiB") + model("b", "1GiB"), *warm, machine=machine)
    assert on_card["models"]["a"]["seconds"]["working"] == pytest.approx(1.0)


def test_who_waits_for_each_answer_asks_again_after_its_end(bench: Bench) -> None:
    found = bench.run(model("talker"), stream("talker", arrivals="closed", every_s=3.0))
    # the first answer is there after 3.5 s, the next request comes after 6.5 s, and then one every 4 s for a minute
    assert found["requests"]["asked"] == 1 + 14


def test_a_deadline_ends_a_wait(bench: Bench) -> None:
    found = bench.run(model("slow", load_s=30.0), stream("slow", deadline_s=5.0))
    assert found["requests"] == {"asked": 1, "answered": 0, "refused": {"DEADLINE_PASSED": 1}}
    assert found["wait"] is None


def test_a_full_queue_refuses(bench: Bench) -> None:
    scheduling = "[scheduling]\nqueue_per_model = 3\n"
    found = bench.run(scheduling + model("slow"), *[stream("slow") for _ in range(5)])
    assert found["requests"]["refused"] == {"QUEUE_FULL": 2}


def test_another_programs_memory_is_in_the_way(bench: Bench) -> None:
    program = '[[program]]\ndevice = "card"\nsize = "4GiB"\nstart_s = 0\nend_s = 30\n'
    found = bench.run(model("talker"), stream("talker", deadline_s=20.0, start_s=5.0), program)
    assert found["requests"]["answered"] == 0
    late = bench.run(model("talker"), stream("talker", start_s=150.0), program, duration_s=200)
    assert late["requests"]["answered"] == 1


def test_idle_models_go_when_another_program_uses_up_the_headroom(bench: Bench) -> None:
    program = '[[program]]\ndevice = "card"\nsize = "2.75GiB"\nstart_s = 20\n'
    config = DEVICES.replace('total = "8GiB"', 'total = "8GiB"\nheadroom = "1GiB"') + model("talker")
    found = bench.report(config, f"duration_s = 60\n{stream('talker')}{program}")
    assert found["swaps"]["evicted_for"] == [{"model": "talker", "for": "other programs", "times": 1}]


def test_the_timer_of_a_request_that_has_ended_is_forgotten(bench: Bench) -> None:
    soon, late = (bench.run(model("talker"), stream("talker", deadline_s=limit_s)) for limit_s in (20.0, 600.0))
    assert soon == late


def test_a_load_that_was_ended_says_nothing_more(bench: Bench) -> None:
    config = DEVICES.replace("[server]", "[server]\nload_deadline_s = 10")
    traffic = f"duration_s = 100\n{stream('slow')}"
    slow, slower = (bench.report(config + model("slow", load_s=load_s), traffic) for load_s in (30.0, 1000.0))
    assert slow["requests"]["answered"] == 0
    assert slow == slower


@pytest.mark.parametrize(
    "fault", ["exit-in-load", "oom", "hang-in-load", "exit-in-prompt", "exit-in-decode", "hang-in-decode"]
)
def test_faults_end_requests_and_nothing_hangs(bench: Bench, fault: str) -> None:
    limit = "[server]\nspare = false\nload_deadline_s = 10\n"
    config = DEVICES.replace("[server]\nspare = false\n", limit) + model("bad", manners=[fault])
    found = bench.report(config, "duration_s = 60\n" + stream("bad", deadline_s=30.0))
    assert found["requests"]["answered"] == 0
    assert sum(found["requests"]["refused"].values()) == 1


@pytest.mark.parametrize(
    ("fault", "reason"), [("hang-in-decode", "WORKER_CRASHED_MID_STREAM"), ("hang-in-load", "LOAD_TIMEOUT")]
)
def test_what_hangs_is_ended_after_its_time(bench: Bench, fault: str, reason: str) -> None:
    limits = "[server]\nspare = false\nstall_s = 7\nload_stall_s = 9\n"
    config = DEVICES.replace("[server]\nspare = false\n", limits) + model("bad", manners=[fault])
    found = bench.report(config, "duration_s = 60\n" + stream("bad", deadline_s=40.0))
    assert found["requests"]["refused"] == {reason: 1}


def test_a_process_that_does_not_listen_goes_later(bench: Bench) -> None:
    streams = stream("a"), stream("b", start_s=20.0)
    deaf = bench.run("[scheduling]\nstop_s = 7.0\n" + model("a", manners=["ignore-sigterm"]) + model("b"), *streams)
    assert deaf["models"]["b"]["wait"]["max_s"] == pytest.approx(7.0 + 0.125 + 2.5)


def test_files_of_windows_editors_are_read(bench: Bench) -> None:
    mark = "\N{ZERO WIDTH NO-BREAK SPACE}"
    traffic = f"duration_s = 10\n{stream('slow')}"
    config = DEVICES + model("slow")
    assert bench.report(mark + config, mark + traffic) == bench.report(config, traffic)
    assert "single quotes" in bench.call(config, traffic + '\nx = "C:\\Users"').output


def test_speeds_of_the_traffic_stand_over_those_of_the_configuration(bench: Bench) -> None:
    speed = "[models.talker]\nload_s = 4.0\nprompt_tokens_per_s = 10\ntokens_per_s = 1\n"
    found = bench.run(model("talker"), speed, stream("talker", prompt_tokens=50))
    assert spans(found) == (4.5, 4.5 + 5.0 + 1.0)


def test_a_file_is_quoted_by_its_header_and_read_at_the_machines_pace(bench: Bench) -> None:
    file = bench.folder / "small.gguf"
    file.write_bytes(llama())
    size_bytes = file.stat().st_size
    config = "[devices.gpu0]\n[devices.host]\nbudget = '4GiB'\n[models.small]\npath = 'small.gguf'\n"
    config = f"[server]\nspare = false\n{config}"
    traffic = f"duration_s = 60\n[machine]\nstart_s = 0.5\nread_per_s = {size_bytes // 3}\n" + stream("small")
    found = bench.report(config, traffic, "--device", "gpu0=8GiB")
    assert found["wait"]["max_s"] == pytest.approx(0.5 + 3.0, rel=0.01)
    assert found["devices"]["gpu0"]["budget_bytes"] < 8 << 30
    assert found["devices"]["gpu0"]["peak_bytes"] > size_bytes


def test_a_smaller_card_than_the_configured_one_is_another_run(bench: Bench) -> None:
    config, traffic = DEVICES + model("talker"), "duration_s = 60\n" + stream("talker")
    assert bench.report(config, traffic)["requests"]["answered"] == 1
    assert bench.report(config, traffic, "--device", "card=4GiB")["requests"]["refused"] == {"MODEL_TOO_LARGE": 1}


def test_the_same_seed_gives_the_same_report_and_another_one_another() -> None:
    def text(*more: str) -> str:
        files = (str(EXAMPLES / f"game-and-copilot{end}.toml") for end in ("", "-traffic"))
        return CliRunner().invoke(vramd, ["simulate", "--json", *more, *files], catch_exceptions=False).stdout

    assert text() == text("--seed", "7")
    assert text() != text("--seed", "8")


@pytest.mark.parametrize("example", ["writing-tool", "game-and-copilot"])
def test_the_examples_run_and_are_told_in_words(example: str) -> None:
    files = (str(EXAMPLES / f"{example}{end}.toml") for end in ("", "-traffic"))
    done = CliRunner().invoke(vramd, ["simulate", *files], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert "seed" in lines[0]
    assert any(line.startswith("all ") for line in lines)
    assert any("had to go for" in line for line in lines)
    rows = [line.partition("|")[2] for line in lines if line.endswith("|")]
    assert {len(row) for row in rows} == {73}
    assert any("#" in row for row in rows)


def test_the_examples_swap_rarely_and_thrash() -> None:
    def figures(example: str) -> dict[str, Any]:
        files = (str(EXAMPLES / f"{example}{end}.toml") for end in ("", "-traffic"))
        found = json.loads(CliRunner().invoke(vramd, ["simulate", "--json", *files], catch_exceptions=False).stdout)
        assert isinstance(found, dict)
        return found

    calm, busy = figures("writing-tool"), figures("game-and-copilot")
    assert not calm["thrash"]
    assert busy["thrash"]
    assert busy["swaps"]["loads_per_minute"] > 5 * calm["swaps"]["loads_per_minute"]
    assert not calm["requests"]["refused"]


def test_an_hour_with_a_request_each_second_has_an_end(bench: Bench) -> None:
    config = DEVICES + model("a", "2GiB") + model("b", "2GiB")
    streams = "".join(stream(name, arrivals="poisson", every_s=2.0, tokens=[1, 20]) for name in ("a", "b"))
    found = bench.report(config, f"duration_s = 3600\n{streams}")
    assert 3200 < found["requests"]["asked"] == found["requests"]["answered"]


def test_the_timeline_shows_the_longest_part_of_each_column(bench: Bench) -> None:
    found = bench.run(model("talker", load_s=19.5, keep_alive_s=5.0), stream("talker", tokens=100))
    # 0.5 s start and 19.5 s load, 10 s work, 5 s idle, then away
    assert found["timeline"]["column_s"] == 1.0
    row = found["timeline"]["models"]["talker"]
    assert row["doing"] == "L" * 20 + "#" * 10 + "-" * 5 + "." * 25
    assert row["loads"] == " " * 20 + "1" + " " * 39
    assert found["timeline"]["waiting"] == "1" * 20 + " " * 40


def test_the_timeline_is_drawn(bench: Bench) -> None:
    pytest.importorskip("matplotlib")
    picture = bench.folder / "timeline.png"
    bench.report(DEVICES + model("talker"), "duration_s = 60\n" + stream("talker"), "--png", str(picture))
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_picture_without_the_library_says_what_to_install(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    done = bench.call(DEVICES + model("talker"), "duration_s = 60\n", "--png", "x.png")
    assert done.exit_code == 1
    assert "pip install 'vramd[bench]'" in done.stderr


@pytest.mark.parametrize(
    ("traffic", "why"),
    [
        ("", "duration_s: is missing"),
        ("duration_s = 0", "duration_s: must be more than 0"),
        ("duration_s = 60\nsede = 1", "sede: unknown key; did you mean seed?"),
        ("duration_s = 60\nstream = 1", "stream: expected tables, each under its name in double brackets"),
        ("duration_s = 60\n[[stream]]\nmodel = 'talker'\nevery_s = 1", "stream: 1: tokens: is missing"),
        (
            "duration_s = 60\n" + stream("talker", tokens=[5, 1]),
            "stream: 1: tokens: expected a number or [least, most]",
        ),
        ("duration_s = 60\n" + stream("talker", every_s=0), "every_s: may be 0 only where arrivals are closed"),
        ("duration_s = 60\n" + stream("talker", arrivals="often"), "expected one of poisson, fixed, closed"),
        ("duration_s = 60\n" + stream("talker", priority="high"), "expected one of interactive, normal, batch"),
        ("duration_s = 60\n" + stream("walker"), "stream 1: there is no model walker, only talker"),
        ("duration_s = 60\n[models.walker]\nload_s = 1", "models: there is no model walker"),
        ("duration_s = 60\n[[program]]\ndevice = 'gpu7'\nsize = '1GiB'", "program 1: there is no device gpu7"),
        ("duration_s = 60\n[machine]\nread_per_s = 'fast'", "machine: read_per_s: "),
        ("duration_s = ", "is no valid TOML"),
        ("duration_s = 60\n" + stream("talker", start_s=50, end_s=20), "end_s: must be later than start_s, 50"),
        ("duration_s = 60\n" + stream("talker", clients=10**9), "at most 1,000,000 times are simulated"),
        ("duration_s = 1e10\n" + stream("talker"), "at most 1,000,000 times are simulated"),
        ("duration_s = 60\n[models.talker]\nload_s = -1", "models: talker: load_s: must be 0 or more"),
    ],
)
def test_a_traffic_that_cannot_stand_is_refused_with_the_place(bench: Bench, traffic: str, why: str) -> None:
    done = bench.call(DEVICES + model("talker"), traffic)
    assert done.exit_code == 2
    assert why in done.stderr


def test_a_device_of_unknown_size_is_asked_for(bench: Bench) -> None:
    done = bench.call('[models.t]\nengine = "simulated"\nmemory = { host = "1GiB" }\n', "duration_s = 60\n")
    assert done.exit_code == 2
    assert "--device host=16GiB" in done.stderr


def test_a_budget_is_had_whole_whatever_the_headroom(bench: Bench) -> None:
    config = f"[server]\nspare = false\nheadroom = '20%'\n[devices.host]\nbudget = '4GiB'\n{model('big', card='')}"
    config = config.replace('host = "100MiB"', 'host = "4GiB"')
    assert bench.report(config, "duration_s = 60\n" + stream("big"))["requests"]["answered"] == 1


@pytest.mark.parametrize("table", [Traffic, Stream, Program, Machine, Speed])
def test_every_key_of_a_traffic_is_described(table: type[Traffic]) -> None:
    text = (EXAMPLES.parent / "simulation.md").read_text("utf-8")
    tables = {"models", "machine", "stream", "program"}
    assert not [key.name for key in fields(table) if key.name not in tables and f"`{key.name}`" not in text]


@given(st.lists(st.floats(0, 1e6), min_size=1))
def test_a_percentile_is_a_wait_that_as_many_do_not_exceed(seconds: list[float]) -> None:
    found = waits(seconds)
    assert found is not None
    for share, value in ((0.5, found.p50_s), (0.99, found.p99_s)):
        assert value in seconds
        assert sum(one <= value for one in seconds) >= share * len(seconds)
        assert sum(one < value for one in seconds) < share * len(seconds)
    assert found.max_s == max(seconds)


def test_the_clock_keeps_the_order_and_forgets_what_was_cancelled() -> None:
    clock = VirtualClock()
    done: list[str] = []

    def go_back() -> None:
        done.append("first")
        clock.at(0.0, lambda: done.append("in the past"))

    clock.after(2.0, lambda: done.append("late"))
    clock.after(1.0, go_back)
    clock.after(1.0, lambda: done.append("second"))
    cancel = clock.after(1.5, lambda: done.append("cancelled"))
    cancel()
    while clock.step():
        pass
    assert done == ["first", "second", "in the past", "late"]
    assert clock.now_s == 2.0
