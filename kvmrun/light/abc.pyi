from collections.abc import *  # noqa: F403 - the same names
