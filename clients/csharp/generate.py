"""Makes what the .NET client takes from Python's own definitions; `--check` only compares.

The reasons of errors, their exceptions, the values that calls return and the settings of calls are the same in both
languages. The files (*.g.cs) are never edited: change the definition in Python, or the words about it in generator/.
The table of exceptions in README.md is made too.
"""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "generator"))

# They lie in the folder that the line above names.
import csharp_errors  # noqa: E402
import csharp_failures  # noqa: E402
import csharp_named  # noqa: E402
import csharp_page  # noqa: E402
import csharp_protos  # noqa: E402
import csharp_settings  # noqa: E402
import csharp_values  # noqa: E402

CLIENT = HERE / "src" / "Vramd.Client" / "Generated"
AI = HERE / "src" / "Vramd.Extensions.AI" / "Generated"
TESTS = HERE / "test" / "Vramd.Tests" / "Generated"
FILES = {
    CLIENT / "Reasons.g.cs": csharp_errors.reasons,
    CLIENT / "Exceptions.g.cs": csharp_errors.exceptions,
    CLIENT / "Enums.g.cs": csharp_protos.enums,
    CLIENT / "Settings.g.cs": csharp_settings.settings,
    CLIENT / "Values.g.cs": csharp_values.values,
    CLIENT / "Reading.g.cs": csharp_values.reading,
    AI / "NamedSettings.g.cs": csharp_named.named_settings,
    csharp_page.FILE: csharp_page.readme,
    TESTS / "PackedFailures.g.cs": csharp_failures.packed,
}
"""Each file, and what writes its text."""


def main() -> None:
    texts = {path: text() for path, text in FILES.items()}
    stale = [path for path, text in texts.items() if not path.exists() or path.read_text("utf-8") != text]
    left = sorted({*CLIENT.glob("*"), *AI.glob("*"), *TESTS.glob("*")} - set(texts))
    if "--check" in sys.argv[1:]:
        if stale or left:
            names = ", ".join(path.name for path in [*stale, *left])
            sys.exit(f"out of date: {names}; run: python clients/csharp/generate.py")
        return
    for path in left:
        path.unlink()
    for path in stale:
        path.parent.mkdir(exist_ok=True)
        path.write_text(texts[path], "utf-8", newline="\n")


if __name__ == "__main__":
    main()
