"""A model as llama.cpp holds it: its vocabulary and its file's metadata. Thread-safe."""

import ctypes
from array import array
from collections.abc import Sequence
from functools import lru_cache
from types import ModuleType

from vramd_common.reasons import Reason

from vramd_worker.engine import EngineError

_PIECE_BYTES = 256


class NativeModel:
    """Wraps the handle of a model and frees it."""

    def __init__(self, library: ModuleType, handle: int) -> None:
        self._library = library
        self.handle = handle
        self.vocabulary = int(library.llama_model_get_vocab(handle))
        self.vocabulary_tokens = int(library.llama_vocab_n_tokens(self.vocabulary))
        self.trained_context_tokens = int(library.llama_model_n_ctx_train(handle)) & 0xFFFFFFFF
        """Unsigned in the file, signed in llama.cpp."""
        self.embedding_dimensions = int(library.llama_model_n_embd_out(handle))
        template = library.llama_model_chat_template(handle, None)
        self.chat_template = "" if template is None else bytes(template).decode("utf-8", "replace")
        """Empty if the file has none."""
        self.bos = self._special(library.llama_vocab_bos)
        self.eos = self._special(library.llama_vocab_eos)
        self.separator = self._special(library.llama_vocab_sep)
        self.adds_bos = bool(library.llama_vocab_get_add_bos(self.vocabulary))
        self.piece = lru_cache(maxsize=4096)(self._piece)
        """Returns the bytes of a token in an answer; control tokens have none."""
        self.said = lru_cache(maxsize=4096)(self._said)
        """Returns the bytes of a token, or the name of a control token."""

    def close(self) -> None:
        """Frees the weights. All contexts of the model must be closed."""
        self._library.llama_model_free(self.handle)

    def _special(self, which: object) -> int | None:
        assert callable(which)
        token = int(which(self.vocabulary))
        return token if 0 <= token < self.vocabulary_tokens else None

    def metadata(self, key: str) -> str | None:
        """Returns a scalar of the file's header as text; None if it is missing."""
        buffer = ctypes.create_string_buffer(256)
        length = int(self._library.llama_model_meta_val_str(self.handle, key.encode(), buffer, len(buffer)))
        return None if length < 0 else buffer.value.decode("utf-8", "replace")

    def architecture_metadata(self, key: str) -> str | None:
        """Returns a scalar whose key begins with the architecture's name."""
        return self.metadata(f"{self.metadata('general.architecture')}.{key}")

    @property
    def is_limited_to_training(self) -> bool:
        """Whether positions past the trained context do not exist (learned embeddings): computing one would abort."""
        rotary = int(self._library.llama_model_rope_type(self.handle)) != int(self._library.LLAMA_ROPE_TYPE_NONE)
        recurrent = bool(self._library.llama_model_is_recurrent(self.handle))
        return not self.is_causal or not (rotary or recurrent)

    @property
    def is_causal(self) -> bool:
        """Whether a token sees only those before it; false for encoders."""
        return self.architecture_metadata("attention.causal") != "false" and not self.is_encoder

    @property
    def is_encoder(self) -> bool:
        """Whether it has an encoder only (T5 encoders; to llama.cpp BERT is a decoder without causality)."""
        library = self._library
        return bool(library.llama_model_has_encoder(self.handle)) and not library.llama_model_has_decoder(self.handle)

    @property
    def unsupported_kind(self) -> str:
        """Why this engine cannot run it, in words; empty if it can."""
        if self._library.llama_model_is_diffusion(self.handle):
            return "diffusion models are not supported"
        if self._library.llama_model_has_encoder(self.handle) and self._library.llama_model_has_decoder(self.handle):
            return "models of an encoder and a decoder are not supported"
        return ""

    @property
    def has_tokenizer(self) -> bool:
        return int(self._library.llama_vocab_type(self.vocabulary)) != int(self._library.LLAMA_VOCAB_TYPE_NONE)

    def check_tokens(self, token_ids: Sequence[int]) -> None:
        """Raises EngineError for an id that the vocabulary does not have."""
        if token_ids and not 0 <= min(token_ids) <= max(token_ids) < self.vocabulary_tokens:
            wrong = next(token for token in token_ids if not 0 <= token < self.vocabulary_tokens)
            raise EngineError(Reason.FIELD_INVALID, f"{wrong} is no token of this model", field="token_ids")

    def detokenize(self, token_ids: Sequence[int]) -> bytes:
        """Returns the bytes of the tokens, control tokens by name. Raises EngineError for an invalid id."""
        self.check_tokens(token_ids)
        tokens = (ctypes.c_int32 * len(token_ids)).from_buffer(array("i", token_ids))
        room = 16 * len(token_ids) + 16
        while True:
            buffer = ctypes.create_string_buffer(room)
            length = int(
                self._library.llama_detokenize(self.vocabulary, tokens, len(tokens), buffer, room, False, True)
            )
            if length >= 0:
                return buffer.raw[:length]
            room = -length

    def name(self, token: int | None) -> str:
        """Returns the text of a control token as templates write it."""
        return "" if token is None else bytes(self._library.llama_vocab_get_text(self.vocabulary, token)).decode()

    def ends_answer(self, token: int) -> bool:
        return bool(self._library.llama_vocab_is_eog(self.vocabulary, token))

    def _said(self, token: int) -> bytes | str:
        return self.piece(token) or self._piece(token, by_name=True).decode("utf-8", "replace")

    def _piece(self, token: int, by_name: bool = False) -> bytes:
        room = _PIECE_BYTES
        while True:
            buffer = ctypes.create_string_buffer(room)
            length = int(self._library.llama_token_to_piece(self.vocabulary, token, buffer, room, 0, by_name))
            if length >= 0:
                return buffer.raw[:length]
            room = -length
