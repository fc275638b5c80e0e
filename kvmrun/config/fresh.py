"""The definition of a new guest: what was asked for, and in comments what holds unless it is changed."""

from functools import partial

from kvmrun.config import draft
from kvmrun.light.abc import Iterable, Mapping
from kvmrun.model.guest import Guest

_TOLD = (
    ("description", "a word to yourself, shown in the list of completions"),
    ("accel", '"tcg" emulates: slower, and runs anywhere'),
    ("cpus", ""),
    ("memory", ""),
    ("machine", '"q35", "pc", "microvm"'),
    ("display", '"vnc" on a Unix socket, "vnc:5901" on a port of this host'),
    ("groups", "kvmrun up @NAME"),
    ("autostart", "for kvmrun up --autostart, and the units of kvmrun export systemd"),
    ("after", "the names of guests that are to be ready before"),
    ("ready", '"address", "port:22", "console:TEXT": what those after it wait for'),
    ("protect", "true: stop, kill, reset and restart want --force"),
)
_BOOT = """# [boot]                        # without a kernel the guest boots from its drives
# kernel = "vmlinuz"            # a name without a slash is a file in {images}
# initrd = "initrd"
# cmdline = "console=ttyS0"
"""
Entry = tuple[str, object, str]
"""A key, its value, and what is to be said of it."""


def text(now: Guest, images: str, drives: Iterable[Iterable[Entry]], nics: Iterable[Mapping[str, object]]) -> str:
    """The text of the file; `now` is the guest as it would be with an empty one."""
    head = (
        f"# {now.name}: what stands behind a # holds now; take the # away to change it.\n"
        f"# kvmrun check {'':<{len(now.name)}} what is wrong with the lab\n"
        f"# kvmrun show {now.name}  what this guest is, with all its defaults\n"
        f"# kvmrun {now.name} {'':<5} start it\n\n"
    )
    values = {key: value for key, value in now.as_dict().items() if value is not None}
    body = "".join(f"# {draft.line((key, _plain(values[key]), told))}" for key, told in _TOLD)
    cards = [draft.table("nic", ((key, _plain(value), "") for key, value in one.items())) for one in nics]
    body += "" if cards else "nic = []\n"
    return "\n".join([head + body, _BOOT.format(images=images), *map(partial(draft.table, "drive"), drives), *cards])


def _plain(value: object) -> object:
    return value if isinstance(value, bool | tuple | list) or type(value) is int else str(value)
