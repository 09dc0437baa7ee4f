"""`vramd bench stream`: which arms have bars, and how llama-server's answers are read."""

import threading

import pytest
from vramd_bench import stream
from vramd_bench.figures import BenchError
from vramd_bench.peer import PeerLoad, read
from vramd_bench.streamed import Live, fresh_prompt

RATES = {"vramd": [97.0], "direct": [100.0], "plain loop": [100.0], "4 KiB pages": [80.0], "llama-server": [80.0]}


def bars(threads: int, *, huge: bool) -> dict[str, bool | None]:
    return {f.name: f.met for f in stream.judged(threads, RATES, huge) if " / " in f.name}


def test_each_arm_is_judged_by_its_bar() -> None:
    assert bars(1, huge=True) == {
        "vramd / direct, 1 thread": True,
        "vramd / plain loop, 1 thread": True,
        "vramd / 4 KiB pages, 1 thread": True,
        "vramd / llama-server, 1 thread": True,
    }


def test_with_all_threads_llama_server_is_only_told() -> None:
    assert bars(2, huge=True)["vramd / llama-server, 2 threads"] is None


def test_where_there_are_no_huge_pages_there_is_nothing_to_gain() -> None:
    assert bars(1, huge=False)["vramd / 4 KiB pages, 1 thread"] is None


def test_an_arm_that_was_not_measured_has_no_ratio() -> None:
    without = {arm: values for arm, values in RATES.items() if arm != "llama-server"}
    assert not [f for f in stream.judged(1, without, huge=True) if "llama-server" in f.name]


def event(content: str, predicted: int, more: str = "") -> bytes:
    return f'data: {{"content":"{content}","tokens_predicted":{predicted},"tokens_evaluated":22{more}}}\n'.encode()


def test_llama_servers_events_are_tokens_at_their_moments() -> None:
    # The second message has two tokens: one alone made no whole character.
    last = event("", 3, ',"timings":{"cache_n":20}')
    found = read(iter([(1.0, event("a", 1)), (2.0, event("bc", 3)), (2.1, last)]), 0.5)
    assert (found.times_s, found.tokens) == ((1.0, 2.0, 2.1), (1, 2, 0))
    assert (found.text, found.cached_tokens, found.prompt_tokens) == ("abc", 20, 22)
    assert found.first_token_s == 0.5


def test_an_error_of_llama_server_is_one_of_the_benchmark() -> None:
    with pytest.raises(BenchError, match="too long"):
        read(iter([(1.0, b'data: {"error":{"message":"too long"}}\n')]), 0.0)


def test_llama_server_gets_the_same_settings_and_its_cache_only_if_wanted() -> None:
    load = PeerLoad(2048, 2, 4)
    assert "--ctx-size 2048 --parallel 4" in " ".join(load.arguments())
    assert "--no-cache-prompt" in load.arguments()
    assert "--no-cache-prompt" not in PeerLoad(2048, 2, 4, cache=True).arguments()


def test_no_two_prompts_begin_alike() -> None:
    assert fresh_prompt().split()[0] != fresh_prompt().split()[0]


def test_a_live_stream_is_waited_for_and_broken_off() -> None:
    live, ended = Live(), threading.Event()
    live.begin(ended.set)
    live.came()
    assert live.wait_for(1)
    live.break_off()
    assert ended.is_set()
    assert live.cut
    live.end()
    assert not live.wait_for(2), "none will come any more"


def test_what_is_broken_off_before_it_begins_is_ended_at_once() -> None:
    live, ended = Live(), threading.Event()
    live.break_off()
    live.begin(ended.set)
    assert ended.is_set()
