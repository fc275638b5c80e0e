"""Talking to a running guest: its agent, its console, its log, its monitor."""
