"""The same lab in other languages: pure, from model to text."""
