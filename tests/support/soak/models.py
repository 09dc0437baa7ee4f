"""The models of a soak: four simulated ones and two of llama.cpp, and some that only show a fault."""

from pathlib import Path
from typing import Any

from support.supervisor_process import CARD, simulated
from vramd_worker.simulated import words

CARD_TOTAL_BYTES = 8 << 30
SIMULATED: dict[str, dict[str, Any]] = {
    "talker": {"card": "2GiB", "tokens_per_s": 100, "load_s": 0.2},
    "writer": {"card": "2560MiB", "tokens_per_s": 60, "load_s": 0.8},
    "scribe": {"card": "1GiB", "tokens_per_s": 150, "load_s": 0.4},
    "helper": {"card": "512MiB", "tokens_per_s": 300, "load_s": 0.05, "pinned": True},
}
RECITING = {"bard": 24, "poet": 60}
"""Models of llama.cpp, and how many words they say whatever they are asked."""
WORDS_A_TOKEN = tuple(f"word{number}" for number in range(30))
SERVING = (*SIMULATED, *RECITING)
FAULTY = {
    "hanging": ["hang-in-load"],
    "starving": ["oom"],
    "leaving": ["exit-in-load"],
    "noisy": ["flood-stderr", "garbage-on-stdout"],
}
"""Models that no client asks for, and their faults."""
STALL_S = 15.0
"""Longer than a busy machine holds a process up that does not hang."""
SETTINGS = f"""
[server]
stall_s = {STALL_S}
[scheduling]
stop_s = 0.3
drain_s = 5
minimum_residency_s = 1
"""


def configuration(folder: Path) -> str:
    """Writes the files of the models of llama.cpp, too."""
    from support.gguf_models import reciting_llama

    tables = [SETTINGS, CARD]
    tables += [simulated(model, **settings) for model, settings in SIMULATED.items()]
    tables += [simulated(model, card="", manners=manners) for model, manners in FAULTY.items()]
    for model, length in RECITING.items():
        text: list[str | int] = list(WORDS_A_TOKEN[: length // 2])
        text += list(range(ord("!"), ord("!") + length - len(text)))
        path = reciting_llama(folder / f"{model}.gguf", text)
        tables.append(f'[models.{model}]\npath = "{path.as_posix()}"\ncontext = 1024\nthreads = 1\n')
    return "\n".join(tables)


def simulated_text(seed: int, tokens: int) -> str:
    """What a simulated model answers."""
    return words.detokenize([words.word_token(seed, position) for position in range(tokens)]).decode()
