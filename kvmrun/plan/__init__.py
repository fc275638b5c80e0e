"""Pure: a guest and the facts of the host to the steps that are still to be done, or a refusal."""
