"""What a prompt leaves in the cache: for callers with the same token, for all if it says so, and none of it is told."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import vramd
import vramd_cli
from support.gguf_models import random_llama
from support.supervisor_process import SupervisorProcess

pytest.importorskip("llama_cpp")

MODEL = Path(vramd_cli.__file__).parent / "demo_models" / "companion.gguf"
WARM = "You are a guide of this town, and you know each of its streets by name."
STORY = "Kim sounds like good company. Do you and Kim talk about"
QUESTION = "What do you think about music, and about the rain that falls in the summer?"


@pytest.fixture(scope="module")
def supervisor(folder: Path) -> Iterator[SupervisorProcess]:
    guide = random_llama(folder / "guide.gguf")
    models = f'[models.companion]\npath = "{MODEL}"\n[models.guide]\npath = "{guide}"\nwarm_prompt = "{WARM}"\n'
    with SupervisorProcess(models) as one:
        yield one.ready()


@pytest.fixture
def one(supervisor: SupervisorProcess) -> vramd.Client:
    return supervisor.client()


@pytest.fixture
def other(supervisor: SupervisorProcess) -> vramd.Client:
    """A client with another token."""
    return supervisor.stranger(supervisor.folder.use_token_file.read_text("utf-8").strip())


def cached(client: vramd.Client, question: str, system: str = "", session: str | None = None) -> int:
    """Tokens of this prompt that were in the cache."""
    messages = [("system", system)] * bool(system) + [("user", question)]
    answer = client.chat("guide" if system else "companion", messages, max_tokens=20, session=session)
    found = answer.finish.usage.cached_prompt_tokens
    assert answer.timeline is not None
    assert answer.timeline.cached_prompt_tokens == found
    return found


def test_a_private_prompt_is_for_callers_with_the_same_token(one: vramd.Client, other: vramd.Client) -> None:
    assert cached(one, f"A: {QUESTION}") == 0
    again = cached(one, f"A: {QUESTION}")
    assert again > 0
    assert cached(other, f"A: {QUESTION}") == 0, "its time would tell what another has asked"
    assert cached(other, f"A: {QUESTION}") == again, "now it has asked so itself"


def test_a_shared_prompt_is_for_all_and_its_answer_is_not(one: vramd.Client, other: vramd.Client) -> None:
    first = one.generate("companion", STORY, max_tokens=20, temperature=0, cache="shared")
    story, prompt_tokens = f"{STORY}{first.text} and", first.finish.usage.prompt_tokens

    def cached_of_story(client: vramd.Client) -> int:
        return client.generate("companion", story, max_tokens=1).finish.usage.cached_prompt_tokens

    assert 0 < cached_of_story(other) <= prompt_tokens < cached_of_story(one)


def test_a_name_of_a_conversation_opens_nothing_of_another_token(one: vramd.Client, other: vramd.Client) -> None:
    assert cached(one, f"C: {QUESTION}", session="tea") == 0
    assert cached(other, f"C: {QUESTION}", session="tea") == 0
    assert cached(one, f"C: {QUESTION}", session="tea") > 0


def test_a_warm_prompt_is_there_before_the_first_request_of_any_token(one: vramd.Client, other: vramd.Client) -> None:
    for client in (other, one):
        tokens = cached(client, f"D: {QUESTION}", WARM)
        assert tokens > len(WARM) // 8
    assert f"the warm prompt has {tokens} tokens" in "\n".join(one.logs("guide"))
