"""The one line on stdout by which a supervisor answers the program that started it (`vramd serve --handshake stdout`).

Pure. The line is a word, a space, and one JSON object; readers ignore keys that they do not know.
"""

import json
from dataclasses import dataclass

from .rendezvous import API

SCHEMA = 1
"""Version of the line's form, raised only if readers of an older one could not read it."""

READY = "VRAMD_READY"
ERROR = "VRAMD_ERROR"


@dataclass(frozen=True)
class Ready:
    """It listens; its runtime folder has the token."""

    address: str
    """host:port, for clients of this machine."""
    pid: int
    version: str
    runtime_dir: str
    api: int = API
    """Version of the API that it serves."""

    def line(self) -> str:
        """The line, without its line break."""
        said = {
            "schema": SCHEMA,
            "api": self.api,
            "version": self.version,
            "pid": self.pid,
            "address": self.address,
            "runtime_dir": self.runtime_dir,
        }
        return f"{READY} {json.dumps(said)}"


@dataclass(frozen=True)
class Failed:
    """It could not start, and ends."""

    code: int
    """Its exit code."""
    message: str

    def line(self) -> str:
        """The line, without its line break."""
        return f"{ERROR} {json.dumps({'code': self.code, 'message': self.message})}"


def parse(line: str) -> Ready | Failed | None:
    """Reads the line; None for any other, such as what a wrapper script says before it."""
    word, _, rest = line.strip().partition(" ")
    try:
        said = json.loads(rest) if word in (READY, ERROR) else {}
        if word == ERROR:
            return Failed(int(said["code"]), str(said["message"]))
        if word == READY:
            address, version, folder = (str(said[key]) for key in ("address", "version", "runtime_dir"))
            return Ready(address, int(said["pid"]), version, folder, int(said["api"]))
    except (ValueError, KeyError, TypeError):
        pass
    return None
