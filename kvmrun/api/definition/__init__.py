"""Definitions of guests and the images that belong to them."""
