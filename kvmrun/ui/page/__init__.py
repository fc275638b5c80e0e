"""Pages of the manual: read from Markdown, shown on a terminal and in man(1)."""
