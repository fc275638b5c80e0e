"""Screens that are drawn anew in place."""
