from socket import *  # noqa: F403 - the same names
