"""The packet filter: our own nftables tables, and what others have loaded."""
