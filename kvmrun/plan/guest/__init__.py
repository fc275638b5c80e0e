"""The start of one guest: images, process, scope and display."""
