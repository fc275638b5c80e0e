"""Files of the user's own that a text is edited in before it is saved."""

import os
import shutil
import tempfile
from contextlib import suppress


def place(name: str) -> str:
    """The path of a file `name` to be made in a new directory that nobody else may enter."""
    return f"{tempfile.mkdtemp(prefix='kvmrun-')}/{name}"


def remove(path: str) -> None:
    """Remove the file with its directory; what stays is in the way of nobody."""
    with suppress(OSError):  # rmtree does not ignore every error
        shutil.rmtree(os.path.dirname(path), ignore_errors=True)
