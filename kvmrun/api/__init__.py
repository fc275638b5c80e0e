"""The use cases: everything that the commands do, typed, without printing and without changing the caller's process."""
