"""Names that values had in earlier versions, for programs that were written with them."""

from typing import Protocol


class _HasWorkerId(Protocol):
    @property
    def worker_id(self) -> int: ...


class FormerNames:
    """A value that says which process of a model it is about."""

    @property
    def incarnation(self: _HasWorkerId) -> int:
        """The former name of `worker_id`; it goes with the next version.

        >>> client.resident()[0].incarnation == client.resident()[0].worker_id
        True
        """
        return self.worker_id
