"""Parts of the standard library without what they bring along, for the list and the start: 10 ms of each command.

`typing`, `json`, `socket` and `signal` all load `enum`, and most of them `re`. What the quick paths need of them is
small, and is taken from the C modules below them; the stubs beside the modules tell a type checker that nothing is
different. Whatever else a command loads may use the whole modules: the two never disagree.
"""
