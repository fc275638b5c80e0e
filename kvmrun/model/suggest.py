"""Did you mean: the known word nearest to an unknown one."""

from kvmrun.light.abc import Iterable


def closest(word: str, known: Iterable[str]) -> str:
    """The nearest of `known`, "" when none is near. difflib is loaded only when somebody mistyped."""
    from difflib import get_close_matches

    return next(iter(get_close_matches(word, list(known), 1)), "")
