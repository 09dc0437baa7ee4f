"""What may block, on daemon threads that nobody waits for longer than a bound. Knows nothing of models."""
