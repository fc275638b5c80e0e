"""Words, tables and screens for people."""
