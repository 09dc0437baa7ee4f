"""A conversation that has to fit into a context: what is kept of it, by token counts. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

FIRST_GUESS_TOKENS = 8
"""What a chat template puts around a turn, until an answer tells."""

USER = "user"


@dataclass(frozen=True)
class Turn:
    """What one side said."""

    role: str
    text: str
    tokens: int
    """Of the text alone."""


class Conversation:
    """The system's message, which stays, and the turns since."""

    def __init__(self, system: Turn | None) -> None:
        self._system = [system] if system else []
        self._turns: list[Turn] = []
        self._around_tokens = FIRST_GUESS_TOKENS
        """Per turn, for what the template adds."""

    @property
    def messages(self) -> list[tuple[str, str]]:
        """As `Client.chat` takes them."""
        return [(turn.role, turn.text) for turn in self._kept()]

    def tell(self, system: Turn | None) -> None:
        """Puts another message of the system in the place of the one there was."""
        self._system = [system] if system else []

    def clear(self) -> None:
        """Forgets all turns; the system's message stays."""
        self._turns.clear()

    def say(self, text: str, tokens: int) -> None:
        """The user's turn."""
        self._turns.append(Turn(USER, text, tokens))

    def answered(self, text: str, tokens: int) -> None:
        """The model's turn."""
        self._turns.append(Turn("assistant", text, tokens))

    def learn(self, prompt_tokens: int) -> None:
        """What the prompt of these messages really took: the template's share is known from then on."""
        kept = self._kept()
        around_tokens = prompt_tokens - sum(turn.tokens for turn in kept)
        self._around_tokens = max(0, -(-around_tokens // len(kept)))

    def take_back(self) -> None:
        """Forgets the user's last turn: it has no answer."""
        if self._turns and self._turns[-1].role == USER:
            self._turns.pop()

    def fit(self, most_tokens: int) -> int:
        """Drops the oldest turns until the rest takes no more than this; how many. The last question stays anyway."""
        dropped = 0
        while self._tokens() > most_tokens and (gone := self.drop_oldest()):
            dropped += gone
        return dropped

    def drop_oldest(self) -> int:
        """Drops the oldest question with its answer; how many turns went: 0 if only the last question is left."""
        later = next((index for index, turn in enumerate(self._turns) if index and turn.role == USER), 0)
        del self._turns[:later]
        return later

    def _kept(self) -> Sequence[Turn]:
        return self._system + self._turns

    def _tokens(self) -> int:
        kept = self._kept()
        return sum(turn.tokens for turn in kept) + self._around_tokens * len(kept)
