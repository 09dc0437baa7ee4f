"""Finds, measures and watches the devices of this machine."""
