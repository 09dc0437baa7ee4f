"""Version 1 of the contract (proto package vramd.v1)."""
