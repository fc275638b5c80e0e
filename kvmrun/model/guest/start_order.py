"""Who comes after whom: the order of starts, and of stops the other way round."""

from collections.abc import Iterable, Mapping

Before = Mapping[str, tuple[str, ...]]
"""For each guest those that come before it."""


def restrict(before: Mapping[str, Iterable[str]], names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """`before`, of `names` alone: what is not part of a command is not waited for."""
    wanted = dict.fromkeys(names)
    return {name: tuple(one for one in dict.fromkeys(before.get(name, ())) if one in wanted) for name in wanted}


def inverted(before: Before) -> dict[str, tuple[str, ...]]:
    """The same order from its end."""
    after: dict[str, list[str]] = {name: [] for name in before}
    for name, others in before.items():
        for one in others:
            if one in after:
                after[one].append(name)
    return {name: tuple(others) for name, others in after.items()}


def find_cycle(before: Before, name: str) -> tuple[str, ...]:
    """The way from `name` through those before it back to itself, such as (a, b, a); () when there is none."""
    came: dict[str, str] = {}
    left = [name]
    while left:
        here = left.pop()
        for one in before.get(here, ()):
            if one == name:
                return (name, *_way(came, name, here), name) if here != name else (name, name)
            if one not in came:
                came[one] = here
                left.append(one)
    return ()


def _way(came: Mapping[str, str], start: str, end: str) -> tuple[str, ...]:
    """The names after `start` on the way to `end`, by whom each was reached from."""
    found = [end]
    while came[found[-1]] != start:
        found.append(came[found[-1]])
    return tuple(reversed(found))


def find_cycles(before: Before) -> set[str]:
    """All that are in a circle, found in one pass: the strongly connected components of Tarjan's algorithm."""
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    on_stack: set[str] = set()
    found: set[str] = set()
    for root in before:
        work = [(root, iter(before[root]))] if root not in number else []
        while work:
            name, others = work[-1]
            if name not in number:
                number[name] = low[name] = len(number)
                stack.append(name)
                on_stack.add(name)
            for one in others:
                if one == name:
                    found.add(name)
                elif one not in number:
                    work.append((one, iter(before.get(one, ()))))
                    break
                elif one in on_stack:
                    low[name] = min(low[name], number[one])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[name])
                if low[name] == number[name]:
                    found |= _component(stack, on_stack, name)
    return found


def _component(stack: list[str], on_stack: set[str], name: str) -> set[str]:
    """Take the component of `name` from the stack; those in it where they are several, for one alone is no circle."""
    at = stack.index(name) if stack[-1] != name else len(stack) - 1
    members = stack[at:]
    del stack[at:]
    on_stack.difference_update(members)
    return set(members) if len(members) > 1 else set()


def without_cycles(before: Before) -> dict[str, tuple[str, ...]]:
    """`before` without the guests' own circles: records, unlike definitions, were never checked together."""
    wrong = find_cycles(before)
    return {name: () if name in wrong else others for name, others in before.items()}
