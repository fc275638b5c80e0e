"""The abstract kinds of `collections.abc`, which Python has loaded anyway, without their package: 1.3 ms."""

from _collections_abc import *  # noqa: F403 - the stub has the names
