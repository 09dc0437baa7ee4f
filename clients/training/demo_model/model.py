"""The network: a small llama, in PyTorch, with the rotary pairs as llama.cpp's llama has them."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from demo_model.shape import Shape


class Network(nn.Module):
    """Gives the scores of each next token. The names of its parts are those of the GGUF, without `.weight`."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.token_embd = nn.Embedding(shape.vocabulary, shape.embedding)
        self.blk = nn.ModuleList(_Block(shape) for _ in range(shape.layers))
        self.output_norm = nn.RMSNorm(shape.embedding, eps=shape.norm_epsilon)
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                # The two that write to the residual start smaller, by the number of writes (GPT-2's rule).
                writes = name.endswith(("attn_output.weight", "ffn_down.weight"))
                nn.init.normal_(weight, std=0.04 / (2 * shape.layers) ** 0.5 if writes else 0.04)

    def forward(self, tokens: Tensor) -> Tensor:
        """Hidden states, (rows, tokens, embedding); `scores` makes scores of those that are wanted."""
        hidden = self.token_embd(tokens)
        turns = _turns(tokens.shape[1], self.shape)
        for block in self.blk:
            hidden = block(hidden, turns)
        return self.output_norm(hidden)

    def scores(self, hidden: Tensor) -> Tensor:
        """Scores over the vocabulary."""
        return functional.linear(hidden, self.token_embd.weight)


class _Block(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width, inner = shape.embedding, shape.feed_forward
        self._heads = shape.heads
        self.attn_norm = nn.RMSNorm(width, eps=shape.norm_epsilon)
        self.attn_q = nn.Linear(width, width, bias=False)
        self.attn_k = nn.Linear(width, width, bias=False)
        self.attn_v = nn.Linear(width, width, bias=False)
        self.attn_output = nn.Linear(width, width, bias=False)
        self.ffn_norm = nn.RMSNorm(width, eps=shape.norm_epsilon)
        self.ffn_gate = nn.Linear(width, inner, bias=False)
        self.ffn_up = nn.Linear(width, inner, bias=False)
        self.ffn_down = nn.Linear(inner, width, bias=False)

    def forward(self, hidden: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
        normed = self.attn_norm(hidden)
        query, key, value = (self._split(part(normed)) for part in (self.attn_q, self.attn_k, self.attn_v))
        seen = functional.scaled_dot_product_attention(_turn(query, turns), _turn(key, turns), value, is_causal=True)
        hidden = hidden + self.attn_output(seen.transpose(1, 2).flatten(2))
        normed = self.ffn_norm(hidden)
        return hidden + self.ffn_down(functional.silu(self.ffn_gate(normed)) * self.ffn_up(normed))

    def _split(self, rows: Tensor) -> Tensor:
        return rows.unflatten(-1, (self._heads, -1)).transpose(1, 2)


def _turns(tokens: int, shape: Shape) -> tuple[Tensor, Tensor]:
    """Cosine and sine of the angle of each position and pair."""
    pairs = torch.arange(0, shape.head_dimensions, 2) / shape.head_dimensions
    angles = torch.outer(torch.arange(tokens), shape.rotary_base**-pairs)
    return angles.cos(), angles.sin()


def _turn(rows: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
    """Rotates the pairs (0, 1), (2, 3) ...: neighbours, which llama.cpp calls the normal way."""
    cosine, sine = turns
    even, odd = rows[..., 0::2], rows[..., 1::2]
    return torch.stack((even * cosine - odd * sine, even * sine + odd * cosine), dim=-1).flatten(-2)
