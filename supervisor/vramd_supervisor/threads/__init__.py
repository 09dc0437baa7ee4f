"""Blocking work on daemon threads, waited for within a bound. Knows nothing of models."""
