"""Selects the model for a task. Pure."""
