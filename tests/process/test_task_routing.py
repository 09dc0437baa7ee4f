"""A task in the place of a model, with real processes."""

from collections.abc import Iterator

import pytest
import vramd
from support.supervisor_process import CARD, SupervisorProcess, simulated

MODELS = (
    simulated("talker")
    + simulated("coder", card="4GiB", tasks=["code"])
    + simulated("thinker", card="9GiB", tasks=["code", "reasoning"])
    + simulated("reader", tasks=["embedding"])
)


@pytest.fixture
def supervisor() -> Iterator[SupervisorProcess]:
    with SupervisorProcess(CARD + MODELS) as process:
        yield process.ready()


def who_answers(client: vramd.Client, model: str, **settings: object) -> str:
    timeline = client.chat(model, "Hello", max_tokens=3, **settings).timeline  # type: ignore[arg-type]  # settings
    assert timeline is not None
    return timeline.model


def test_the_model_that_suits_the_task_is_loaded_and_answers(supervisor: SupervisorProcess) -> None:
    client = supervisor.client()
    assert who_answers(client, "task:code_generation") == "coder"
    assert who_answers(client, "task:dialogue") == "talker"
    assert client.embed("task:embedding", "a cat").model == "reader"
    assert client.tokenize("task:code", "a cat") == client.tokenize("coder", "a cat")
    assert [one.model for one in client.resident()] == ["coder", "reader", "talker"]


def test_a_light_model_answers_at_once_while_the_best_one_is_loaded(supervisor: SupervisorProcess) -> None:
    client = supervisor.client()
    client.load("talker")
    with supervisor.story() as story:
        assert who_answers(client, "task:code", prefer="light_now") == "talker"
        story.reached("coder", "READY")
    assert who_answers(client, "task:code", prefer="light_now") == "coder"


def test_a_task_can_be_planned_loaded_and_held(supervisor: SupervisorProcess) -> None:
    client = supervisor.client()
    assert client.plan("task:code").model == "coder"
    assert client.resident() == ()
    assert client.load("task:code").model == "coder"
    with client.hold("task:dialogue") as hold:
        assert hold.model == "task:dialogue"
        hold.ready()
        assert hold.model == "talker"
        assert sorted(one.model for one in client.resident()) == ["coder", "talker"]
    with pytest.raises(vramd.InvalidRequest, match="names no task"):
        client.load("task:")


def test_a_selection_says_why_and_loads_nothing(supervisor: SupervisorProcess) -> None:
    client = supervisor.client()
    chosen = client.select("code", role="architect")
    assert (chosen.model, chosen.loaded, chosen.fits) == ("coder", False, True)
    assert chosen.reasons[0] == "made for code: the configuration says so"
    others = {other.model: other.why_not for other in chosen.considered}
    assert others["thinker"].startswith("it does not fit: ")
    assert others["talker"].startswith("a general model, not made for code")
    assert others["reader"] == "it is for embedding only"
    assert client.resident() == ()


def test_what_names_no_task_is_refused(supervisor: SupervisorProcess) -> None:
    client = supervisor.client()
    with pytest.raises(vramd.InvalidRequest, match="names no task"):
        client.chat("task:", "Hello").text  # noqa: B018  reading it makes the call
    for task in ("", "x" * 65):
        with pytest.raises(vramd.InvalidRequest) as caught:
            client.select(task)
        assert caught.value.metadata == {"field": "task"}


def test_where_there_is_no_model_for_a_task_that_is_told() -> None:
    with SupervisorProcess(CARD + simulated("reader", tasks=["embedding"])) as process:
        client = process.ready().client()
        with pytest.raises(vramd.NotFound, match="reader: it is for embedding only"):
            client.chat("task:code", "Hello").text  # noqa: B018  reading it makes the call
        with pytest.raises(vramd.NotFound) as caught:
            client.select("code")
        assert (caught.value.reason, caught.value.metadata["model"]) == ("MODEL_NOT_FOUND", "task:code")
