"""What has come of an answer so far. Pure; shared by both kinds of stream."""

from collections.abc import Iterator
from contextlib import contextmanager

from vramd.answer_values import Finish
from vramd.errors import Internal, VramdError
from vramd.replies import Piece


class Answer:
    """Pieces put together."""

    def __init__(self) -> None:
        self.finish: Finish | None = None
        self.cancelled = False
        """Ended from here: nothing more is owed."""
        self.error: VramdError | None = None
        """Why it broke off."""
        self._texts: list[str] = []
        self._token_ids: list[int] = []

    @property
    def text(self) -> str:
        """So far."""
        return "".join(self._texts)

    @property
    def token_ids(self) -> tuple[int, ...]:
        """So far."""
        return tuple(self._token_ids)

    def take(self, piece: Piece | None) -> str | None:
        """Adds a piece and gives its text, which may be empty; None is the end and gives None.

        Raises Internal for an end that nobody announced.
        """
        if piece is None:
            if self.finish is None and not self.cancelled and self.error is None:
                raise Internal("INTERNAL", "the answer ended without saying how")
            return None
        self._texts.append(piece.text)
        self._token_ids.extend(piece.token_ids)
        self.finish = piece.finish or self.finish
        return piece.text

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Remembers the error that the block raises."""
        try:
            yield
        except VramdError as error:
            self.error = error
            raise
