"""What models are good at, and what words for a task or a role mean. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath

from ..domain.catalog import Model, ModelFile
from ..quoting.closed_form import embeds

TASK_PREFIX = "task:"
"""Before a task that stands in the place of a model."""

DIALOGUE, CODE, MATH, REASONING = "dialogue", "code", "math", "reasoning"
WRITING, SUMMARY, TRANSLATION, EMBEDDING = "writing", "summary", "translation", "embedding"

_SAID: Mapping[str, str] = {
    DIALOGUE: "dialog chat conversation talk assistant assistance general instruct qa question_answering npc"
    " text_generation",
    CODE: "coding programming program software debug debugging refactoring autocomplete fim sql",
    MATH: "maths mathematics arithmetic calculation algebra geometry proof",
    REASONING: "reason logic thinking planning analysis problem_solving",
    WRITING: "creative_writing creative story stories storytelling fiction poetry poem roleplay narration",
    SUMMARY: "summarization summarisation summarize summarise summaries",
    TRANSLATION: "translate translating localization localisation",
    EMBEDDING: "embed embeddings retrieval rag similarity semantic_search vectors",
}
TASKS: Mapping[str, str] = {word: task for task, words in _SAID.items() for word in (task, *words.split())}
"""Word → the task that is meant. A task of another name is one that the configuration gives a model."""


@dataclass(frozen=True)
class Role:
    """What somebody who asks needs beside the task."""

    task: str
    thorough: bool = False
    """A large model is worth its time."""


_PLAYED: Mapping[Role, str] = {
    Role(REASONING, thorough=True): "architect planner strategist reviewer critic judge analyst expert researcher"
    " scientist",
    Role(CODE): "coder developer programmer engineer tester",
    Role(DIALOGUE): "npc companion avatar character friend assistant receptionist tutor recorder",
    Role(WRITING): "narrator storyteller writer author poet",
    Role(MATH): "mathematician calculator accountant",
    Role(TRANSLATION): "translator interpreter",
    Role(SUMMARY): "summarizer summariser secretary",
}
ROLES: Mapping[str, Role] = {word: role for role, words in _PLAYED.items() for word in words.split()}

_HINTS: Mapping[str, str] = {
    CODE: r"code\w*|coding|\w*(?<!en)(?<!de)coder\d*|codestral|devstral|program\w*",
    MATH: r"(deepseek|wizard|meta|ace|open)?math\w*|prover",
    REASONING: r"reason\w*|think\w*|r1|qwq|magistral",
    WRITING: r"(tiny)?stor(y|ies)\w*|writer|writing|novel\w*|fiction|creative|roleplay|narrat\w*",
    SUMMARY: r"summar\w*",
    TRANSLATION: r"translat\w*|madlad\d*|nllb",
}
"""Words of a model's id, of the titles in its header, and of its file that tell what it is made for."""

GENERALIST, SPECIALIST_ELSEWHERE, UNTRAINED = 0.5, 0.3, 0.1
"""How well a model does what it is not made for: one for dialogue, one for something else, one that only goes on with
a text. What it is made for counts 1."""


@dataclass(frozen=True)
class Specialties:
    """What a model is good at."""

    tasks: tuple[str, ...]
    general: float
    """How well it does anything else, 0 to 1."""
    source: str
    """How that is known."""

    def suits(self, task: str) -> float:
        """0 (not at all) to 1 (made for it)."""
        if task in self.tasks:
            return 1.0
        return min(self.general, UNTRAINED) if task == EMBEDDING else self.general


def task_of(words: str) -> str:
    """The task that is meant: "code_generation" is "code". What nobody knows keeps its own name."""
    name = "_".join(re.findall(r"\w+", words.lower().replace("-", "_")))
    known = (TASKS[part] for part in (name, *name.split("_")) if part in TASKS)
    return next(known, name)


def role_of(words: str) -> Role | None:
    """The role that is meant: a "senior architect" is an architect. None: nobody knows it."""
    return next((ROLES[word] for word in re.findall(r"[^\W_]+", words.lower()) if word in ROLES), None)


def specialties(model: Model) -> Specialties:
    """As configured, else guessed from the header and the names of the model."""
    if model.tasks:
        tasks = tuple(dict.fromkeys(map(task_of, model.tasks)))
        general = 0.0 if tasks == (EMBEDDING,) else GENERALIST if DIALOGUE in tasks else SPECIALIST_ELSEWHERE
        return Specialties(tasks, general, "the configuration says so")
    file = model.source
    if not isinstance(file, ModelFile):
        return Specialties((DIALOGUE,), GENERALIST, "it is simulated")
    if embeds(file.shape):
        return Specialties((EMBEDDING,), 0.0, "its header says so")
    words = {word for text in (model.id, PurePath(file.path).stem, *file.titles) for word in _words(text)}
    if tasks := tuple(task for task, hint in _HINTS.items() if any(re.fullmatch(hint, word) for word in words)):
        general = SPECIALIST_ELSEWHERE if file.has_chat_template else UNTRAINED
        return Specialties(tasks, general, "its name says so")
    if file.has_chat_template:
        return Specialties((DIALOGUE,), GENERALIST, "it has a chat template")
    return Specialties((), UNTRAINED, "it has no chat template")


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())
