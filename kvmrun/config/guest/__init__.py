"""One guest of a lab: which keys apply to it, what of it is valid, and its size."""
