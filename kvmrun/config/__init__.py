"""Text to model: reading a lab and saying everything that is wrong with it, at once."""
