"""Parts of the standard library without what they bring along, for the list and the start: 14 ms of each command.

`typing`, `json`, `socket` and `signal` load `enum`, most of them `re`; `contextlib`, `ipaddress` and `collections.abc`
load `collections`, most of them `functools`. What the quick paths need of them is small, and taken from the C modules
below them, or written here and held to the whole ones by tests; the stubs beside the modules tell a type checker what
there is. Whatever else a command loads may use the whole modules, but for addresses: a light one equals no whole one.
"""
