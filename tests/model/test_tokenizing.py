"""Tokens in pieces are the tokens that llama.cpp gives at once, where it can."""

import ctypes
import random
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from support.gguf_vocabularies import (
    BPE_ALPHABET,
    CONTROL,
    NORMAL,
    SPM_BASE,
    USER_DEFINED,
    Opened,
    Token,
    opened,
    write_vocabulary,
)
from vramd_common.reasons import Reason
from vramd_worker.engine import EngineError
from vramd_worker.llama.prompt_thread import STACK_BYTES
from vramd_worker.llama.tokenizing import PIECE_CHARACTERS, Segment, TooManyTokensError, at_once

pytest.importorskip("llama_cpp")

MARKS: list[Token] = [("<|end|>", CONTROL), ("<|end|>x", CONTROL), ("<tool>", USER_DEFINED)]
SPM_WORDS: list[Token] = [(f"\u2581{word}", NORMAL) for word in ("the", "th", "t", "fox", "f", "of")]
SPM: list[Token] = [*SPM_BASE, *MARKS, *SPM_WORDS, ("he", NORMAL), ("xx", NORMAL)]
BPE: list[Token] = [*BPE_ALPHABET, *MARKS, *((text, NORMAL) for text in ("th", "the", "Ġthe", "==", "====", "00"))]
BPE_MERGES = ("t h", "th e", "Ġ the", "= =", "== ==", "0 0")

random.seed(1)
SHORT = "the fox, of\n\n the  0000 naïve 漢字仮名 'll don't\t=====\r\n <|end|>the <tool> \u2581 </s>"
WORDS = " ".join(random.choices(SHORT.split(" "), k=5_000))


@pytest.fixture(scope="module", params=["spm", "spm-no-prefix", "gpt-4o", "llama-bpe", "tekken", "qwen2"])
def some(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    name = request.param
    path = tmp_path_factory.mktemp("vocabularies") / f"{name}.gguf"
    if name.startswith("spm"):
        write_vocabulary(path, "llama", SPM, space_prefix=None if name == "spm" else False)
    else:
        write_vocabulary(path, "gpt2", BPE, pre=name, merges=BPE_MERGES)
    with opened(path) as found:
        yield found


def native(found: Opened, text: str, *, special: bool = True) -> list[int]:
    data = text.encode()
    buffer = (ctypes.c_int32 * (len(data) + 8))()
    count = found.library.llama_tokenize(found.model.vocabulary, data, len(data), buffer, len(buffer), False, special)
    assert count >= 0
    return list(buffer[:count])


def ids(found: Opened, *parts: Segment, most: int | None = None) -> list[int]:
    return at_once(found.tokenizer.ids(parts, "prompt", most)).tolist()


def in_large_thread(task: "Sequence[object] | object") -> None:
    before = threading.stack_size(STACK_BYTES)
    thread = threading.Thread(target=task)  # type: ignore[arg-type]
    thread.start()
    threading.stack_size(before)
    thread.join()


@pytest.mark.parametrize("special", [True, False])
@pytest.mark.parametrize("text", [WORDS, "the\nfox\n" * 2000, "a" * 5000, "", " ", "<|end|>" * 3000, "x <tool>x" * 20])
def test_pieces_give_the_tokens_of_the_whole(some: Opened, text: str, special: bool) -> None:
    assert ids(some, Segment(text, special)) == native(some, text, special=special)


def test_a_run_without_end_is_cut_all_the_same(some: Opened) -> None:
    for run in ("=", "漢", "\n"):
        text = run * (2 * PIECE_CHARACTERS)
        found: list[int] = []
        in_large_thread(lambda text=text, found=found: found.extend(ids(some, Segment(text, special=False))))
        assert b"".join(map(some.model.piece, found)).decode().strip(" ") == text.strip(" ")


@pytest.mark.parametrize("run", ["<", "x", "<|end|>", " ", "<|", "<tool"])
def test_a_long_text_is_read_in_many_steps(some: Opened, run: str) -> None:
    text = run * (300_000 // len(run))
    steps = some.tokenizer.ids([Segment(text, special=True)], "prompt")
    for _ in range(4):
        next(steps)
    steps.close()


def test_names_that_begin_with_each_other_are_told_apart(tmp_path: Path) -> None:
    marks: list[Token] = [("<|" + "x" * length, CONTROL) for length in range(1, 1200, 7)]
    with opened(write_vocabulary(tmp_path / "v.gguf", "llama", [*SPM_BASE, *marks])) as found:
        for text in ("<|x", "<|xxxxxxxx", "a<|" + "x" * 100 + "b", "<|" * 3, "<|" + "x" * 1500):
            assert ids(found, Segment(text, special=True)) == native(found, text)


def test_control_tokens_are_read_where_they_may_be_named_and_nowhere_else(some: Opened) -> None:
    mark, longer = native(some, "<|end|>"), native(some, "<|end|>x")
    plain = native(some, "<|end|>", special=False)
    assert len(mark) == len(longer) == 1 and mark != longer and len(plain) > 1
    assert ids(some, Segment("<|end|>", special=True)) == mark
    assert ids(some, Segment("<|end|>", special=False)) == plain
    both = ids(some, Segment("<|end|>", special=True), Segment("the<|end|>", special=False))
    assert both == [*mark, *native(some, "the<|end|>", special=False)]
    # Neither half of a mark may be named by the words beside it.
    split = ids(some, Segment("<|e", special=True), Segment("nd|>", special=False))
    assert split == plain
    assert ids(some, Segment("<|e", special=True), Segment("nd|>x", special=True)) == longer


def test_words_reach_over_the_border_of_two_parts(some: Opened) -> None:
    assert ids(some, Segment("the f", special=True), Segment("ox t", special=False)) == native(some, "the fox t")


def test_what_cannot_fit_is_refused_before_it_is_read(some: Opened) -> None:
    with pytest.raises(TooManyTokensError) as caught:
        next(some.tokenizer.ids([Segment("x" * 100_000, special=True)], "prompt", 500))
    assert not caught.value.counted
    assert caught.value.tokens > 500


def test_what_is_too_long_is_counted_as_long_as_that_is_cheap(some: Opened) -> None:
    text = "漢" * 60
    whole = len(native(some, text))
    with pytest.raises(TooManyTokensError) as caught:
        ids(some, Segment(text, special=True), most=whole - 1)
    assert (caught.value.tokens, caught.value.counted) == (whole, True)
    assert len(ids(some, Segment(text, special=True), most=whole)) == whole


LACKING: dict[str, tuple[str, list[Token], str, str]] = {
    "spm of letters": ("llama", [*SPM_BASE[:3], *((one, NORMAL) for one in "abc\u2581")], "ab c", "é"),
    "spm of words": ("llama", [*SPM_BASE[:3], ("\u2581the", NORMAL)], "", "the"),
    "spm without a line break": ("llama", [one for one in SPM_BASE if one[0] != "<0x0A>"], "a", "a\nb"),
    "rwkv without unknown": ("rwkv", [("\\n", NORMAL), ("a", NORMAL)], "aa", "az"),
    "rwkv that goes round": ("rwkv", [("\\n", NORMAL), ("a", NORMAL), ("the", NORMAL)], "a", "a to"),
    "bpe without bytes": ("gpt2", [(chr(byte), NORMAL) for byte in range(0x21, 0x7F)], "abc", "aé"),
    "wpm without unknown": ("bert", [("[CLS]", CONTROL), ("\u2581the", NORMAL)], "the", "fox"),
}


@pytest.mark.parametrize("name", LACKING)
def test_a_text_that_cannot_be_spelled_is_refused_and_others_are_read(tmp_path: Path, name: str) -> None:
    model, tokens, good, bad = LACKING[name]
    with opened(write_vocabulary(tmp_path / "v.gguf", model, tokens)) as found:
        assert bool(ids(found, Segment(good, special=True))) == bool(good)
        with pytest.raises(EngineError) as caught:
            ids(found, Segment(bad, special=True))
        assert caught.value.reason is Reason.FIELD_INVALID
        assert caught.value.metadata == {"field": "prompt"}
