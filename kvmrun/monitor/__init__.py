"""Conversations with a running guest."""
