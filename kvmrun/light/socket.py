"""Sockets with plain numbers for families and kinds: without `enum` and `selectors`, 4 ms less."""

from _socket import *  # noqa: F403 - the stub has the names
from _socket import socket as _socket


class socket(_socket):  # noqa: N801 - as it is called everywhere
    __slots__ = ()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
