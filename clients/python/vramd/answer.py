"""What has come of an answer so far. Pure; shared by both kinds of stream."""

import copy

from vramd.answer_values import Finish, Usage
from vramd.errors import Internal, VramdError
from vramd.replies import Piece


class Answer:
    """Pieces put together."""

    def __init__(self) -> None:
        self.finish: Finish | None = None
        """None before the end, and where there was none."""
        self.cancelled = False
        """Ended from here: nothing more is owed."""
        self._failure: VramdError | None = None
        """Why it broke off."""
        self._texts: list[str] = []
        self._token_ids: list[int] = []

    def __str__(self) -> str:
        if self._failure is not None:
            how = self._failure.reason
        else:
            how = self.finish.reason if self.finish else "CANCELLED" if self.cancelled else "on its way"
        return f"{len(self._token_ids)} tokens, {how}"

    @property
    def text(self) -> str:
        """So far."""
        return "".join(self._texts)

    @property
    def token_ids(self) -> tuple[int, ...]:
        """So far."""
        return tuple(self._token_ids)

    @property
    def is_broken(self) -> bool:
        """Whether an error was its end."""
        return self._failure is not None

    def take(self, piece: Piece | None) -> str | None:
        """Adds a piece and gives its text, which may be empty; None is the end and gives None.

        Raises Internal for an end that nobody announced.
        """
        if piece is None:
            if self.finish is None and not self.cancelled and self._failure is None:
                raise Internal("INTERNAL", "the answer ended without saying how")
            return None
        self._texts.append(piece.text)
        self._token_ids.extend(piece.token_ids)
        self.finish = piece.finish or self.finish
        return piece.text

    def break_off(self, failure: VramdError) -> None:
        """Remembers an error, without the frames that it came through: they would keep this alive."""
        self._failure = copy.copy(failure)

    def failure(self) -> VramdError:
        """The error that broke it off, to be raised anew."""
        assert self._failure is not None
        return copy.copy(self._failure)

    def ended(self) -> Finish:
        """How it ended; of one that was cancelled only the tokens that came are known."""
        return self.finish or Finish("CANCELLED", Usage(0, len(self._token_ids), 0.0, 0.0))
