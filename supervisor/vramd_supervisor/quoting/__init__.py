"""Quotes of loads, and settings that make them fit. Pure."""
