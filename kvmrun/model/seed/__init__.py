"""The seed of a guest: what its system is given at its first boot."""
