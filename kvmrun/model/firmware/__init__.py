"""What a guest has before its system: its machine, what it boots, its firmware and its TPM."""
