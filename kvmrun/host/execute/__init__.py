"""Executors: each step to the function that performs it, and its reversal."""
