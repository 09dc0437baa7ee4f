"""Generates the client for threads from the one for event loops, and the package's stub; `--check` only compares.

Each file `vramd/async_X.py` gives `vramd/X.py`, except the transports: there the two differ, and both are written by
hand. Generated files are formatted by ruff and never edited.
"""

import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parent / "vramd"
WRITTEN_TWICE = {"async_transport.py"}

SUBSTITUTIONS = (
    # Removes whole definitions that only event loops need.
    (r"(?m)^( *)[^\n]*# only async\n(?:\1 +[^\n]*\n)+", ""),
    (r"\b(?:Awaitable|Coroutine)\[(?:None, None, )?([^\[\]]+)\]", r"\1"),
    (r"\basync (?=(?:def|for|with)\b)|\bawait ", ""),
    (r"\b__a(enter|exit|iter|next)__\b", r"__\1__"),
    (r"\banext\b", "next"),
    (r"\bStopAsyncIteration\b", "StopIteration"),
    (r"\basync_|\bAsync(?=[A-Z])", ""),
)

PHRASES = {
    "in an `with` block": "in a `with` block",
    """It belongs to the event loop of its first call, and when that is closed, to that of the next call. Cancelling the
    task that awaits ends the call. A forked""": "Any number of threads may share it. A forked",
    "in this process or event loop": "in this process",
    """    It belongs to one event loop, and to the next one that calls when that is closed.
""": """    Any thread may use it.
""",
    """share one task, and what a coroutine function gives is awaited in it: a slow one keeps
        the others waiting. One that raises""": """share one thread: a slow one keeps the others waiting.
        One that raises""",
    "from one task": "from one thread",
    "Awaiting it gives the whole text. Leaving the block": "Leaving the block",
    """cancelling the task that waits for it, and the end of this object.""": """an exception that comes while
    it is waited for, Ctrl-C for one, and the end of this object.""",
    "contextlib.aclosing": "contextlib.closing",
    '"""Ends the call; the iteration': '"""Ends the call, from any thread; the iteration',
    '"""Ends it; iterating': '"""Ends it, from any thread; iterating',
    '"""Ends the answer; iterating': '"""Ends the answer, from any thread; iterating',
    '"""Ends the hold; iterating': '"""Ends the hold, from any thread; iterating',
    "None begins afterwards.": "None begins afterwards; one that takes very long may go on.",
}
"""Phrases of docstrings about event loops, after the substitutions, and their replacements about threads."""


def main() -> None:
    stale = {path: text for path, text in made() if not path.exists() or path.read_text("utf-8") != text}
    if "--check" not in sys.argv[1:]:
        for path, text in stale.items():
            path.write_text(text, "utf-8", newline="\n")
    elif stale:
        names = ", ".join(path.name for path in stale)
        sys.exit(f"out of date: {names}; run: python clients/python/generate_sync.py")


def made() -> Iterator[tuple[Path, str]]:
    """Yields every generated file and its text."""
    sources = sorted(path for path in PACKAGE.glob("async_*.py") if path.name not in WRITTEN_TWICE)
    texts = {path: substituted(path.read_text("utf-8")) for path in sources}
    if unused := [phrase for phrase in PHRASES if not any(phrase in text for text in texts.values())]:
        sys.exit(f"nothing says: {unused}")
    for path, text in texts.items():
        yield path.with_name(path.name.removeprefix("async_")), in_order(header(path.name) + in_words_of_threads(text))
    yield PACKAGE / "__init__.pyi", in_order(header("__init__.py") + stub())


def header(source: str) -> str:
    return f"# Made by clients/python/generate_sync.py from {source}: change that one.\n"


def substituted(text: str) -> str:
    """Converts code, and examples in docstrings, from event loops to threads."""
    text = without_brackets(text)
    for pattern, other in SUBSTITUTIONS:
        text = re.sub(pattern, other, text)
    return text


def in_words_of_threads(text: str) -> str:
    for phrase, other in PHRASES.items():
        text = text.replace(phrase, other)
    return text


def without_brackets(text: str) -> str:
    """Removes the brackets in `(await x(…)).y` that only the `await` needs."""
    while found := re.search(r"(?<![\w\])])\(await (?=[\w.]+\()", text):
        depth, end = 0, found.start()
        for end in range(found.start(), len(text)):
            depth += {"(": 1, ")": -1}.get(text[end], 0)
            if not depth:
                break
        text = text[: found.start()] + text[found.end() : end] + text[end + 1 :]
    return text


def stub() -> str:
    """Returns the package's stub for type checkers: imports of the names in `_MODULES`."""
    modules = runpy.run_path(str(PACKAGE / "__init__.py"))["_MODULES"]
    lines = [f"from vramd.{module} import {', '.join(names)}\n" for module, names in sorted(modules.items())]
    every = sorted(name for names in modules.values() for name in names)
    return f"{''.join(lines)}\n__all__ = {every!r}\n\n__version__: str\n"


def in_order(text: str) -> str:
    """Formats the text with ruff, sorts its imports and removes unused ones."""
    for command in (("check", "--fix", "--quiet", "--select=I,F401"), ("format",)):
        name = "made.pyi" if "__version__: str" in text else "made.py"
        ruff = [sys.executable, "-m", "ruff", *command, f"--stdin-filename={PACKAGE / name}", "-"]
        text = subprocess.run(ruff, input=text, capture_output=True, text=True, check=True, encoding="utf-8").stdout
    return text


if __name__ == "__main__":
    main()
