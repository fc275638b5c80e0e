"""osinfo-db as it is installed: its files, and the media that it describes."""
