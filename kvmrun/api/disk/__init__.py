"""The use cases of a guest's drives: reverted to their bases, resized, cloned."""
