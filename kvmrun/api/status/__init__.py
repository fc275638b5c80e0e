"""The live state of guests and what they use, from the kernel, QEMU and the definitions."""
