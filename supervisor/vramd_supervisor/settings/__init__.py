"""The configuration of the user: read and checked."""
