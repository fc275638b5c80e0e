"""Links, bridges, taps, addresses and routes, by netlink, ioctl and sysfs."""
