"""What a machine is made of beside its drives and NICs: its processors, and the sockets by which it is reached."""
