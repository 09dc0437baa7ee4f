"""Of several models for one task, the one that answers soonest."""

import vramd
from support.supervisor_process import CARD, SupervisorProcess, busy, simulated, until

CONFIGURATION = CARD + "\n".join(
    (
        simulated("first", tasks=["story"], parallel=1, tokens_per_s=40, load_s=0),
        simulated("second", tasks=["story"], parallel=1, tokens_per_s=40, load_s=0.5),
        simulated("slow-first", tasks=["sonnet"], load_s=0),
        simulated("slow-second", tasks=["sonnet"], load_s=600),
    )
)


def who_answers(client: vramd.Client, task: str) -> str:
    timeline = client.generate(f"task:{task}", "x", max_tokens=2).timeline
    assert timeline is not None
    return timeline.model


def test_one_that_is_loaded_goes_before_one_that_is_not(client: vramd.Client) -> None:
    assert client.select("story").model == "first"
    client.load("second")
    assert client.select("story").model == "second"
    assert who_answers(client, "story") == "second"


def test_one_that_is_being_loaded_goes_before_one_that_is_not(shared: SupervisorProcess, client: vramd.Client) -> None:
    assert client.select("sonnet").model == "slow-first"
    with shared.news() as story, client.generate("slow-second", "x"):
        story.reached("slow-second", "LOADING")
        chosen = client.select("sonnet")
        assert (chosen.model, chosen.loaded) == ("slow-second", False)


def test_where_one_has_no_place_left_the_other_answers_and_the_first_again_once_it_has(client: vramd.Client) -> None:
    client.load("first")
    client.load("second")
    assert who_answers(client, "story") == "first"
    with busy(client, "first") as answer:
        assert who_answers(client, "story") == "second"
        assert next(answer)
    until("it has a place", lambda: client.load("first").in_flight == 0)
    assert who_answers(client, "story") == "first"
