"""What the start of a guest needs before its system: its machine, the firmware, its variables, and the TPM."""
