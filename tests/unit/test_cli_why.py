"""`vramd why` and `vramd run --timings`, in this process, against scripted answers."""

import json
import time

import pytest
from support.command_line import Shell
from support.fake_answers import decision, timeline
from support.fake_supervisor import FakeSupervisor, Refusal, Trailer, answer
from vramd_common.reasons import Reason
from vramd_common.timeline import KEY, Told, pack
from vramd_proto.v1 import model_pb2, supervisor_pb2


def decided(*, ago_s: float = 0.0, **fields: object) -> supervisor_pb2.Decision:
    made = decision()
    made.time_s = time.time() - ago_s
    made.MergeFrom(supervisor_pb2.Decision(**fields))  # type: ignore[arg-type]  # names of fields, given by tests
    return made


def script(fake: FakeSupervisor, *decisions: supervisor_pb2.Decision) -> None:
    fake.script("ListDecisions", supervisor_pb2.ListDecisionsResponse(decisions=decisions))


def test_a_decision_is_told_with_its_cause_its_numbers_and_what_was_not_done(
    fake: FakeSupervisor, shell: Shell
) -> None:
    script(fake, decided(ago_s=185))
    assert shell("why", "reader").stdout.splitlines() == [
        " 3 min ago  evicted for talker: talker lacks 52.0 MiB on gpu0; reader is the least recently used of the idle",
        "            idle 12.5 s, lacking 52.0 MiB, queued 3",
        "            not evict listener: it is pinned",
    ]
    assert fake.requests("ListDecisions") == [supervisor_pb2.ListDecisionsRequest(model="reader", limit=20)]


@pytest.mark.parametrize(
    ("kind", "cause", "words"),
    [
        ("LOAD", "ASKED_FOR", "loaded"),
        ("REFUSE", "UNSPECIFIED", "refused"),
        ("DEGRADE", "UNSPECIFIED", "loaded with less"),
        ("GIVE_BACK", "TOOK_TOO_MUCH", "took more than it was promised"),
        ("THRASH", "UNSPECIFIED", "thrashing"),
        ("UNLOAD", "IDLE", "unloaded"),
        ("UNLOAD", "CRASHED", "crashed"),
    ],
)
def test_every_kind_has_its_words(fake: FakeSupervisor, shell: Shell, kind: str, cause: str, words: str) -> None:
    made = supervisor_pb2.Decision(
        kind=supervisor_pb2.DecisionKind.Value(f"DECISION_KIND_{kind}"),
        model="reader",
        cause=model_pb2.Cause.Value(f"CAUSE_{cause}"),
        message="because",
        time_s=time.time() + 60,
    )
    script(fake, made)
    assert shell("why", "reader").stdout == f"   0 s ago  {words}: because\n"


def test_a_kind_of_a_newer_version_is_told_as_it_is(fake: FakeSupervisor, shell: Shell) -> None:
    made = supervisor_pb2.Decision(model="reader", message="because", time_s=time.time() + 60)
    made.kind, made.cause = 99, 98  # type: ignore[assignment]  # what a newer supervisor may send
    script(fake, made)
    assert shell("why", "reader").stdout == "   0 s ago  99: because\n"
    told = json.loads(shell("why", "reader", "--json").stdout)[0]
    assert (told["kind"], told["cause"]) == ("99", "98")


def test_without_a_model_all_are_told_by_name(fake: FakeSupervisor, shell: Shell) -> None:
    script(fake, decided(), decided(model="listener"))
    lines = shell("why", "-n", "2").stdout.splitlines()
    assert [line.split()[3:5] for line in lines if "evicted" in line] == [
        ["reader", "evicted"],
        ["listener", "evicted"],
    ]
    assert fake.requests("ListDecisions") == [supervisor_pb2.ListDecisionsRequest(limit=2)]


def test_json_has_the_keys_that_programs_rely_on(fake: FakeSupervisor, shell: Shell) -> None:
    script(fake, decision())
    assert json.loads(shell("why", "reader", "--json").stdout) == [
        {
            "id": 12,
            "time_s": 1_700_000_000.5,
            "kind": "evict",
            "model": "reader",
            "worker_id": 2,
            "for_whom": "talker",
            "cause": "evicted_for_model",
            "reason": None,
            "message": "talker lacks 52.0 MiB on gpu0; reader is the least recently used of the idle",
            "numbers": {"lacking_bytes": 52 << 20, "idle_s": 12.5, "queued": 3},
            "rejected": [{"what": "evict listener", "why": "it is pinned"}],
        }
    ]


def test_nothing_decided_is_said_aside(fake: FakeSupervisor, shell: Shell) -> None:
    script(fake)
    done = shell("why", "reader")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "nothing was decided\n")
    assert json.loads(shell("why", "reader", "--json").stdout) == []


def test_a_model_that_nobody_knows_is_exit_1(fake: FakeSupervisor, shell: Shell) -> None:
    fake.script("ListDecisions", Refusal(Reason.MODEL_NOT_FOUND, message="no model is called 'raeder'"))
    done = shell("why", "raeder")
    assert (done.exit_code, done.stderr) == (1, "vramd: no model is called 'raeder' (MODEL_NOT_FOUND)\n")


def test_timings_are_said_aside(fake: FakeSupervisor, shell: Shell) -> None:
    fake.script("Generate", *answer("Hel", "lo"), timeline())
    for more in ((), ("--json",)):
        done = shell("run", "talker", "x", "--raw", "--timings", *more)
        assert done.exit_code == 0
        assert done.stderr == (
            "talker (3): queued 0.250 s, loaded 2.500 s, prompt 0.500 s, decode 1.500 s\n"
            "prompt 5 tokens, 10.0 tokens/s; answer 2 tokens, 0.7 tokens/s\n"
        )
    assert shell("run", "talker", "x", "--raw").stderr == ""


def test_timings_tell_what_of_the_prompt_was_cached(fake: FakeSupervisor, shell: Shell) -> None:
    *pieces, last = answer("Hel", "lo")
    last.finish.usage.cached_prompt_tokens = 4
    fake.script("Generate", *pieces, last, timeline())
    done = shell("run", "talker", "x", "--raw", "--timings")
    assert "prompt 5 tokens, 4 of them cached, 2.0 tokens/s" in done.stderr


def test_an_older_supervisor_has_no_timings(fake: FakeSupervisor, shell: Shell) -> None:
    fake.script("Generate", *answer("Hello"))
    done = shell("run", "talker", "x", "--raw", "--timings")
    assert (done.exit_code, done.stdout) == (0, "Hello\n")
    assert "does not say" in done.stderr


def test_timings_tell_of_lost_processes(fake: FakeSupervisor, shell: Shell) -> None:
    told = Told("talker", 7, {}, resumes=1, resume="exact")
    fake.script("Generate", *answer("x"), Trailer(((KEY, pack(told)),)))
    done = shell("run", "talker", "x", "--raw", "--timings")
    assert "lost 1 of its processes, and went on: exact" in done.stderr
