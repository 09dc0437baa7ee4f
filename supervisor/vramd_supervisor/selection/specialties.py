"""Specialties of models, and the meaning of words for tasks and roles. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath

from ..domain.catalog import Model, ModelFile
from ..quoting.closed_form import embeds

TASK_PREFIX = "task:"
"""Prefix that marks a model id as a task, such as task:code."""

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
"""Task for each word. Any other task is one that the configuration gives to a model."""


@dataclass(frozen=True)
class Role:
    """The needs of a caller's role."""

    task: str
    thorough: bool = False
    """Whether a large model is worth its time."""


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
"""Words in a model's id, header titles and file name that reveal its purpose."""

GENERALIST, SPECIALIST_ELSEWHERE, UNTRAINED = 0.5, 0.3, 0.1
"""Suitability for a task that a model is not made for: of a dialogue model, of a specialist in something else, and
of a model that only continues text. A task that it is made for counts 1."""


@dataclass(frozen=True)
class Specialties:
    tasks: tuple[str, ...]
    general: float
    """Suitability for any other task, 0 to 1."""
    source: str
    """Evidence for this, in words."""

    def suits(self, task: str) -> float:
        """Returns the suitability for a task, from 0 (none) to 1 (made for it)."""
        if task in self.tasks:
            return 1.0
        return min(self.general, UNTRAINED) if task == EMBEDDING else self.general


def task_of(words: str) -> str:
    """Returns the task that words mean: "code_generation" is "code". An unknown task keeps its name."""
    name = "_".join(re.findall(r"\w+", words.lower().replace("-", "_")))
    known = (TASKS[part] for part in (name, *name.split("_")) if part in TASKS)
    return next(known, name)


def role_of(words: str) -> Role | None:
    """Returns the role that words mean: a "senior architect" is an architect. None if the role is unknown."""
    return next((ROLES[word] for word in re.findall(r"[^\W_]+", words.lower()) if word in ROLES), None)


def specialties(model: Model) -> Specialties:
    """Returns a model's specialties: configured, else guessed from its header and names."""
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
