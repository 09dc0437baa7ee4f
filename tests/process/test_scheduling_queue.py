"""Who waits for a model: in which order they are served, how many may wait, and what they hear meanwhile."""

from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

import pytest
import vramd
from support.supervisor_process import BOUND_S, Story, SupervisorProcess, busy, queued, simulated, until
from support.wire import parts
from vramd_proto.v1 import inference_pb2, load_pb2, model_pb2, supervisor_pb2

AT_MOST, AT_MOST_IN_ALL = 4, 6

CONFIGURATION = "\n".join(
    (
        f"[scheduling]\nqueue_per_model = {AT_MOST}\nqueue_total = {AT_MOST_IN_ALL}",
        simulated("one", card="", parallel=1, tokens_per_s=40, load_s=0),
        simulated("other", card="", parallel=1, tokens_per_s=40, load_s=0),
        simulated("four", card="", parallel=4, load_s=0),
        simulated("lowly", card="", parallel=1, tokens_per_s=40, priority="batch", load_s=0),
        simulated("cold", card="", load_s=4),
        simulated("endless-load", card="", load_s=600),
    )
)


@pytest.fixture
def client(shared: SupervisorProcess) -> vramd.Client:
    """While nobody else is served or waits."""
    client = shared.client()
    until("everybody is idle", lambda: not any(one.in_flight or one.queued for one in client.resident()))
    return client


def line_up(client: vramd.Client, model: str, **priorities: str | None) -> dict[str, vramd.Stream]:
    """Callers of these priorities, each of whom comes when all before him wait."""
    streams: dict[str, vramd.Stream] = {}
    for name, priority in priorities.items():
        streams[name] = client.generate(model, name, max_tokens=2000, priority=priority)  # type: ignore[arg-type]  # text
        until(f"{name} waits", lambda: queued(client, model) == len(streams))
    return streams


def in_turn(streams: Mapping[str, vramd.Stream]) -> list[str]:
    """In which order a model that serves one at a time comes to them; each leaves with his first word."""
    order: list[str] = []
    with ThreadPoolExecutor(len(streams)) as pool:
        try:
            words = {pool.submit(next, stream): name for name, stream in streams.items()}
            while words:
                served, _ = wait(words, BOUND_S, FIRST_COMPLETED)
                assert len(served) == 1, f"{[words[one] for one in served]} at once, after {order}"
                order.append(words.pop(served.pop()))
                streams[order[-1]].cancel()
        finally:
            for stream in streams.values():
                stream.cancel()
    return order


def test_four_answers_at_once_and_one_that_waits_are_those_of_each_alone(client: vramd.Client) -> None:
    prompts = [f"a story of {number}" for number in range(5)]
    alone = [client.generate("four", prompt, max_tokens=40).text for prompt in prompts]
    together = [client.generate("four", prompt, max_tokens=40) for prompt in prompts]
    assert [stream.text for stream in together] == alone
    assert len(set(alone)) == 5


def test_too_many_are_refused_at_once_and_nobody_else_notices(client: vramd.Client) -> None:
    with ThreadPoolExecutor(10) as pool, busy(client, "one") as running:
        asked = [pool.submit(client.embed, "one", f"{number}") for number in range(10)]
        refused = until("all but a few are refused", lambda: found if len(found := over(asked)) == 6 else None)
        for one in refused:
            error = one.exception()
            assert isinstance(error, vramd.QueueFull), error
            assert error.retry_after_s
            assert (error.metadata["model"], error.metadata["limit"]) == ("one", f"{AT_MOST}")
        assert next(running)
        running.cancel()
        assert [len(one.result(BOUND_S)) for one in asked if one not in refused] == [1] * AT_MOST


def over(asked: list[Future[vramd.Embeddings]]) -> list[Future[vramd.Embeddings]]:
    return [one for one in asked if one.done()]


def test_a_full_queue_refuses_before_the_first_word_and_takes_one_for_each_that_leaves(client: vramd.Client) -> None:
    with busy(client, "one"):
        waiting = line_up(client, "one", **dict.fromkeys("abcd"))
        with client.generate("one", "e") as late:
            with pytest.raises(vramd.QueueFull):
                next(late)
            assert late.received == ""
        waiting["b"].cancel()
        until("its place is free", lambda: queued(client, "one") == AT_MOST - 1)
        with client.generate("one", "f"):
            until("the next has it", lambda: queued(client, "one") == AT_MOST)
        for stream in waiting.values():
            stream.cancel()


def test_all_queues_together_have_a_limit_and_who_need_not_wait_is_served(client: vramd.Client) -> None:
    with busy(client, "one"), busy(client, "other"):
        waiting = [*line_up(client, "one", **dict.fromkeys("abcd")).values()]
        waiting += line_up(client, "other", **dict.fromkeys("ef")).values()
        with pytest.raises(vramd.QueueFull, match=f"{AT_MOST_IN_ALL} in all"):
            client.embed("other", "x")
        assert len(client.embed("four", "x")) == 1
        for stream in waiting:
            stream.cancel()


def test_the_second_for_a_model_that_comes_is_refused_and_the_first_still_waits(client: vramd.Client) -> None:
    waiting = [client.generate("endless-load", f"{number}") for number in range(AT_MOST)]
    until("they wait", lambda: queued(client, "endless-load") == AT_MOST)
    with pytest.raises(vramd.QueueFull):
        client.embed("endless-load", "x")
    assert queued(client, "endless-load") == AT_MOST
    client.unload("endless-load")
    for stream in waiting:
        with pytest.raises(vramd.Unloaded):
            next(stream)


def test_the_urgent_are_served_first_and_of_two_as_urgent_who_came_first(client: vramd.Client) -> None:
    with busy(client, "one") as running:
        waiting = line_up(client, "one", batch="batch", normal="normal", first="interactive", second=None)
        running.cancel()
        assert in_turn(waiting) == ["first", "second", "normal", "batch"]


def test_a_model_says_how_urgent_its_requests_are_and_that_can_be_changed(
    shared: SupervisorProcess, client: vramd.Client
) -> None:
    caller = shared.caller()
    with busy(client, "lowly") as running:
        waiting = line_up(client, "lowly", unsaid=None, normal="normal")
        running.cancel()
        assert in_turn(waiting) == ["normal", "unsaid"]
    changed = model_pb2.UpdateModelRequest(model="lowly", priority=load_pb2.PRIORITY_INTERACTIVE)
    caller.models.UpdateModel(changed)
    with busy(client, "lowly") as running:
        waiting = line_up(client, "lowly", normal="normal", unsaid=None)
        running.cancel()
        assert in_turn(waiting) == ["unsaid", "normal"]


def wants_to_know(model: str) -> inference_pb2.GenerateRequest:
    return inference_pb2.GenerateRequest(
        model=model,
        prompt=parts("x"),
        limits=inference_pb2.Limits(max_tokens=3),
        scheduling=load_pb2.Scheduling(progress=True),
    )


def test_a_caller_that_asks_sees_who_is_before_it_until_it_is_served(
    shared: SupervisorProcess, client: vramd.Client
) -> None:
    caller = shared.caller()
    with busy(client, "one") as running:
        before = line_up(client, "one", first=None)["first"]
        told = caller.inference.Generate(wants_to_know("one"))
        assert next(told).waiting.ahead == 1
        before.cancel()
        assert next(told).waiting.ahead == 0
        running.cancel()
        answer = [message for message in told if not message.HasField("waiting")]
        assert sum(len(message.token_ids) for message in answer) == 3


def test_a_caller_that_asks_sees_the_load_go_on_and_then_its_answer(
    shared: SupervisorProcess, client: vramd.Client
) -> None:
    caller = shared.caller()
    messages = list(caller.inference.Generate(wants_to_know("cold")))
    kinds = [message.HasField("waiting") for message in messages]
    assert kinds == sorted(kinds, reverse=True)
    shares = [message.waiting.progress for message in messages if message.waiting.HasField("progress")]
    assert len(shares) > 3
    assert shares == sorted(shares)
    assert sum(len(message.token_ids) for message in messages) == 3


def test_who_leaves_while_it_hears_what_it_waits_for_waits_no_longer(
    shared: SupervisorProcess, client: vramd.Client
) -> None:
    caller = shared.caller()
    with busy(client, "one") as running:
        before = line_up(client, "one", first=None)["first"]
        told = caller.inference.Generate(wants_to_know("one"))
        assert next(told).HasField("waiting")
        assert queued(client, "one") == 2
        told.cancel()
        until("it has left", lambda: queued(client, "one") == 1)
        assert next(running)
        before.cancel()


def test_who_watches_sees_a_queue_grow_and_shrink(shared: SupervisorProcess, client: vramd.Client) -> None:
    caller = shared.caller()
    wanted = supervisor_pb2.WatchEventsRequest(kinds=[supervisor_pb2.EVENT_KIND_QUEUE])
    with busy(client, "one"):
        events = caller.supervisor.WatchEvents(wanted)
        events.initial_metadata()
        waiting = line_up(client, "one", a=None, b=None)
        waiting["a"].cancel()
        told = [next(events).queue_changed for _ in range(3)]
        assert [(change.model, change.queued, change.queued_in_all) for change in told] == [
            ("one", 1, 1),
            ("one", 2, 2),
            ("one", 1, 1),
        ]
        events.cancel()


def test_a_model_that_goes_is_not_brought_back_for_who_has_left(client: vramd.Client, story: Story) -> None:
    with ThreadPoolExecutor() as pool, busy(client, "other") as running:
        before = client.load("other").worker_id
        going = pool.submit(client.unload, "other")
        story.until("it drains", lambda _: before in {c.worker_id for c in story.changes("other", "DRAINING")})
        with client.generate("other", "x"):
            until("it waits for the next life of the model", lambda: queued(client, "other") == 1)
        until("it has left", lambda: queued(client, "other") == 0)
        assert next(running)
        running.cancel()
        assert going.result(BOUND_S).worker_id == before
        assert client.model("other").state == "UNLOADED"
