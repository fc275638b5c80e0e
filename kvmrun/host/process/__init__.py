"""Processes: spawning, signals, systemd scopes and log writers."""
