"""Writes docs/errors.md: the table of reasons, for people who write clients. Run as a script."""

from pathlib import Path

from vramd_common.reasons import DOMAIN, Reason

FILE = Path(__file__).parents[2] / "docs" / "errors.md"

INTRODUCTION = f"""# Why a call fails

Made by `python tests/support/error_table.py` from `proto/vramd_common/reasons.py`.

A failed call ends with a canonical status and exactly one `google.rpc.ErrorInfo` of the domain `{DOMAIN}`: its reason,
and metadata by the keys below. Where waiting helps, a `google.rpc.RetryInfo` says for how long. What gRPC itself finds
(nobody listens, the client's own deadline, a message beyond 16 MiB) comes without an ErrorInfo.

| reason | status | when | metadata | try again after |
| --- | --- | --- | --- | --- |
"""


def table() -> str:
    """The whole page."""
    return INTRODUCTION + "".join(map(_row, Reason))


def _row(reason: Reason) -> str:
    meaning = reason.value
    keys = ", ".join(f"`{key}`" for key in meaning.metadata)
    wait = "" if meaning.retry_after_s is None else f"{meaning.retry_after_s:g} s"
    return f"| `{reason.name}` | {meaning.code} | {meaning.text} | {keys} | {wait} |\n"


if __name__ == "__main__":
    FILE.write_text(table(), "utf-8", newline="\n")
