"""Did you mean: the known word nearest to an unknown one, counted in typing errors."""

from collections.abc import Iterable

_LONGEST = 64


def closest(word: str, known: Iterable[str]) -> str:
    """The nearest of `known`: with one typing error in three letters or less, or the only one that `word` begins."""
    known = list(known)
    if near := nearest(word, known)[0]:
        return near
    begun = {one for one in known if len(word) > 2 and one.startswith(word)}
    return begun.pop() if len(begun) == 1 else ""


def nearest(word: str, known: Iterable[str]) -> tuple[str, int]:
    """The one of `known` with the fewest typing errors, and how many they are; ("", 0) when none is near."""
    word = word[:_LONGEST]
    limit = min(3, max(len(word[:1]), len(word) // 3))
    found = [(distance(word, one), one) for one in known if abs(len(one) - len(word)) <= limit]
    errors, one = min((pair for pair in found if pair[0] <= limit), default=(0, ""))
    return one, errors


def distance(one: str, other: str) -> int:
    """The typing errors between two words: letters left out, added, replaced, or two neighbours exchanged.

    This is the optimal string alignment distance (Damerau and Levenshtein).
    """
    before: list[int] = []
    last = list(range(len(other) + 1))
    for row, letter in enumerate(one, 1):
        now = [row]
        for column, wanted in enumerate(other, 1):
            cost = min(last[column] + 1, now[-1] + 1, last[column - 1] + (letter != wanted))
            if row > 1 and column > 1 and letter == other[column - 2] and one[row - 2] == wanted:
                cost = min(cost, before[column - 2] + 1)
            now.append(cost)
        before, last = last, now
    return last[-1]
