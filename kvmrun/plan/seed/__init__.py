"""The seed of a guest as the documents that its system reads."""
