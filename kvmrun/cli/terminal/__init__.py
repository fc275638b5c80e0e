"""Commands that have the terminal of a person for a while."""
