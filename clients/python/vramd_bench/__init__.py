"""Benchmarks of vramd against the least that could be done in its place. `vramd bench` runs them."""

BENCHMARKS = ("ipc", "swap", "memory", "two-models", "threads", "profiles")
"""Each has a module of its name, with `measure`."""

MARKS = ("<!-- bench -->", "<!-- /bench -->")
"""Between these lines a README has the table."""
