"""The engine for GGUF models: connects the threads, the model and the context."""

import queue
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType

from vramd_common.reasons import Reason

from vramd_worker.engine import Activity, Emit, EngineError, Job, Loaded, Task, Vectors
from vramd_worker.llama.cuts import check_cuts
from vramd_worker.llama.decode_loop import DecodeLoop, Interrupt
from vramd_worker.llama.embedding import EmbeddingBatcher, EmbeddingTask
from vramd_worker.llama.generation import Generation
from vramd_worker.llama.generation_batcher import GenerationBatcher
from vramd_worker.llama.load import check_file, open_model, show_devices, start_engine
from vramd_worker.llama.model import NativeModel
from vramd_worker.llama.native import native_log
from vramd_worker.llama.parameters import LlamaSpec, attends_in_tiles, clamp_threads
from vramd_worker.llama.prompt_thread import PromptThread
from vramd_worker.llama.prompts import Prompts
from vramd_worker.llama.sampling import SamplerChain
from vramd_worker.llama.tasks import Answer, Question
from vramd_worker.llama.tokenizing import Steps, Tokenizer

_RESUMED_PER_STEP = 256
"""Tokens of an answer of another process that are taken in before other tasks have their turn."""


@dataclass(frozen=True)
class _Ready:
    """A loaded model. `generating` or `embedding` is its decode loop, as it gives either text or embeddings."""

    library: ModuleType
    model: NativeModel
    context_tokens: int
    batch_tokens: int
    prompts: Prompts
    prompt_thread: PromptThread
    generating: DecodeLoop[Generation] | None
    embedding: DecodeLoop[EmbeddingTask] | None
    close_context: Callable[[], None]

    @property
    def loop(self) -> DecodeLoop[Generation] | DecodeLoop[EmbeddingTask]:
        loop = self.generating or self.embedding
        assert loop is not None
        return loop


class LlamaEngine:
    """Runs one GGUF model in this process: implements `vramd_worker.engine.Engine`.

    Prompts are prepared in one thread and computed in another; `emit` and `done` are called from either.
    """

    def __init__(self, spec: LlamaSpec, threads: int) -> None:
        self._spec = spec
        self._threads = threads
        self._ready: _Ready | None = None

    def load(self, progress: Callable[[float], None]) -> Loaded:
        """Loads the model; called once, blocks. Raises EngineError. No backend is touched before."""
        spec = self._spec
        check_file(spec.path)
        show_devices(spec)
        library = start_engine(spec.untested)
        opened = open_model(library, spec, self._threads, progress)
        model, context = opened.model, opened.context
        tokenizer = Tokenizer(library, model, opened.vocabulary)
        prompts = Prompts(model, tokenizer, opened.around, opened.vocabulary, opened.context_tokens)
        prompt_thread = PromptThread()
        interrupt = Interrupt(context, native_log(library))
        threads = clamp_threads(self._threads)
        generating: DecodeLoop[Generation] | None = None
        embedding: DecodeLoop[EmbeddingTask] | None = None
        if opened.embeds:
            embedding = DecodeLoop(context, interrupt, EmbeddingBatcher(context, interrupt), threads)
        else:
            batcher = GenerationBatcher(
                model,
                context,
                interrupt,
                opened.context_tokens,
                spec.parallel,
                spec.stream_gap_s,
                tiles=attends_in_tiles(spec),
            )
            if spec.warm_prompt:
                try:
                    prompt = _answer(prompt_thread, prompts.of_warm(spec.warm_prompt))
                except EngineError:
                    prompt_thread.close()
                    context.close()
                    model.close()
                    raise
                if batcher.warm(prompt, lambda: progress(1.0)):
                    # Few, if the chat template leaves system messages out.
                    sys.stderr.write(f"the warm prompt has {len(prompt)} tokens, which all prompts may begin with\n")
                else:
                    sys.stderr.write("the warm prompt could not be computed, and is left out\n")
            generating = DecodeLoop(context, interrupt, batcher, threads)
        self._ready = _Ready(
            library,
            model,
            opened.context_tokens,
            context.batch_tokens,
            prompts,
            prompt_thread,
            generating,
            embedding,
            context.close,
        )
        return Loaded(opened.context_tokens, opened.memory)

    def generate(self, job: Job, emit: Emit) -> Task:
        ready = self._loaded
        generation = Generation(job, emit)

        def is_unwanted() -> bool:
            ready.prompt_thread.goes_on()
            return generation.cancelled

        def prepare() -> Iterator[None]:
            if ready.generating is None:
                raise EngineError(Reason.GENERATION_UNSUPPORTED, "the model gives embeddings only")
            tokens = yield from ready.prompts.of_job(job, is_unwanted)
            ready.prompts.check_answer(len(tokens), job.resume)
            check_cuts(job.resume_cuts, len(tokens), ready.batch_tokens)
            chain = SamplerChain(ready.library, ready.model, job.sampling, tokens, ready.context_tokens, job.drawn_seed)
            generation.ready(tokens, chain)
            for place, token in enumerate(job.resume, 1):
                if not place % _RESUMED_PER_STEP:
                    yield
                generation.resume(token, ready.model.said(token))
            ready.generating.add(generation)

        ready.prompt_thread.add(generation, prepare())
        return generation

    def embed(self, texts: Sequence[str], done: Callable[[Vectors | EngineError], None]) -> Task:
        ready = self._loaded
        task = EmbeddingTask(done)

        def prepare() -> Iterator[None]:
            if ready.embedding is None:
                raise EngineError(Reason.EMBEDDING_UNSUPPORTED, "the model gives no embeddings")
            inputs: list[Sequence[int]] = []
            for text in texts:
                inputs.append((yield from ready.prompts.of_text(text)))
            if not inputs:
                task.finish()
                return
            task.ready(inputs)
            ready.embedding.add(task)

        ready.prompt_thread.add(task, prepare())
        return task

    def tokenize(
        self, text: str, add_special: bool, parse_special: bool, done: Callable[[Sequence[int] | EngineError], None]
    ) -> Task:
        steps: Steps[Sequence[int]] = self._loaded.prompts.of_question(text, add_special, parse_special)
        return self._ask(Question(done), steps)

    def detokenize(self, token_ids: Sequence[int], done: Callable[[bytes | EngineError], None]) -> Task:
        """Takes the tokens in and returns at once; control tokens are given by name."""
        return self._ask(Question(done), self._loaded.prompts.of_tokens(token_ids))

    def _ask(self, question: Question[Answer], steps: Steps[Answer]) -> Task:
        self._loaded.prompt_thread.add(question, question.answer_by(steps))
        return question

    def set_threads(self, threads: int) -> None:
        """Sets the CPU threads from the next step on; before the load, those of the load."""
        self._threads = threads
        if self._ready is not None:
            self._ready.loop.set_threads(clamp_threads(threads))

    def activities(self) -> Sequence[Activity]:
        """Returns the work of both threads; nothing before the load."""
        return (self._ready.prompt_thread.activity(), self._ready.loop.activity()) if self._ready else ()

    def close(self) -> None:
        """Ends the threads and frees the model; running tasks get no answer. A worker just exits instead."""
        ready, self._ready = self._ready, None
        if ready is None:
            return
        ready.prompt_thread.close()
        ready.loop.stop()
        ready.close_context()
        ready.model.close()

    @property
    def _loaded(self) -> _Ready:
        if self._ready is None:
            raise RuntimeError("the model is not loaded")
        return self._ready


def _answer(thread: PromptThread, steps: Steps[Answer]) -> Answer:
    """Returns the result of steps that the thread takes, which has a stack for them. Raises EngineError."""
    answers: queue.SimpleQueue[Answer | EngineError] = queue.SimpleQueue()
    question = Question(answers.put)
    thread.add(question, question.answer_by(steps))
    answer = answers.get()
    if isinstance(answer, EngineError):
        raise answer
    return answer
