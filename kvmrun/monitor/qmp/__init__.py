"""QMP: QEMU's monitor protocol."""
