"""What a call needs a model to be able to do, as its file's header tells it before anything is loaded. Pure."""

from enum import Enum, auto

from vramd_common.reasons import Reason

from ..domain.catalog import Model, ModelFile
from ..domain.errors import Refusal, refusal
from .closed_form import embeds


class Ability(Enum):
    """What a call asks for beside a place."""

    TEXT = auto()
    CHAT = auto()
    """Text, to messages that the model's template puts together."""
    VECTORS = auto()


def lack(model: Model, needed: Ability) -> Refusal | None:
    """Why a model cannot do it; None if it can, or if that cannot be told."""
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
