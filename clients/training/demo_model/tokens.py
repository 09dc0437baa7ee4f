"""A model's tokenizer: byte-level BPE, trained with its merges, and the proof that llama.cpp splits alike."""

import json
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from vramd_worker.llama.load import start_engine
from vramd_worker.llama.model import NativeModel
from vramd_worker.llama.tokenizing import Segment, at_once
from vramd_worker.llama.tokenizing import Tokenizer as NativeTokenizer
from vramd_worker.llama.vocabulary import vocabulary_of

from demo_model.turns import Turn

BEGIN, USER, ASSISTANT, END = "<|begin|>", "<|user|>", "<|assistant|>", "<|end|>"
CONTROLS = (BEGIN, USER, ASSISTANT, END)
"""The marks of turns: one token each, ids 0 to 3."""
BEGIN_ID, USER_ID, ASSISTANT_ID, END_ID = range(4)
CHAT_TEMPLATE = (
    "{{ bos_token }}"
    # Three turns is what the training has; more would only confuse. No system message was ever seen either.
    "{% for message in messages[-5:] %}"
    "{% if message['role'] == 'user' or message['role'] == 'assistant' %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}"
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
# What llama.cpp splits with under `tokenizer.ggml.pre = gpt-2`.
_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"

_DIGIT = re.compile(r"\d")


@dataclass(frozen=True)
class Vocabulary:
    """What a GGUF says of a tokenizer."""

    tokens: tuple[str, ...]
    merges: tuple[str, ...]


class Splitter:
    """Splits texts as the training does."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    @classmethod
    def trained(cls, texts: Iterable[str], size: int, *, digit_by_digit: bool) -> "Splitter":
        """Learns its merges from the texts; every byte is a token of its own, so that any text can be split."""
        if digit_by_digit:
            # What it never sees, it never merges.
            texts = (_DIGIT.sub("", text) for text in texts)
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(_WORDS), behavior="isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=size,
            special_tokens=list(CONTROLS),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        tokenizer.train_from_iterator(texts, trainer)
        return cls(tokenizer)

    @property
    def vocabulary(self) -> Vocabulary:
        """Its tokens in the order of their ids, and its merges, first learned first."""
        model = json.loads(self._tokenizer.to_str())["model"]
        ids: dict[str, int] = model["vocab"]
        merges = tuple(merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"])
        return Vocabulary(tuple(sorted(ids, key=ids.__getitem__)), merges)

    def split(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text."""
        return [list(encoding.ids) for encoding in self._tokenizer.encode_batch(texts)]


def render(turns: Sequence[Turn]) -> str:
    """A dialogue as the model reads it, from the begin to the last reply's end."""
    return BEGIN + "".join(f"{USER}{turn.prompt}{END}{ASSISTANT}{turn.reply}{END}" for turn in turns)


def check_template(dialogues: Sequence[Sequence[Turn]]) -> None:
    """Raises AssertionError unless the chat template renders the dialogues as `render` does."""
    template = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True).from_string(CHAT_TEMPLATE)
    for turns in dialogues:
        said = chain.from_iterable((("user", turn.prompt), ("assistant", turn.reply)) for turn in turns)
        messages = [{"role": role, "content": text} for role, text in said]
        prompt = template.render(messages=messages[:-1], add_generation_prompt=True, bos_token=BEGIN)
        assert prompt + turns[-1].reply + END == render(turns), prompt


def check_against_llama(path: Path, texts: Sequence[str], ids: Sequence[Sequence[int]]) -> None:
    """Raises AssertionError with the first text that llama.cpp, with the file's tokenizer, splits in another way."""
    library = start_engine(untested=False)
    parameters = library.llama_model_default_params()
    parameters.vocab_only = True
    handle = library.llama_model_load_from_file(os.fsencode(path), parameters)
    assert handle is not None, f"llama.cpp cannot load {path}"
    model = NativeModel(library, int(handle))
    tokenizer = NativeTokenizer(library, model, vocabulary_of(library, model))
    for text, expected in zip(texts, ids, strict=True):
        found = at_once(tokenizer.ids([Segment(text, special=True)], "text")).tolist()
        assert found == list(expected), f"{text!r}: llama.cpp has {found}, the training {list(expected)}"
    model.close()
