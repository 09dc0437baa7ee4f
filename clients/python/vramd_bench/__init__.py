"""Benchmarks of vramd against the least that could be done in its place. `vramd bench` is their door."""
