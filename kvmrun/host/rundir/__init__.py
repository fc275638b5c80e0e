"""The runtime directory: locks, sockets and records of guests and networks."""
