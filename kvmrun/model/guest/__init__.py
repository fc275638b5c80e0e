"""A guest, its devices, its state and its record."""
