"""The engine for GGUF models as the worker sees it: it puts the rooms of this package together."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType

from vramd_common.reasons import Reason

from vramd_worker.engine import Emit, EngineError, Job, Loaded, Task, Vectors
from vramd_worker.llama.decode_loop import DecodeLoop, Interrupt
from vramd_worker.llama.embedding import EmbeddingBatcher, EmbeddingTask
from vramd_worker.llama.generation import Generation
from vramd_worker.llama.generation_batcher import GenerationBatcher
from vramd_worker.llama.ggml import load_backends
from vramd_worker.llama.load import check_file, open_model, show_devices
from vramd_worker.llama.model import NativeModel
from vramd_worker.llama.native import bind, native_log
from vramd_worker.llama.parameters import LlamaSpec, clamp_threads
from vramd_worker.llama.prompt_thread import PromptThread
from vramd_worker.llama.prompts import Prompts
from vramd_worker.llama.questions import Question
from vramd_worker.llama.sampling import SamplerChain
from vramd_worker.llama.tokenizing import Tokenizer


@dataclass(frozen=True)
class _Ready:
    """What there is once the model is loaded; one of the loops, for a model gives either text or embeddings."""

    library: ModuleType
    model: NativeModel
    context_tokens: int
    prompts: Prompts
    prompt_thread: PromptThread
    generation: DecodeLoop[Generation] | None
    embedding: DecodeLoop[EmbeddingTask] | None
    close_context: Callable[[], None]


class LlamaEngine:
    """One GGUF model in this process: implements `vramd_worker.engine.Engine`.

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
        library = bind(spec.untested)
        log = native_log(library)
        load_backends(library)
        library.llama_backend_init()
        opened = open_model(library, log, spec, self._threads, progress)
        model, context = opened.model, opened.context
        interrupt = Interrupt(context, log)
        threads = clamp_threads(self._threads)
        generation: DecodeLoop[Generation] | None = None
        embedding: DecodeLoop[EmbeddingTask] | None = None
        if opened.embeds:
            embedding = DecodeLoop(context, interrupt, EmbeddingBatcher(context, interrupt), threads)
            embedding.start()
        else:
            work = GenerationBatcher(model, context, interrupt, opened.context_tokens, spec.parallel)
            generation = DecodeLoop(context, interrupt, work, threads)
            generation.start()
        tokenizer = Tokenizer(library, model, opened.vocabulary)
        prompts = Prompts(model, tokenizer, opened.around, opened.vocabulary, opened.context_tokens)
        self._ready = _Ready(
            library, model, opened.context_tokens, prompts, PromptThread(), generation, embedding, context.close
        )
        return Loaded(
            context_tokens=opened.context_tokens,
            trained_context_tokens=model.trained_context_tokens,
            embedding_dimensions=model.embedding_dimensions if opened.embeds else 0,
            has_chat_template=prompts.has_template,
            memory=opened.memory,
        )

    def generate(self, job: Job, emit: Emit) -> Task:
        """Takes the job in and returns at once."""
        ready = self._loaded
        generation = Generation(job, emit)

        def prepare() -> Iterator[None]:
            if ready.generation is None:
                generation.fail(EngineError(Reason.GENERATION_UNSUPPORTED, "the model gives embeddings only"))
                return
            try:
                tokens = yield from ready.prompts.of_job(job, lambda: generation.cancelled)
            except EngineError as error:
                generation.fail(error)
                return
            chain = SamplerChain(ready.library, ready.model, job.sampling, tokens, ready.context_tokens)
            generation.ready(tokens, chain)
            ready.generation.add(generation)

        ready.prompt_thread.add(generation, prepare())
        return generation

    def embed(self, texts: Sequence[str], done: Callable[[Vectors | EngineError], None]) -> Task:
        """Takes the texts in and returns at once."""
        ready = self._loaded
        task = EmbeddingTask(done)

        def prepare() -> Iterator[None]:
            if ready.embedding is None:
                task.fail(EngineError(Reason.EMBEDDING_UNSUPPORTED, "the model gives no embeddings"))
                return
            inputs: list[Sequence[int]] = []
            try:
                for text in texts:
                    inputs.append((yield from ready.prompts.of_text(text)))
            except EngineError as error:
                task.fail(error)
                return
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
        """Takes the text in and returns at once."""
        ready = self._loaded
        question: Question[Sequence[int]] = Question(done)
        ready.prompt_thread.add(
            question, question.answered(ready.prompts.of_question(text, add_special, parse_special))
        )
        return question

    def detokenize(self, token_ids: Sequence[int], done: Callable[[bytes | EngineError], None]) -> Task:
        """Takes the tokens in and returns at once; control tokens are given by name."""
        ready = self._loaded
        question: Question[bytes] = Question(done)
        ready.prompt_thread.add(question, question.answered(ready.prompts.of_tokens(token_ids)))
        return question

    def set_threads(self, threads: int) -> None:
        """CPU threads from the next step on; before the load, those of the load."""
        self._threads = threads
        if self._ready is not None:
            for loop in (self._ready.generation, self._ready.embedding):
                if loop is not None:
                    loop.set_threads(clamp_threads(threads))

    def close(self) -> None:
        """Ends the threads and frees the model; what still runs gets no answer. A worker just exits instead."""
        ready, self._ready = self._ready, None
        if ready is None:
            return
        ready.prompt_thread.close()
        for loop in (ready.generation, ready.embedding):
            if loop is not None:
                loop.stop()
        ready.close_context()
        ready.model.close()

    @property
    def _loaded(self) -> _Ready:
        if self._ready is None:
            raise RuntimeError("the model is not loaded")
        return self._ready
