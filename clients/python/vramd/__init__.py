"""vramd for Python programs."""
