"""The images behind the drives of guests: made, opened, copied and resized."""
