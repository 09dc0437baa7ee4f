"""Conversations through the template of the model's file."""

import time
from pathlib import Path

import pytest
from support.gguf_models import CHAT_TEMPLATE, random_llama
from support.llama_engines import Answer, ask, loaded, spec
from vramd_proto.v1.reasons import Reason
from vramd_worker.engine import Job, Message, Sampling

pytest.importorskip("llama_cpp")

GREEDY = Sampling(temperature=0)
CONVERSATION = (Message("system", "be kind"), Message("user", "hi"))


def converse(folder: Path, template: str | None, *prompts: str | tuple[Message, ...]) -> list[Answer]:
    """What a model with this template answers to the conversation, and then to the prompts."""
    path = random_llama(folder / "model.gguf", chat_template=template)
    with loaded(spec(path)) as engine:
        return [ask(engine, Job(prompt, GREEDY, max_tokens=12)) for prompt in (CONVERSATION, *prompts)]


@pytest.mark.parametrize(
    ("template", "prompt"),
    [
        (CHAT_TEMPLATE, "system: be kind\nuser: hi\nassistant:"),
        ("{{ bos_token }}{{ messages[1].content }}{{ eos_token }}", "<s>hi</s>"),
        ("{% for m in messages %}\n  {% if m.role == 'user' %}\n{{ m.content }}\n  {% endif %}\n{% endfor %}", "hi\n"),
        ("{% for m in messages %}{% if loop.last %}{% break %}{% endif %}{{ m.content }}{% endfor %}", "be kind"),
        ("{{ messages | tojson }}", '[{"role": "system", "content": "be kind"}, {"role": "user", "content": "hi"}]'),
        ("{% generation %}{{ messages[1]['content'] }}{% endgeneration %}", "hi"),
        ("{{ strftime_now('%%') }}{% if tools %}tools{% endif %}", "%"),
        ("{{ messages[0].content.upper() }}", "BE KIND"),
    ],
)
def test_a_template_is_rendered_as_its_makers_do(tmp_path: Path, template: str, prompt: str) -> None:
    chat, plain = converse(tmp_path, template, prompt)
    assert chat.finish.prompt_tokens == plain.finish.prompt_tokens
    assert chat.token_ids == plain.token_ids


def test_the_conversation_makes_a_difference(tmp_path: Path) -> None:
    one, other = converse(tmp_path, CHAT_TEMPLATE, (Message("user", "something else"),))
    assert one.token_ids != other.token_ids


@pytest.mark.parametrize(
    ("template", "said"),
    [
        (None, "no chat template"),
        ("{{ raise_exception('only one user, please') }}", "only one user, please"),
        ("{% for %}", "Expected an expression"),
        ("{{ messages[7].content }}", "no element 7"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ messages.append(1) }}", "unsafe"),
        ("{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}{% endfor %}", "more than 2 s"),
    ],
)
def test_a_template_that_cannot_be_used_is_told(tmp_path: Path, template: str | None, said: str) -> None:
    began_s = time.monotonic()
    chat, plain = converse(tmp_path, template, "hi")
    assert chat.error is not None
    assert chat.error.reason is Reason.CHAT_TEMPLATE_UNUSABLE
    assert said in str(chat.error)
    assert plain.finish.completion_tokens > 0
    assert time.monotonic() - began_s < 10
