"""Facts of this host: everything is only read."""
