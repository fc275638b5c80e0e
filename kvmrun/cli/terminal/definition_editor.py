"""The person's editor on a draft of a definition, until that is valid."""

import sys
from collections.abc import Iterable

from kvmrun.api.definition.edit_definition import Editing
from kvmrun.cli.terminal import editor
from kvmrun.model.printable import printable
from kvmrun.ui.text.prompt import confirm


def edit_until_valid(text: Editing, stem: str) -> None:
    """Until it is valid or as it was, or the person gives up. Raises HostLacks, KvmrunError."""
    editor.edit(text.draft)
    while (problems := text.problems()) and _ask_retry(stem, [f"{one}" for one in problems]):
        editor.edit(text.draft)


def _ask_retry(stem: str, lines: Iterable[str]) -> bool:
    """Tell the person what is wrong, and ask whether they go on."""
    sys.stderr.write("".join(f"  {printable(line)}\n" for line in lines))
    return bool(confirm(f"{stem} is not valid; edit it again?", usual=True))
