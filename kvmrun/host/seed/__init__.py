"""Seeds on this host: the files they are made of, and where they are kept."""
