"""A model with other settings than it is loaded with: nothing is cut off, and nothing is loaded anew for nothing."""

import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
import vramd
from support.supervisor_process import BOUND_S, Story, SupervisorProcess, queued, simulated, until
from support.wire import Caller
from vramd_proto.v1 import load_pb2, model_pb2

CONFIGURATION = "[scheduling]\ndrain_s = 20\n" + "\n".join(
    (
        simulated("one", card="", parallel=2, tokens_per_s=40, context=1000, load_s=0),
        simulated("cold", card="", load_s=0.5),
        simulated("popular", card="", parallel=2, tokens_per_s=40, load_s=0),
    )
)


def reload(caller: Caller, model: str, load: load_pb2.LoadOptions) -> model_pb2.ResidentModel:
    """The model, ready with these settings."""
    steps = list(caller.models.LoadModel(model_pb2.LoadModelRequest(model=model, load=load, reload=True)))
    assert steps[-1].state == model_pb2.MODEL_STATE_READY
    return steps[-1].resident


def test_a_reload_waits_for_what_runs_and_gives_the_model_a_new_process(
    shared: SupervisorProcess, client: vramd.Client
) -> None:
    before = client.load("one", context=1000)
    with shared.news() as story, ThreadPoolExecutor() as pool:
        # Long enough for a process to be started meanwhile.
        with client.generate("one", "x", max_tokens=240) as answer:
            next(answer)
            coming = pool.submit(reload, shared.caller(), "one", load_pb2.LoadOptions(context_tokens=500))
            drains = story.reached("one", "DRAINING")
            late = client.generate("one", "y", max_tokens=2)
            story.waits("one", 1, behind=drains)
            assert len(answer.text.split()) >= 240
        after = coming.result(BOUND_S)
        assert (after.context_tokens, before.context_tokens) == (500, 1000)
        assert after.pid != before.pid
        assert late.timeline is not None
        assert late.timeline.worker_id == after.worker_id
        assert story.began("one") == [], "the new process was ready before the old one went"
    client.unload("one")


def test_what_is_as_asked_or_left_open_is_not_loaded_anew(shared: SupervisorProcess) -> None:
    client, caller = shared.client(), shared.caller()
    pid = client.load("one").pid
    for load in (
        load_pb2.LoadOptions(),
        load_pb2.LoadOptions(context_tokens=1000, parallel=2),
        load_pb2.LoadOptions(
            device="auto", flash_attention=load_pb2.FLASH_ATTENTION_AUTO, output_rule=load_pb2.OUTPUT_RULE_AUTO
        ),
        load_pb2.LoadOptions(keep_alive_s=100),
    ):
        assert reload(caller, "one", load).pid == pid
    # More than the context takes: what it comes to is compared, so that the same wish is fulfilled the next time.
    clamped = reload(caller, "one", load_pb2.LoadOptions(batch_tokens=1 << 20))
    assert clamped.pid != pid
    assert clamped.settings.batch_tokens == 1000
    assert reload(caller, "one", load_pb2.LoadOptions(batch_tokens=1 << 20)).pid == clamped.pid
    assert reload(caller, "one", load_pb2.LoadOptions(parallel=3)).pid != clamped.pid
    with pytest.raises(vramd.LoadedDifferently, match="parallel is 3, asked for 2"):
        client.load("one", parallel=2)
    client.unload("one")


def test_a_reload_has_its_settings_also_if_a_load_with_others_is_on_its_way(
    shared: SupervisorProcess, client: vramd.Client, story: Story
) -> None:
    with client.generate("cold", "x", max_tokens=2) as first:
        story.reached("cold", "LOADING")
        assert reload(shared.caller(), "cold", load_pb2.LoadOptions(context_tokens=300)).context_tokens == 300
        assert first.finish.reason == "LENGTH"
    client.unload("cold")


def test_settings_that_cannot_be_leave_the_process_that_there_is(
    shared: SupervisorProcess, client: vramd.Client
) -> None:
    before = client.load("one")
    with pytest.raises(grpc.RpcError, match="nowhere"):
        reload(shared.caller(), "one", load_pb2.LoadOptions(device="nowhere"))
    assert client.load("one").pid == before.pid


def test_a_reload_comes_although_the_model_is_never_idle(shared: SupervisorProcess, client: vramd.Client) -> None:
    client.load("popular")
    over = threading.Event()

    def ask_until_over() -> list[str]:
        ends: list[str] = []
        while not over.is_set():
            ends.append(client.generate("popular", "x", max_tokens=20).finish.reason)
        return ends

    with ThreadPoolExecutor(6) as pool:
        crowd = [pool.submit(ask_until_over) for _ in range(6)]
        try:
            until("a crowd", lambda: queued(client, "popular"))
            ready = reload(shared.caller(), "popular", load_pb2.LoadOptions(context_tokens=300))
            assert ready.context_tokens == 300
        finally:
            over.set()
        # Nobody asked for long enough to be cut off.
        assert {end for one in crowd for end in one.result(BOUND_S)} == {"LENGTH"}
