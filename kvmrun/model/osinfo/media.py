"""Installation media: what the volume descriptor of an ISO says, and how osinfo-db describes those that there are."""

import re

from kvmrun.model.value import Value


class Volume(Value):
    """The primary volume descriptor of ISO 9660; `size` is that of the volume in bytes."""

    volume: str
    system: str
    publisher: str
    application: str
    size: int


class MediaPattern(Value):
    """A description of media: regular expressions, "" for what may be anything; `size` is None where it is not told."""

    volume: str = ""
    system: str = ""
    publisher: str = ""
    application: str = ""
    size: int | None = None

    def likeness(self, found: Volume) -> int:
        """How much of the description `found` fulfils, 0 where it is other media."""
        if not self.volume or self.size not in {None, found.size}:
            return 0
        texts = ("volume", "system", "publisher", "application")
        told = [key for key in texts if getattr(self, key)]
        if not all(_finds(getattr(self, key), getattr(found, key)) for key in told):
            return 0
        return len(told) + (len(texts) if self.size is not None else 0)


def _finds(pattern: str, text: str) -> bool:
    try:
        return re.search(pattern, text) is not None
    except (re.error, RecursionError, OverflowError):
        return False
