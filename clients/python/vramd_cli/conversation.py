"""Keeps a conversation within a context by dropping its oldest turns. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

FIRST_GUESS_TOKENS = 8
"""Tokens that a chat template adds to a turn, until an answer shows the real number."""

USER = "user"


@dataclass(frozen=True)
class Turn:
    role: str
    text: str
    tokens: int
    """Tokens of the text alone."""


class Conversation:
    """The system message, which is always kept, and the turns since."""

    def __init__(self, system: Turn | None) -> None:
        self._system = [system] if system else []
        self._turns: list[Turn] = []
        self._around_tokens = FIRST_GUESS_TOKENS
        """Added to each turn by the template."""

    @property
    def messages(self) -> list[tuple[str, str]]:
        """Role and text of each message, as `Client.chat` takes them."""
        return [(turn.role, turn.text) for turn in self._kept()]

    def tell(self, system: Turn | None) -> None:
        self._system = [system] if system else []

    def clear(self) -> None:
        self._turns.clear()

    def say(self, text: str, tokens: int) -> None:
        self._turns.append(Turn(USER, text, tokens))

    def answered(self, text: str, tokens: int) -> None:
        self._turns.append(Turn("assistant", text, tokens))

    def learn(self, prompt_tokens: int) -> None:
        """Learns the template's overhead from what the prompt of these messages took."""
        kept = self._kept()
        around_tokens = prompt_tokens - sum(turn.tokens for turn in kept)
        self._around_tokens = max(0, -(-around_tokens // len(kept)))

    def take_back(self) -> None:
        """Removes the user's last turn if it has no answer."""
        if self._turns and self._turns[-1].role == USER:
            self._turns.pop()

    def fit(self, most_tokens: int) -> int:
        """Drops the oldest turns until the rest fits; returns how many. The last question is always kept."""
        dropped = 0
        while self._tokens() > most_tokens and (gone := self.drop_oldest()):
            dropped += gone
        return dropped

    def drop_oldest(self) -> int:
        """Drops the oldest question with its answer; returns how many turns, 0 if only the last question is left."""
        later = next((index for index, turn in enumerate(self._turns) if index and turn.role == USER), 0)
        del self._turns[:later]
        return later

    def _kept(self) -> Sequence[Turn]:
        return self._system + self._turns

    def _tokens(self) -> int:
        kept = self._kept()
        return sum(turn.tokens for turn in kept) + self._around_tokens * len(kept)
