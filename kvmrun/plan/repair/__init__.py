"""What is wrong with guests, networks and links, and the steps that repair it."""
