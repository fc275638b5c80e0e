"""The command line: its words, its commands, and what is printed of their results."""
