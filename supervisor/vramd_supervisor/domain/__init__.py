"""Plain values: configuration, catalogue, devices, quotes, decisions."""
