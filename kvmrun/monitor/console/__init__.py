"""The serial console of a guest."""
