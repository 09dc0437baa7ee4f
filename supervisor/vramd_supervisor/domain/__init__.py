"""Values without behaviour: what the configuration, the catalogue and the devices say."""
