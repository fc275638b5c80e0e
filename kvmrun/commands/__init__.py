"""One module per subcommand: HELP, configure(parser), run(args). The folder is the table."""

import os
import sys
from types import ModuleType

from kvmrun.model.suggest import closest

_HERE = os.path.dirname(__file__)
ALIASES = {"ls": "list"}
_ELSEWHERE = {
    **dict.fromkeys(("start", "run", "boot", "launch"), "up"),
    **dict.fromkeys(("shutdown", "poweroff", "halt", "down"), "stop"),
    **dict.fromkeys(("destroy", "terminate"), "kill"),
    **dict.fromkeys(("ps", "status"), "list"),
    **dict.fromkeys(("info", "describe", "showcmd", "dumpxml"), "show"),
    "reboot": "restart",
    "suspend": "pause",
    **dict.fromkeys(("unpause", "continue", "cont"), "resume"),
    **dict.fromkeys(("delete", "remove", "undefine"), "rm"),
    **dict.fromkeys(("create", "define", "clone", "copy"), "new"),
    **dict.fromkeys(("attach", "serial", "terminal"), "console"),
    **dict.fromkeys(("qmp", "hmp"), "monitor"),
    **dict.fromkeys(("logs", "journal"), "log"),
    **dict.fromkeys(("validate", "lint"), "check"),
    **dict.fromkeys(("move", "mv"), "rename"),
    **dict.fromkeys(("network", "networks", "bridge", "switch"), "net"),
    **dict.fromkeys(("help", "usage"), "--help"),
}
"""What other tools call it: for a hint, nothing of it is a command."""


def names() -> list[str]:
    """Every command there is."""
    return sorted(file[:-3] for file in os.listdir(_HERE) if file.endswith(".py") and not file.startswith("_"))


def meant(word: str) -> str:
    """The command somebody who typed `word` is likely to mean, "" when none is near."""
    return _ELSEWHERE.get(word) or closest(word, [*names(), *ALIASES])


def load(name: str) -> ModuleType | None:
    """The module of the command `name`, None when there is none. The one dynamic import: only what was asked for."""
    name = ALIASES.get(name, name)
    if not name.isidentifier() or name.startswith("_") or not os.path.exists(f"{_HERE}/{name}.py"):
        return None
    __import__(f"{__name__}.{name}")  # what importlib does: 0.5 ms less
    return sys.modules[f"{__name__}.{name}"]


def help_of(name: str) -> str:
    """A command's one line of help, read without loading what it needs."""
    with open(f"{_HERE}/{name}.py", encoding="utf-8") as file:
        return next((line.split('"')[1] for line in file if line.startswith("HELP = ")), "")
