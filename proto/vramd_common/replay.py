"""How an answer that lost its worker's memory is computed again. Pure."""

MOST_REPLAYED_TOKENS = 256
"""Tokens of an answer that are computed again one per step, as they were the first time: then the same text follows.

Of a longer answer the older tokens are computed in one piece, which rounds differently, and costs little.
"""
