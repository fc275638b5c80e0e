"""Images of operating systems: what a catalogue, a checksum file and a stream say of them."""
