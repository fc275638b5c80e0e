"""One module per subcommand: HELP, configure(parser), run(args). The folder is the table; "-" is "_" in its names."""

import os
import sys
from types import ModuleType

_HERE = os.path.dirname(__file__)
ALIASES = {"ls": "list"}


def names() -> list[str]:
    """Every command there is."""
    files = (file for file in os.listdir(_HERE) if file.endswith(".py") and not file.startswith("_"))
    return sorted(file[:-3].replace("_", "-") for file in files)


def is_command(name: str) -> bool:
    """Whether there is a command of that name."""
    module = _module(name)
    return "_" not in name and module.isidentifier() and os.path.exists(f"{_HERE}/{module}.py")


def load(name: str) -> ModuleType | None:
    """The module of the command `name`, None when there is none. The one dynamic import: only what was asked for."""
    if not is_command(name):
        return None
    module = f"{__name__}.{_module(name)}"
    __import__(module)  # what importlib does: 0.5 ms less
    return sys.modules[module]


def help_of(name: str) -> str:
    """A command's one line of help, read without loading what it needs."""
    with open(f"{_HERE}/{_module(name)}.py", encoding="utf-8") as file:
        return next((line.split('"')[1] for line in file if line.startswith("HELP = ")), "")


def _module(name: str) -> str:
    return ALIASES.get(name, name).replace("-", "_")
