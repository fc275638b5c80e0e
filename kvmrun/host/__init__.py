"""The only code that changes this machine."""
