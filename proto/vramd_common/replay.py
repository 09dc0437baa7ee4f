"""How an answer that lost its worker's memory is computed again. Pure."""

CUTS_KEY = "vramd-cuts-bin"
"""Initial metadata of an answer of a worker: the chunks in which its prompt was computed."""

MOST_REPLAYED_TOKENS = 256
"""Tokens of an answer that are computed again one per step, as they were the first time: then the same text follows.

Of a longer answer the older tokens are computed in one piece, which rounds differently, and costs little.
"""

MOST_REPLAYED_CHUNKS = 256
"""Chunks in which a prompt is computed again, each of its size of the first time. One that came together from more, as
it continued answers of before, is computed as a new one is, which rounds differently.
"""
