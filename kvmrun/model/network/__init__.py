"""A network, its state and its record."""
