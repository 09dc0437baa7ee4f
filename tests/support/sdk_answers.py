"""What the Python SDK gets of a supervisor, for the test of another client that has to get the same.

    python tests/support/sdk_answers.py encoder FILE.gguf
    python tests/support/sdk_answers.py ask RUNTIME_DIR > ANSWERS.json

The first makes a model that gives vectors. The second asks the supervisor for greedy answers of its model `companion`
and for vectors of its model `encoder`; those come as little-endian floats in hexadecimal.
"""

import itertools
import json
import random
import struct
import sys
from pathlib import Path

import vramd
from support.gguf_models import WORDS, random_bert

ASKED = ("I like {}.", "Tell me about {}.", "What is the best thing about {}?", "{}, {}, {}!", "¿{}? ❤ 漢字 \U0001f600")
ABOUT = ("music", "the sea", "trains", "cats", "rain", "books", "my garden", "tea", "long walks", 'a "quoted" word')
MOST_TOKENS = 40
MOST_WORDS = 40


def prompts() -> list[str]:
    """Fifty, some with characters of two, three and four bytes."""
    return [asked.format(*[about] * 3) for asked, about in itertools.product(ASKED, ABOUT)]


def texts() -> list[str]:
    """Fifty, of words that the encoder knows."""
    chance = random.Random(1)
    return [" ".join(chance.choices(WORDS, k=1 + number % MOST_WORDS)) for number in range(50)]


def answers(client: vramd.Client) -> dict[str, object]:
    chats = []
    for prompt in prompts():
        answer = client.chat("companion", prompt, temperature=0, max_tokens=MOST_TOKENS)
        chats.append({"prompt": prompt, "text": answer.text, "token_ids": answer.token_ids})
    vectors = client.embed("encoder", texts()).vectors
    packed = [struct.pack(f"<{len(vector)}f", *vector).hex() for vector in vectors]
    return {"chats": chats, "texts": texts(), "vectors": packed}


def main() -> None:
    verb, path = sys.argv[1:]
    if verb == "encoder":
        random_bert(Path(path))
        return
    with vramd.Client(path) as client:
        json.dump(answers(client), sys.stdout)


if __name__ == "__main__":
    main()
