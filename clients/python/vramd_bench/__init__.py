"""Benchmarks of vramd against the least that could be done in its place. `vramd bench` runs them."""
