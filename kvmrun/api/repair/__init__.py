"""What a crash, a reboot or another tool left: found and repaired."""
