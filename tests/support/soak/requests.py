"""The requests of a soak as their clients wrote them down: one line when a request begins, one when it has ended."""

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

OK = "OK"


@dataclass
class Request:
    """A request, and how it ended."""

    client: int
    """Number of the process that made it; 0 is the soak itself."""
    kind: str
    model: str
    may: frozenset[str]
    """How it may end when nothing happens to its model."""
    began_s: float
    """Unix time, as all moments of a soak."""
    unloads: bool = False
    """Whether it takes the model from others."""
    ended_s: float | None = None
    end: str | None = None
    """OK, or the reason of the failure."""
    said: str = ""
    resumes: int = 0
    """Processes that it lost, and went on in another."""

    def overlaps(self, began_s: float, ended_s: float) -> bool:
        return self.began_s <= ended_s and (self.ended_s is None or self.ended_s >= began_s)


class Journal:
    """Written by one process. A line is written by one call, so that a killed process leaves whole ones."""

    def __init__(self, folder: Path, client: int) -> None:
        self._file = (folder / f"{client}.requests").open("ab", buffering=0)
        self._count = 0
        self._client = client

    def begun(self, kind: str, model: str, may: Iterable[str], *, unloads: bool = False) -> int:
        self._count += 1
        row = {"client": self._client, "kind": kind, "model": model, "may": sorted(may), "unloads": unloads}
        self._write({"number": self._count, "began_s": time.time(), **row})
        return self._count

    def ended(self, number: int, end: str, said: str = "", resumes: int = 0) -> None:
        ending = {"ended_s": time.time(), "end": end, "said": said[:300], "resumes": resumes}
        self._write({"number": number, **ending})

    def _write(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line).encode() + b"\n")


def read(folder: Path) -> list[Request]:
    """Reads what all clients wrote."""
    found: list[Request] = []
    for file in sorted(folder.glob("*.requests")):
        begun: dict[int, Request] = {}
        for text in file.read_bytes().splitlines(keepends=True):
            if not text.endswith(b"\n"):
                continue
            line = json.loads(text)
            number = line.pop("number")
            if number in begun:
                begun[number] = replace(begun[number], **line)
            else:
                begun[number] = Request(**{**line, "may": frozenset(line["may"])})
        found += begun.values()
    return found
