"""`vramd bench concurrency`, `talk` and `prompt`: what is said, and what is made of the measurements."""

from vramd_bench import concurrency, prompt, talk
from vramd_bench.figures import Figure
from vramd_bench.prompt import Beside
from vramd_bench.streamed import Live, Streamed
from vramd_bench.talk import Script, Talk


def judgements(figures: list[Figure]) -> dict[str, tuple[float, bool | None]]:
    return {f.name: (round(f.spread.median, 3), f.met) for f in figures if " / " in f.name}


RATES = {
    "vramd": {1: [60.0], 2: [56.0], 8: [96.0]},
    "plain loop, one batch": {1: [60.0], 2: [50.0], 8: [100.0]},
    "plain loop, in turn": {1: [60.0], 2: [60.0], 8: [60.0]},
}


def test_the_total_is_held_against_the_better_of_batch_and_turns() -> None:
    assert judgements(concurrency.judged(RATES)) == {
        "vramd / the better loop, 1 stream": (1.0, True),
        "vramd / the better loop, 2 streams": (0.933, False),
        "vramd, 2 streams / fewer": (0.933, False),
        "vramd / the better loop, 8 streams": (0.96, False),
        "vramd, 8 streams / fewer": (1.714, True),
        "vramd / one batch, 8 streams": (0.96, True),
    }


def test_llama_server_is_a_bar_with_eight_streams_and_told_with_others() -> None:
    rates = {**RATES, "llama-server": {1: [70.0], 2: [70.0], 8: [90.0]}}
    found = judgements(concurrency.judged(rates))
    assert found["vramd / llama-server, 2 streams"] == (0.8, None)
    assert found["vramd / llama-server, 8 streams"] == (1.067, True)


def test_the_total_lasts_from_the_first_request_to_the_last_token() -> None:
    early, late = Streamed(1.0, (2.0, 3.0), (1, 1)), Streamed(1.5, (4.0, 5.0), (1, 5))
    assert concurrency.total_rate([early, late]) == 2.0


class Said:
    """Says one word to each prompt."""

    def __init__(self) -> None:
        self.prompts: list[str] = []

    def stream(self, tokens: int, prompt: str = "", live: Live | None = None) -> Streamed:
        assert tokens
        assert live is None
        self.prompts.append(prompt)
        turn = len(self.prompts)
        return Streamed(0.0, (turn / 10,), (1,), f" a{turn}", cached_tokens=7, prompt_tokens=10)


def test_a_conversation_goes_on_with_its_answers() -> None:
    said = Said()
    found = Script(" once", " more", 3).run(said)
    first = said.prompts[0]
    assert first.endswith("One two three. once")
    assert said.prompts == [first, f"{first} a1 more", f"{first} a1 more a2 more"]
    assert found == Talk((0.1, 0.2, 0.3), 14, 20, said.prompts[1].partition(" ")[2])
    assert Script(" once", " more", 3).run(Said()).firsts_s == (0.1, 0.2, 0.3)


def test_no_conversation_begins_like_another() -> None:
    said = Said()
    for _ in range(2):
        Script(" once", " more", 1).run(said)
    one, other = (prompt.partition(" ")[0] for prompt in said.prompts)
    assert one != other


def test_later_turns_are_held_against_a_turn_without_reuse_of_their_run() -> None:
    talks = {
        "vramd": [Talk((5.0, 0.4, 0.6), 15, 20, ""), Talk((5.0, 1.0, 1.0), 15, 20, "")],
        "llama-server": [Talk((5.0, 0.5, 0.5), 15, 20, ""), Talk((5.0, 1.0, 2.0), 15, 20, "")],
    }
    figures = talk.judged(talks, {"vramd": [4.0, 10.0], "llama-server": [4.0, 10.0]})
    found = {f.name: f.spread.runs for f in figures}
    assert found["vramd, later turns / without reuse"] == (0.1, 0.15, 0.1, 0.1)
    assert found["vramd / llama-server, later turns"] == (0.8, 1.2, 1.0, 0.5)
    assert found["prompts from the cache, vramd"] == (0.75, 0.75)


def test_what_a_prompt_costs_the_streams_is_told_up_to_its_first_token() -> None:
    times_s = (1.0, 2.0, 3.0, 4.0, 5.5, 8.0, 9.0)
    stream = Streamed(0.0, times_s, (1,) * 7)
    alone, long = Streamed(0.0, (3.0,), (1,)), Streamed(4.5, (8.5,), (1,))
    found = prompt.seen(alone, long, 0.5, [stream])
    assert found == Beside(alone_s=3.0, beside_s=4.0, rate_before=1.0, rate_beside=0.5, gap_s=2.5)


def test_a_stream_that_stood_still_has_its_gap_too() -> None:
    found = prompt.seen(Streamed(0.0, (1.0,), (1,)), Streamed(4.0, (9.0,), (1,)), 0.0, [Streamed(0.0, (1.0,), (1,))])
    assert found.gap_s == 5.0
    assert found.rate_beside == 0.0


def test_vramds_prompt_has_bars_and_llama_servers_has_none() -> None:
    one = Beside(alone_s=4.0, beside_s=6.0, rate_before=100.0, rate_beside=50.0, gap_s=0.1)
    found = judgements(prompt.judged({"vramd": [one], "llama-server": [one]}))
    assert found == {
        "streams beside / before, vramd": (0.5, False),
        "prompt beside / alone, vramd": (1.5, True),
        "streams beside / before, llama-server": (0.5, None),
        "prompt beside / alone, llama-server": (1.5, None),
    }
