"""What the facts of this host mean for guests and networks."""
