"""Benchmarks of vramd against the least that could be done in its place. `vramd bench` runs them."""

BENCHMARKS = ("ipc", "stream", "concurrency", "talk", "prompt", "swap", "memory", "two-models", "threads", "profiles")
"""Each has a module of its name, with `measure`."""

PEERED = ("stream", "concurrency", "talk", "prompt", "swap")
"""Those that measure llama-server too."""

MARKS = ("<!-- bench -->", "<!-- /bench -->")
"""Between these lines a README has the table."""
