"""The devices of this machine: found, measured, watched."""
