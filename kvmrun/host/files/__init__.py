"""Files and directories: written whole or not at all, and judged before they are used."""
