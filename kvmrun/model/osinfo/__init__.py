"""What osinfo-db says of an operating system, and what a guest gets by that."""
