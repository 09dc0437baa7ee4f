"""Trains a model from nothing: composes its dialogues, trains tokenizer and network, writes and checks the GGUF.

    python -m demo_model.train {companion,coder,mathematician} [FILE]

Needs the extras `train` and `llama`; some minutes on two cores, or on as many as OMP_NUM_THREADS says. Prints the
held-out report and the file's SHA-256, which is the same again on the same machine with the same libraries and as many
threads (other ones round in another way).
"""

import hashlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import torch
from torch import Tensor
from torch.nn import functional

from demo_model.domains import DOMAINS
from demo_model.export import write_gguf
from demo_model.judge import judge
from demo_model.model import Network
from demo_model.report import ask, tell
from demo_model.tokens import ASSISTANT_ID, END_ID, USER_ID, Splitter, check_against_llama, check_template, render
from demo_model.turns import Turn

SEED = 20
ROWS = 32
"""Dialogues in a step."""
PEAK_RATE = 3e-3
WARM_UP_STEPS = 100
THREADS = 2
LARGEST_BYTES = 3_000_000
NO_TARGET = -100


def main() -> int:
    """Trains, writes and judges; 1 if the file misses a bar."""
    domain = DOMAINS[sys.argv[1]]
    path = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(f"{domain.name}.gguf")
    torch.manual_seed(SEED)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", THREADS)))
    torch.use_deterministic_algorithms(True)
    started_s = time.monotonic()

    chance = Random(SEED)
    dialogues: list[list[Turn]] = [domain.compose(chance) for _ in range(domain.dialogues)]
    questions = domain.questions(100)
    texts = [render(turns) for turns in dialogues]
    splitter = Splitter.trained(texts, domain.shape.vocabulary, digit_by_digit=domain.digit_by_digit)
    ids = splitter.split(texts)
    write_gguf(path, domain, splitter.vocabulary, None)
    check_template(dialogues)
    check_against_llama(path, texts, ids)
    asked = [question.text for question in questions]
    check_against_llama(path, asked, splitter.split(asked))
    print(f"{len(texts)} dialogues, {sum(map(len, ids))} tokens; llama.cpp splits them alike", flush=True)

    network = Network(domain.shape)
    train(network, ids, chance)
    weights = {name: weight.detach().numpy() for name, weight in network.named_parameters()}
    parameters = sum(weight.size for weight in weights.values())
    write_gguf(path, domain, splitter.vocabulary, weights)
    minutes = (time.monotonic() - started_s) / 60
    size_bytes = path.stat().st_size
    assert parameters <= 1_500_000
    assert size_bytes <= LARGEST_BYTES
    print(f"{parameters} parameters, {size_bytes} bytes, {minutes:.1f} minutes")

    replies = ask(path, asked)
    report = judge(questions, replies)
    print(tell(questions, replies, report))
    print(f"sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}")
    return 0 if report.passes else 1


def train(network: Network, ids: list[list[int]], chance: Random) -> None:
    """One pass over the dialogues: AdamW, a rate that rises for a moment and then falls to nothing."""
    matrices = [weight for weight in network.parameters() if weight.dim() == 2]
    norms = [weight for weight in network.parameters() if weight.dim() == 1]
    groups = [{"params": matrices, "weight_decay": 0.05}, {"params": norms, "weight_decay": 0.0}]
    steps = len(ids) // ROWS
    optimizer = torch.optim.AdamW(groups, lr=PEAK_RATE, betas=(0.9, 0.98), fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / WARM_UP_STEPS, (steps - step) / (steps - WARM_UP_STEPS))
    )
    loss_sum = 0.0
    for step, (tokens, targets) in enumerate(_batches(ids, chance), start=1):
        wanted = targets != NO_TARGET
        scores = network.scores(network(tokens)[wanted])
        loss = functional.cross_entropy(scores, targets[wanted])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        loss_sum += loss.item()
        if step % 100 == 0:
            print(f"step {step} of {steps}: loss {loss_sum / 100:.4f}", flush=True)
            loss_sum = 0.0


def _batches(ids: list[list[int]], chance: Random) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows of about the same length, in any order; only the model's own words are targets."""
    # Sorted in large shares of the whole: rows fit together, and steps still differ.
    share = ROWS * 64
    starts: list[list[list[int]]] = []
    for begin in range(0, len(ids), share):
        rows = sorted(ids[begin : begin + share], key=len)
        starts += [rows[row : row + ROWS] for row in range(0, len(rows) - ROWS + 1, ROWS)]
    chance.shuffle(starts)
    for rows in starts:
        length = max(map(len, rows))
        padded = torch.tensor([row + [END_ID] * (length - len(row)) for row in rows])
        targets = torch.tensor([_targets(row) + [NO_TARGET] * (length - len(row)) for row in rows])
        yield padded[:, :-1], targets[:, 1:]


def _targets(row: list[int]) -> list[int]:
    """The row's tokens where the model speaks, up to the end of its turn; elsewhere no target."""
    speaks = False
    targets: list[int] = []
    for token in row:
        targets.append(token if speaks else NO_TARGET)
        if token in (ASSISTANT_ID, USER_ID):
            speaks = token == ASSISTANT_ID
        elif token == END_ID:
            speaks = False
    return targets


if __name__ == "__main__":
    sys.exit(main())
