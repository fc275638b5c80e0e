from signal import *  # noqa: F403 - the same names
