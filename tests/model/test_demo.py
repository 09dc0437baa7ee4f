"""The demo does what it says, with real processes of llama.cpp."""

import hashlib
import json

import pytest

pytest.importorskip("llama_cpp")

from support.programs import python
from vramd_cli.play import MODEL_FILE

pytestmark = pytest.mark.timeout(300)
"""A dozen processes start one after the other."""


def demo(*arguments: str) -> str:
    done = python("-m", "vramd", "demo", *arguments, bound_s=280)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_loads_swaps_and_survives_a_kill() -> None:
    played = json.loads(demo("--json"))
    assert played["sha256"] == hashlib.sha256(MODEL_FILE.read_bytes()).hexdigest()
    two, swap, kill, again, survival, routed = played["steps"]
    answers = [answer for step in played["steps"] for answer in step["answers"]]
    assert {answer["engine"] for answer in answers} == {"llama"}
    assert all(answer["text"] and answer["pid"] for answer in answers)
    named = [answer for step in (two, swap, kill, again) for answer in step["answers"]]
    assert len({answer["pid"] for answer in named}) == 4, "short, medium, long, and medium anew"
    assert swap["evicted"]["model"] == "short"
    assert swap["receipt"]["pid"] == two["answers"][0]["pid"]
    assert swap["receipt"]["observed_bytes"] > 10_000_000
    witness, victim = kill["answers"]
    assert (witness["error"], victim["error"]) == (None, "WORKER_CRASHED_MID_STREAM")
    assert kill["killed_pid"] == victim["pid"]
    assert [model["model"] for model in kill["models"]] == ["long"]
    assert again["answers"][0]["pid"] != victim["pid"]
    (survivor,) = survival["answers"]
    assert survival["killed_pid"] == again["answers"][0]["pid"] != survivor["pid"]
    assert (survivor["error"], survivor["resumes"]) == (None, 1)
    assert survivor["text"].endswith((".", "!", "?")), "the sentence is whole"
    code, math, dialogue = routed["answers"]
    assert (code["model"], math["model"]) == ("coder", "mathematician")
    assert dialogue["model"] in ("short", "medium", "long")
    assert [selection["model"] for selection in routed["chosen"].values()] == [
        answer["model"] for answer in routed["answers"]
    ]
    assert code["text"].startswith("for i in range(1, 5 + 1):")
    assert math["text"].endswith("47 + 35 = 82.")
    for task, reason in (("code", "made for code"), ("math", "made for math"), ("dialogue", "made for dialogue")):
        assert routed["chosen"][task]["reasons"][0].startswith(reason)
    for step in played["steps"]:
        (host,) = [device for device in step["ledger"] if device["id"] == "host"]
        assert host["reserved_bytes"] <= host["budget_bytes"] == played["budget_bytes"]


def test_without_a_terminal_it_is_plain_text_that_ends_with_a_table() -> None:
    text = demo()
    assert "\x1b" not in text
    lines = text.rstrip().splitlines()
    assert lines[-11].split()[:2] == ["STEP", "MODEL"]
    tables = [line for line in lines if line.startswith(("LEDGER", "STEP", "host", "short ", "medium ", "long "))]
    assert max(map(len, tables)) <= 80
    assert "evicted: short" in text
    assert "was killed in the middle of its answer" in text
    assert "exactly behind the last word" in text
    assert "code: coder, made for code" in text
