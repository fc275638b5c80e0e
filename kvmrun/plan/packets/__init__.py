"""Packets and rules of a packet filter, followed one packet at a time."""
