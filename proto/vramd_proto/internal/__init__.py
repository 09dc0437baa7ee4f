"""Contracts that no client sees."""
