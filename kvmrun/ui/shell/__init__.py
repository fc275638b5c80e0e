"""The monitor shell on a terminal."""
