"""The part of an answer that its caller has had, kept so that another worker can go on from it."""

from vramd_proto.v1.inference_pb2 import ChatResponse

MOST_KEPT_BYTES = 4 * 1024 * 1024
"""Messages of one stream that are kept: some 150,000 tokens. Behind that a stream does not survive its worker."""


class Delivered:
    """Keeps messages as they are: they are read only once their worker has died.

    Generate and Chat are alike here: `token_ids` and `finish` have one number in both messages.
    """

    def __init__(self) -> None:
        self._kept: list[bytes] = []
        self._kept_bytes = 0
        self._dropped_tokens = 0
        self.is_whole = True
        """Whether all is kept, so that another worker can go on."""

    def add(self, message: bytes) -> None:
        """Takes a message that is about to go to the caller."""
        if self._kept_bytes + len(message) > MOST_KEPT_BYTES:
            self._dropped_tokens += len(self.token_ids())
            self._kept, self._kept_bytes, self.is_whole = [], 0, False
        self._kept.append(message)
        self._kept_bytes += len(message)

    @property
    def last(self) -> bytes:
        """The last message; empty if there is none."""
        return self._kept[-1] if self._kept else b""

    @property
    def tokens(self) -> int:
        """Tokens that the caller has had."""
        return self._dropped_tokens + len(self.token_ids())

    @property
    def is_finished(self) -> bool:
        """Whether the caller has had the last message of the answer."""
        return bool(self._kept) and ChatResponse.FromString(self._kept[-1]).HasField("finish")

    def token_ids(self) -> list[int]:
        """Ids of the tokens of all kept messages, in order."""
        return [token for message in self._kept for token in ChatResponse.FromString(message).token_ids]
