"""Which model answers a task. Pure."""
