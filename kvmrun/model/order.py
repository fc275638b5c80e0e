"""Who comes after whom: the order of starts, and of stops the other way round."""

from kvmrun.light.abc import Iterable, Mapping

Before = Mapping[str, tuple[str, ...]]
"""For each guest those that come before it."""


def among(before: Mapping[str, Iterable[str]], names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """`before`, of `names` alone: what is not part of a command is not waited for."""
    wanted = dict.fromkeys(names)
    return {name: tuple(one for one in dict.fromkeys(before.get(name, ())) if one in wanted) for name in wanted}


def reverse(before: Before) -> dict[str, tuple[str, ...]]:
    """The same order from its end."""
    return {name: tuple(one for one, others in before.items() if name in others) for name in before}


def circle(before: Before, name: str) -> tuple[str, ...]:
    """The way from `name` through those before it back to itself, such as (a, b, a); () when there is none."""
    ways: dict[str, tuple[str, ...]] = {name: (name,)}
    left = [name]
    while left:
        here = left.pop()
        for one in before.get(here, ()):
            if one == name:
                return (*ways[here], name)
            if one not in ways:
                ways[one] = (*ways[here], one)
                left.append(one)
    return ()


def untangled(before: Before) -> dict[str, tuple[str, ...]]:
    """`before` without the guests' own circles: records, unlike definitions, were never checked together."""
    return {name: () if circle(before, name) else others for name, others in before.items()}
