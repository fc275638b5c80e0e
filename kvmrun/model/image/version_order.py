"""Which of two builds is the newer one: numbers in their names are compared as numbers."""

import re


def version_key(text: str) -> list[tuple[int, int, str]]:
    """A key for sorting: "3.23.10" comes after "3.23.9", and a date after an earlier one."""
    parts = re.findall(r"\d+|[^\d.\-_]+", text)
    return [(1, int(part), "") if part.isdecimal() else (0, 0, part) for part in parts]


def newest_build(page: str, pattern: str) -> str:
    """The newest match of the one group of `pattern` in a page, "" when nothing matches."""
    found = {one if isinstance(one, str) else one[0] for one in re.findall(pattern, page)}
    return max(found, key=version_key, default="")
