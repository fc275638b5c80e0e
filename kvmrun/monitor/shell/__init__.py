"""The language of the monitor shell."""
