"""Where a quote comes from: the best source that answers, and it says which; what was asked once is not asked again."""

import asyncio
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from support.gguf_bytes import Plain, gguf, llama, llama_rows
from vramd_common.load_settings import LoadOptions, Settings
from vramd_common.reasons import Reason
from vramd_supervisor.domain.catalog import Model, ModelFile, Problem
from vramd_supervisor.domain.device_view import HOST, DeviceKind, DeviceView
from vramd_supervisor.domain.errors import Refusal
from vramd_supervisor.domain.quote import Answer, Confidence, DeviceBytes, Quote, Source
from vramd_supervisor.files.discovery import file_calls
from vramd_supervisor.files.memory_book import MemoryBook
from vramd_supervisor.quoting.closed_form import quote as closed_form
from vramd_supervisor.quoting.learning import FEWEST_LOADS, MARGIN_SHARE, Observation
from vramd_supervisor.quoting.placement import LoadPlans, placements
from vramd_supervisor.workers import quotes
from vramd_supervisor.workers.helper import Death
from vramd_supervisor.workers.quoter import EngineRefusedError, HelperDiedError, Quoter, QuoterError
from vramd_supervisor.workers.quotes import MOST_ASKED_TOKENS, EngineFacts, QuotedFile, Quotes
from vramd_supervisor.workers.verdicts import Verdicts, way_of

MIB = 1 << 20
IDLE = 50 * MIB
FACTS = EngineFacts(llama_problem="", backends=("CPU",), idle_bytes=IDLE, version="1")
ON_CARD = Settings(2048, 2, "gpu0", -1, 512, "f16", 4)
ON_HOST = replace(ON_CARD, device=HOST, gpu_layers=0)
GOOD: Mapping[str, Any] = {
    "host": {"weights_bytes": 1 * MIB, "context_bytes": 0, "compute_bytes": 2 * MIB},
    "gpus": [{"weights_bytes": 300 * MIB, "context_bytes": 40 * MIB, "compute_bytes": 5 * MIB}],
    "context_tokens": 2048,
}


Outcome: TypeAlias = Mapping[str, Any] | QuoterError | EngineRefusedError
NO = EngineRefusedError(Problem(Reason.MODEL_UNSUPPORTED, "K cache type q8_0 does not divide n_embd_head_k=40"))
DIED = HelperDiedError(Death("killed by SIGSEGV", ""))
ASSERTED = HelperDiedError(
    Death("killed by SIGABRT", "llama-vocab.cpp:2544: GGML_ASSERT(id_to_token.size() == token_to_id.size()) failed")
)


class Scripted(Quoter):
    """A helper that gives one answer, or fails in one way, until it is told otherwise."""

    def __init__(self, answer: Outcome = GOOD) -> None:
        self.answer = answer
        self.next: list[Outcome] = []
        """Answers before that one."""
        self.asked: list[Mapping[str, Any]] = []

    async def ask(self, question: Mapping[str, object]) -> dict[str, Any]:
        self.asked.append(dict(question))
        answer = self.next.pop(0) if self.next else self.answer
        if isinstance(answer, Exception):
            raise answer
        return dict(answer)


@dataclass
class Bench:
    """A model, and quotes for it."""

    folder: Path
    content: bytes = field(default_factory=llama)
    helper: Scripted = field(default_factory=Scripted)

    def __post_init__(self) -> None:
        self.path = self.folder / "m.gguf"
        self.path.write_bytes(self.content)
        self.quotes = Quotes(self.helper, self.folder / "skeletons", (), file_calls())

    def quoted(self) -> QuotedFile:
        return asyncio.run(self.quotes.quoted(self.path))

    def quote(self, settings: Settings = ON_CARD) -> Quote:
        found = self.answer(settings)
        assert isinstance(found, Quote), found
        return found

    def tried(self, facts: EngineFacts = FACTS) -> Problem | None:
        return asyncio.run(self.quotes.tried(self.quoted(), facts)).file.problem

    def answer(self, settings: Settings = ON_CARD) -> Answer:
        return asyncio.run(self.quotes.quote(self.quoted(), settings, FACTS))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def fallen_back(bench: Bench, settings: Settings = ON_CARD) -> Quote:
    """The quote, which is that of the formulas."""
    found = bench.quote(settings)
    assert (found.source, found.confidence) == (Source.CLOSED_FORM, Confidence.CLOSE)
    assert found.devices == closed_form(bench.quoted().file, settings, IDLE).devices
    return found


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_the_dry_run_is_believed(bench: Bench, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = bench.quote()
    assert (found.source, found.confidence) == (Source.DRY_RUN, Confidence.EXACT)
    assert set(found.devices) == {HOST, "gpu0"}
    card = found.devices["gpu0"]
    assert (card.weights_bytes, card.context_bytes, card.compute_bytes) == (300 * MIB, 40 * MIB, 5 * MIB)
    assert card.process_bytes >= DeviceKind.NVIDIA.context_bytes
    assert found.devices[HOST].engine_bytes == 3 * MIB
    assert found.devices[HOST].process_bytes > IDLE
    [question] = bench.helper.asked
    assert (question["settings"]["device"], question["devices"]) == ("gpu0", ["VRAMD0"])
    assert Path(question["path"]).parent == tmp_path / "skeletons"
    assert Path(question["path"]).stat().st_size > 0
    assert warnings(caplog) == []


def test_the_same_is_asked_once(bench: Bench) -> None:
    first = bench.quote()
    assert replace(bench.quote(), seconds=0) == replace(first, seconds=0)
    assert len(bench.helper.asked) == 1
    for changes in ({"context_tokens": 4096}, {"kv_type": "q8_0"}, {"gpu_layers": 1}, {"parallel": 1}, {"outputs": 9}):
        bench.quote(replace(ON_CARD, **changes))
    bench.quote(replace(ON_CARD, flash_attention="off"))
    bench.quote(replace(ON_CARD, swa_full=True))
    bench.quote(replace(ON_CARD, kv_split=True))
    bench.quote(replace(ON_CARD, ubatch_tokens=64))
    assert len(bench.helper.asked) == 10
    bench.quote(replace(ON_CARD, threads=7))
    assert len(bench.helper.asked) == 10


def test_a_changed_file_is_another_question(bench: Bench) -> None:
    bench.quote()
    bench.path.write_bytes(llama(layers=3))
    bench.quote()
    first, second = bench.helper.asked
    assert first["path"] != second["path"]


def test_a_copy_of_a_model_is_the_same_question(bench: Bench, tmp_path: Path) -> None:
    key = bench.quote().key
    bench.path = tmp_path / "copy.gguf"
    bench.path.write_bytes(llama(more={"general.name": "another"}))
    assert bench.quote().key == key
    assert len(bench.helper.asked) == 1


def test_without_the_helper_there_are_formulas(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(tmp_path, helper=Scripted(QuoterError("a known model takes 3 bytes, not 4")))
    for settings in (ON_CARD, ON_HOST, ON_CARD):
        fallen_back(bench, settings)
    [line] = warnings(caplog)
    assert "computed by formulas" in line
    assert "a known model takes 3 bytes, not 4" in line
    assert str(bench.path) in line
    assert len(bench.helper.asked) == 3


def test_a_helper_that_died_is_asked_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(tmp_path, helper=Scripted(QuoterError("it gave no answer: the helper has ended")))
    fallen_back(bench)
    bench.helper.answer = GOOD
    assert bench.quote().source is Source.DRY_RUN
    # What it has said is still known when it is gone for good.
    bench.helper.answer = QuoterError("gone")
    assert bench.quote().source is Source.DRY_RUN
    assert len(warnings(caplog)) == 1


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"host": GOOD["host"]},
        {"host": GOOD["host"], "gpus": []},
        {"host": GOOD["host"], "gpus": [*GOOD["gpus"], *GOOD["gpus"]]},
        {"host": None, "gpus": GOOD["gpus"]},
        {"host": {"weights_bytes": 1}, "gpus": GOOD["gpus"]},
        {"host": GOOD["host"], "gpus": [{**GOOD["gpus"][0], "compute_bytes": "much"}]},
    ],
)
def test_an_answer_that_cannot_be_read_is_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, broken: Mapping[str, Any]
) -> None:
    bench = Bench(tmp_path, helper=Scripted(broken))
    fallen_back(bench)
    [line] = warnings(caplog)
    assert "cannot be read" in line
    # Nor is it kept.
    bench.helper.answer = GOOD
    assert bench.quote().source is Source.DRY_RUN


def test_a_header_that_tells_nothing_leaves_the_size_of_the_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content = gguf({"general.architecture": "strange", "general.name": "it"}, llama_rows(2))
    bench = Bench(tmp_path, content, Scripted(QuoterError("unknown model architecture: 'strange'")))
    found = bench.quote()
    assert (found.source, found.confidence) == (Source.FILE_SIZE, Confidence.ROUGH)
    assert found.devices["gpu0"].weights_bytes >= len(content)
    assert "strange" in warnings(caplog)[0]


def test_a_model_without_a_skeleton_is_not_asked_about(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its vocabulary is larger than any."""
    bench = Bench(tmp_path, gguf_without_tokens())
    fallen_back(bench)
    assert bench.helper.asked == []
    assert bench.quoted().digest == ""
    assert bench.quote().key == ""
    assert any("it has no skeleton: its vocabulary has" in line for line in warnings(caplog))


def gguf_without_tokens() -> bytes:
    metadata: dict[str, Plain] = {
        "general.architecture": "llama",
        "llama.block_count": 2,
        "llama.context_length": 2048,
        "llama.embedding_length": 64,
        "llama.feed_forward_length": 128,
        "llama.attention.head_count": 4,
        "llama.vocab_size": 1 << 30,
    }
    return gguf(metadata, llama_rows(2))


def test_a_folder_that_takes_no_skeleton_leaves_the_formulas(
    bench: Bench, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "skeletons").write_text("in the way")
    fallen_back(bench)
    assert any("it has no skeleton" in line for line in warnings(caplog))


def test_skeletons_that_another_thread_removes_meanwhile_are_not_missed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = Path.glob

    def stale(folder: Path, pattern: str) -> list[Path]:
        return [folder / "gone.gguf", *listed(folder, pattern)]

    monkeypatch.setattr(Path, "glob", stale)
    monkeypatch.setattr(quotes, "_MOST_SKELETONS", 1)
    first = bench.quoted().skeleton
    assert first
    bench.path.write_bytes(llama(layers=3))
    second = bench.quoted().skeleton
    assert second
    assert [file.name for file in listed(first.parent, "*.gguf")] == [second.name]


def test_what_is_no_model_has_a_problem_and_no_skeleton(tmp_path: Path) -> None:
    quoted = Bench(tmp_path, b"GGUF").quoted()
    assert quoted.file.problem
    assert quoted.skeleton is None


def test_three_loads_teach_what_a_load_takes(bench: Bench, tmp_path: Path) -> None:
    book = MemoryBook(tmp_path / "book.sqlite")
    taken = {HOST: 90 * MIB, "gpu0": 500 * MIB}
    for load in range(FEWEST_LOADS):
        bench.quotes.lessons = book.lessons()
        found = bench.quote()
        assert found.source is Source.DRY_RUN
        places = bench.quotes.places(found.devices, FACTS)
        seen = [
            Observation(places[device], need.engine_bytes, taken[device] + load)
            for device, need in found.devices.items()
        ]
        book.record(f"load {load}", found.key, seen)
    bench.quotes.lessons = MemoryBook(tmp_path / "book.sqlite").lessons()
    learned = bench.quote()
    assert (learned.source, learned.confidence) == (Source.LEARNED, Confidence.EXACT)
    for device, took in taken.items():
        believed = took + FEWEST_LOADS - 2
        assert learned.needs[device] == believed + int(believed * MARGIN_SHARE)
    assert learned.devices["gpu0"].engine_bytes == found.devices["gpu0"].engine_bytes

    other = bench.quote(replace(ON_CARD, context_tokens=4096))
    assert other.source is Source.DRY_RUN
    # What the driver takes was learned for every load.
    assert other.devices["gpu0"].process_bytes == taken["gpu0"] + FEWEST_LOADS - 2 - other.devices["gpu0"].engine_bytes
    # What was learned outlives the helper.
    bench.quotes = Quotes(Scripted(QuoterError("gone")), tmp_path / "skeletons", (), file_calls())
    bench.quotes.lessons = book.lessons()
    assert bench.quote().source is Source.LEARNED


def test_another_build_learns_anew(bench: Bench, tmp_path: Path) -> None:
    book = MemoryBook(tmp_path / "book.sqlite")
    found = bench.quote()
    places = bench.quotes.places(found.devices, FACTS)
    for load in range(FEWEST_LOADS):
        book.record(str(load), found.key, [Observation(place, 1, 900 * MIB) for place in places.values()])
    bench.quotes.lessons = book.lessons()
    assert bench.quote().source is Source.LEARNED
    newer = asyncio.run(bench.quotes.quote(bench.quoted(), ON_CARD, replace(FACTS, version="2")))
    assert isinstance(newer, Quote)
    assert (newer.source, newer.needs) == (Source.DRY_RUN, found.needs)


def test_learning_never_goes_below_what_the_engine_allocates(bench: Bench, tmp_path: Path) -> None:
    book = MemoryBook(tmp_path / "book.sqlite")
    found = bench.quote()
    for load in range(FEWEST_LOADS):
        places = bench.quotes.places(found.devices, FACTS)
        book.record(str(load), found.key, [Observation(place, 1, 1) for place in places.values()])
    bench.quotes.lessons = book.lessons()
    learned = bench.quote()
    assert learned.source is Source.LEARNED
    least = {device: need.engine_bytes for device, need in found.devices.items()}
    assert learned.needs == {**least, "host": found.needs["host"]}, "what is not in use yet when it is ready will be"
    assert learned.devices["gpu0"] == DeviceBytes(300 * MIB, 40 * MIB, 5 * MIB)


def test_what_llama_cpp_refuses_is_the_answer_and_no_reason_to_compute(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(tmp_path, helper=Scripted(NO))
    assert bench.answer() == NO.problem
    assert bench.answer() == NO.problem
    assert [Path(one["path"]).parent for one in bench.helper.asked] == [tmp_path / "skeletons", tmp_path]
    bench.helper.answer = GOOD
    assert isinstance(bench.answer(replace(ON_CARD, kv_type="q8_0")), Quote), "it was about these settings only"
    assert warnings(caplog) == []


@pytest.mark.parametrize("of_the_skeleton", [NO, DIED, ASSERTED])
def test_a_skeleton_that_is_refused_is_not_the_last_word(bench: Bench, of_the_skeleton: Outcome) -> None:
    bench.helper.next = [of_the_skeleton]
    found = bench.quote()
    assert (found.source, found.devices["gpu0"].weights_bytes) == (Source.DRY_RUN, 300 * MIB)
    assert len(bench.helper.asked) == 2
    assert bench.quote().devices == found.devices
    assert len(bench.helper.asked) == 2


def test_settings_over_which_the_helper_ends_twice_are_refused(tmp_path: Path) -> None:
    bench = Bench(tmp_path, helper=Scripted(ASSERTED))
    refused = bench.answer()
    assert isinstance(refused, Problem)
    assert "GGML_ASSERT(id_to_token" in refused.text


def test_without_the_helper_the_header_tells_what_is_refused(tmp_path: Path) -> None:
    bench = Bench(tmp_path, llama(more={"llama.attention.key_length": 40}), Scripted(QuoterError("not on this system")))
    refused = bench.answer(replace(ON_CARD, kv_type="q8_0"))
    assert isinstance(refused, Problem)
    assert "keys of 40" in refused.text
    assert bench.quote().source is Source.CLOSED_FORM


def test_a_file_is_tried_once_and_again_when_it_or_the_engine_has_changed(tmp_path: Path) -> None:
    bench = Bench(tmp_path, helper=Scripted(NO))
    for _ in range(2):
        assert bench.tried() == NO.problem
    [question] = bench.helper.asked
    assert (question["path"], question["whole"]) == (str(bench.path), True)
    assert bench.answer() == NO.problem, "a quote hears it too"
    assert len(bench.helper.asked) == 1
    bench.helper.answer = GOOD
    assert bench.tried(replace(FACTS, version="2")) is None
    os.utime(bench.path, ns=(1, 1))
    assert bench.tried() is None
    bench.path.write_bytes(llama(layers=3))
    assert bench.tried() is None
    assert len(bench.helper.asked) == 4
    for _ in range(2):
        assert bench.tried() is None
    assert len(bench.helper.asked) == 4


def test_a_file_over_which_the_helper_ends_is_refused_if_it_says_why_or_ends_twice(bench: Bench) -> None:
    bench.helper.next = [DIED]
    assert bench.tried() is None, "once may be the machine's doing"
    for number, (deaths, words) in enumerate(
        (([DIED, DIED], "killed by SIGSEGV"), ([DIED, ASSERTED], ASSERTED.why), ([ASSERTED], ASSERTED.why))
    ):
        bench.path.write_bytes(llama(layers=3 + number))
        bench.helper.next = [*deaths]
        refused = bench.tried()
        assert refused
        assert refused.reason is Reason.MODEL_UNSUPPORTED
        assert refused.text.endswith(words)
        assert bench.helper.next == []


def test_where_nobody_can_be_asked_a_file_counts_as_good_and_is_asked_about_later(tmp_path: Path) -> None:
    bench = Bench(tmp_path, helper=Scripted(QuoterError("it gave no answer within 10 s")))
    assert bench.tried() is None
    bench.helper.answer = NO
    assert bench.tried() == NO.problem


def test_a_refused_load_is_remembered_for_loads_like_it(tmp_path: Path) -> None:
    bench, why = Bench(tmp_path), Problem(Reason.MODEL_UNSUPPORTED, "it cannot")
    verdicts, file = bench.quotes.verdicts, bench.quoted().file
    verdicts.refused(way_of(file, ON_CARD, FACTS.build), why)
    assert bench.answer(replace(ON_CARD, context_tokens=256)) == why
    assert isinstance(bench.answer(replace(ON_CARD, kv_type="q8_0")), Quote)
    assert isinstance(bench.answer(ON_HOST), Quote)
    assert bench.tried() is None, "the host may take it"
    verdicts.refused(way_of(file, ON_HOST, FACTS.build), why)
    assert bench.tried() == why
    assert bench.answer(replace(ON_CARD, kv_type="q8_0")) == why
    bench.path.write_bytes(llama(layers=3))
    assert bench.tried() is None
    assert isinstance(bench.answer(ON_HOST), Quote)


def test_a_load_that_dies_twice_in_a_row_is_known_for_it() -> None:
    verdicts, file = Verdicts(), ModelFile("/m.gguf", 3, modified_ns=5)
    on_card, on_host = way_of(file, ON_CARD, "1"), way_of(file, ON_HOST, "1")
    assert not verdicts.died(on_card)
    assert not verdicts.died(on_host)
    assert verdicts.died(on_card)
    verdicts.loaded(on_card)
    assert not verdicts.died(on_card)


@pytest.mark.parametrize("context", [4 << 20, 16 << 20])
@pytest.mark.parametrize("device", [HOST, "gpu0"])
def test_a_giant_context_is_computed_and_what_would_fit_is_found_with_few_questions(
    bench: Bench, context: int, device: str
) -> None:
    """llama.cpp takes seconds to answer for such a context, and whoever else asks waits as long."""
    devices = [DeviceView("gpu0", DeviceKind.NVIDIA), DeviceView(HOST, DeviceKind.HOST)]
    available = {HOST: 2000 * MIB, "gpu0": 1000 * MIB}

    async def ways() -> LoadPlans | Refusal:
        quoted = await bench.quotes.quoted(bench.path)
        options = LoadOptions(context_tokens=context, device=device)
        placing = placements(Model("m", quoted.file), options, devices, 1, available)
        return await bench.quotes.answer(placing, quoted, FACTS)

    if device == HOST:
        bench.helper.answer = {**GOOD, "gpus": []}
    found = asyncio.run(ways())
    assert isinstance(found, LoadPlans)
    assert found.plans[0].quote.source is Source.CLOSED_FORM
    assert found.alternatives
    assert 0 < len(bench.helper.asked) < 40
    assert max(question["settings"]["context_tokens"] for question in bench.helper.asked) <= MOST_ASKED_TOKENS
