"""Everything that can be done to this host, one class a step."""
