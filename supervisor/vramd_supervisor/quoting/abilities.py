"""Abilities that a call needs of a model, read from its file's header before a load. Pure."""

from enum import Enum, auto

from vramd_common.reasons import Reason

from ..domain.catalog import Model, ModelFile
from ..domain.errors import Refusal, refusal
from .closed_form import embeds


class Ability(Enum):
    """An ability that a call needs of its model."""

    TEXT = auto()
    CHAT = auto()
    """Text in answer to messages, which the model's chat template formats."""
    VECTORS = auto()


def lack(model: Model, needed: Ability) -> Refusal | None:
    """Returns the refusal for an ability that a model lacks; None if it has it, or if that is unknown."""
    file = model.source
    if not isinstance(file, ModelFile):
        return None
    if needed is Ability.VECTORS:
        if embeds(file.shape):
            return None
        text = f"{model.id} gives text, and no embeddings; `vramd embed task:embedding` takes a model that gives them"
        return refusal(Reason.EMBEDDING_UNSUPPORTED, text, model=model.id)
    if embeds(file.shape):
        text = f"{model.id} gives embeddings only; `vramd run task:chat` takes a model that gives text"
        return refusal(Reason.GENERATION_UNSUPPORTED, text, model=model.id)
    if needed is Ability.CHAT and not file.has_chat_template:
        text = f"{model.id} has no chat template: send it a plain prompt (Generate; `vramd run --raw`)"
        return refusal(Reason.CHAT_TEMPLATE_UNUSABLE, text, model=model.id)
    return None
