"""One module per subcommand: HELP, configure(parser), run(args). The folder is the table."""

import os
import sys
from types import ModuleType

_HERE = os.path.dirname(__file__)
ALIASES = {"ls": "list"}


def names() -> list[str]:
    """Every command there is."""
    return sorted(file[:-3] for file in os.listdir(_HERE) if file.endswith(".py") and not file.startswith("_"))


def is_command(name: str) -> bool:
    """Whether there is a command of that name."""
    name = ALIASES.get(name, name)
    return name.isidentifier() and not name.startswith("_") and os.path.exists(f"{_HERE}/{name}.py")


def load(name: str) -> ModuleType | None:
    """The module of the command `name`, None when there is none. The one dynamic import: only what was asked for."""
    if not is_command(name):
        return None
    name = ALIASES.get(name, name)
    __import__(f"{__name__}.{name}")  # what importlib does: 0.5 ms less
    return sys.modules[f"{__name__}.{name}"]


def help_of(name: str) -> str:
    """A command's one line of help, read without loading what it needs."""
    with open(f"{_HERE}/{name}.py", encoding="utf-8") as file:
        return next((line.split('"')[1] for line in file if line.startswith("HELP = ")), "")
