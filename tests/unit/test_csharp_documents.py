"""The C# that documents show is text of the samples, which are built and run."""

import re
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CSHARP = ROOT / "clients/csharp"
SAMPLES = {path.parent.name: path.read_text("utf-8") for path in CSHARP.glob("samples/*/*.cs")}
SNIPPETS = [
    pytest.param(snippet, id=f"{page.parent.name or '.'}-{number}")
    for page in (ROOT / "README.md", CSHARP / "README.md")
    for number, snippet in enumerate(re.findall(r"```csharp\n(.*?)```", page.read_text("utf-8"), re.DOTALL))
]


def stretches(text: str, lines: int) -> set[str]:
    """Returns each stretch of so many lines, without the indentation that they share."""
    every = text.splitlines(keepends=True)
    return {textwrap.dedent("".join(every[start : start + lines])) for start in range(len(every) - lines + 1)}


def test_the_readmes_have_six_snippets() -> None:
    assert len(SNIPPETS) == 6


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_a_snippet_is_text_of_a_sample(snippet: str) -> None:
    lines = snippet.count("\n")
    assert lines
    assert any(snippet in stretches(text, lines) for text in SAMPLES.values())


@pytest.mark.parametrize("name", SAMPLES)
def test_the_readme_names_every_sample(name: str) -> None:
    assert f"`samples/{name}`" in (CSHARP / "README.md").read_text("utf-8")
