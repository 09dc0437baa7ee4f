"""Writes docs/configuration.md: every key of the configuration, from the docstrings of its values. Run as a script."""

import ast
from collections.abc import Iterator
from pathlib import Path

from vramd_common.load_settings import LOAD_SETTINGS

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docs" / "configuration.md"
SOURCE = ROOT / "supervisor" / "vramd_supervisor" / "domain" / "config.py"

TABLES = {
    "ServerConfig": "[server]",
    "SchedulingConfig": "[scheduling]",
    "DeviceConfig": "[devices.ID]",
    "ModelConfig": "[models.ID]",
}

INTRODUCTION = """# Configuration

Made by `python tests/support/config_table.py` from `supervisor/vramd_supervisor/domain/config.py` and
`proto/vramd_common/load_settings.py`.

One TOML file (`--config`, or `VRAMD_CONFIG`). Sizes are bytes or text such as "8GiB", durations are seconds. What
stands in `[server]` may come from the environment too: `VRAMD_PORT` and so on.
"""


def page() -> str:
    """The whole page."""
    classes = {node.name: node for node in ast.parse(SOURCE.read_text("utf-8")).body if isinstance(node, ast.ClassDef)}
    return INTRODUCTION + "".join(f"\n## `{title}`\n\n{_table(classes[name])}" for name, title in TABLES.items())


def _table(config: ast.ClassDef) -> str:
    keys = (*_keys(config), *(_load_settings() if config.name == "ModelConfig" else ()))
    rows = (f"| `{key}` | {default} | {text} |\n" for key, default, text in keys)
    return "| key | default | |\n| --- | --- | --- |\n" + "".join(rows)


def _keys(config: ast.ClassDef) -> Iterator[tuple[str, str, str]]:
    for field, said in zip(config.body, config.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and field.target.id != "load":
            assert isinstance(said, ast.Expr), f"{field.target.id} has no docstring"
            text = " ".join(str(ast.literal_eval(said.value)).split())
            yield field.target.id, _default(field.value), text.replace("|", "\\|")


def _load_settings() -> Iterator[tuple[str, str, str]]:
    for row in LOAD_SETTINGS:
        words = f" One of {', '.join(row.words)}." if row.kind is str and row.words and row.least is None else ""
        bounds = "" if row.most is None or row.words else f" {row.range}."
        yield row.name, "", f"{row.help}{words}{bounds} Default: {row.default}."


def _default(value: ast.expr | None) -> str:
    if value is None or isinstance(value, ast.Call):
        return ""
    plain = ast.literal_eval(value)
    return "" if plain is None or plain == () else f"`{str(plain).lower() if isinstance(plain, bool) else plain}`"


if __name__ == "__main__":
    FILE.write_text(page(), "utf-8", newline="\n")
