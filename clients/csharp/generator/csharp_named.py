"""The settings of calls by the names that they have in Python and in the configuration. Pure."""

from collections.abc import Iterable, Iterator

from csharp_settings import Row, answer_parts, ask_rows, load_rows
from csharp_text import doc, file

READERS = {
    "IReadOnlyList<string>": "Texts",
    "TimeSpan": "Duration",
    "bool": "Bool",
    "float": "Float",
    "int": "Int",
    "string": "Text",
    "uint": "Uint",
    "GpuLayers": "GpuLayers",
    "Outputs": "Outputs",
}
"""The type of a property, and what NamedValues calls it; the others are enums."""


def named_settings() -> str:
    """Returns NamedSettings.g.cs."""
    sampling, limits, special, _ = answer_parts()
    body = [
        *doc("Sets settings by the names that they have in the configuration. Pure.", ""),
        "internal static class NamedSettings",
        "{",
        *_with(
            "AnswerSettings", [*sampling, *limits, *special], "(AnswerSettings)With((AskSettings)settings, name, value)"
        ),
        "",
        *_with("AskSettings", ask_rows(), "(AskSettings)With((LoadSettings)settings, name, value)"),
        "",
        *_with("LoadSettings", load_rows(), "throw Requests.UnknownProperty(name)"),
        "}",
    ]
    return file("proto/vramd_common/load_settings.py and sampling.py", (), body)


def _with(record: str, rows: Iterable[Row], other: str) -> Iterator[str]:
    yield from doc("Returns the settings with one of them changed; null takes it away.")
    yield f"    internal static {record} With({record} settings, string name, object? value) => name switch"
    yield "    {"
    for row in rows:
        reader = READERS.get(row.type, f"Word<{row.type}>")
        yield f'        "{row.key}" => settings with {{ {row.name} = NamedValues.To{reader}(name, value) }},'
    yield f"        _ => {other},"
    yield "    };"
