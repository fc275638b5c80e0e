"""Lines and tables."""
