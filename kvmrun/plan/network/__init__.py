"""A network: bridge, ports, packet filter, routing, addresses and names."""
