"""Networks: brought up, held while they are used, taken down, shown."""
