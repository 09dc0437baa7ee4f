"""Remembers requests under which processes died, by their fingerprints. Pure.

A fingerprint is a keyed hash that says nothing of a request's text; see `services/service_inference.py`.
"""

MARKS = 2
"""Processes that may die under the same request before it is refused."""
REMEMBERED_S = 600.0


class Suspects:
    """Marks by fingerprint; each is forgotten after a while."""

    def __init__(self) -> None:
        self._marks: dict[str, tuple[int, float, str]] = {}
        """How many, until when, and of which model."""

    def mark(self, fingerprint: str, model: str, now_s: float) -> bool:
        """A process has died under a request. Returns whether that is refused from now on."""
        for known in [known for known, (_, until_s, _) in self._marks.items() if until_s <= now_s]:
            del self._marks[known]
        count = self._marks.get(fingerprint, (0, 0.0, ""))[0] + 1
        self._marks[fingerprint] = count, now_s + REMEMBERED_S, model
        return count >= MARKS

    def is_marked(self, fingerprint: str, now_s: float) -> bool:
        """Whether a process has died under a request."""
        return bool(self._marks) and self._marks.get(fingerprint, (0, 0.0, ""))[1] > now_s

    def left_s(self, fingerprint: str, now_s: float) -> float:
        """Seconds for which a request is refused; 0: it is not."""
        count, until_s, _ = self._marks.get(fingerprint, (0, 0.0, ""))
        return max(0.0, until_s - now_s) if count >= MARKS else 0.0

    def forget(self, model: str) -> None:
        """Nothing is held against requests of a model any more."""
        self._marks = {known: mark for known, mark in self._marks.items() if mark[2] != model}
