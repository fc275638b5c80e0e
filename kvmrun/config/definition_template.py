"""The definition of a new guest: what was asked for, and in comments what holds unless it is changed."""

from collections.abc import Iterable, Mapping
from functools import partial

from kvmrun.config.toml_writer import Entry, format_array_table, format_entry, format_value
from kvmrun.model.firmware.boot import Boot
from kvmrun.model.guest.guest import Guest

_TOLD = (
    ("description", "free text, shown in completions"),
    ("accel", '"tcg" emulates the processor: slower, and works everywhere'),
    ("cpus", ""),
    ("memory", ""),
    ("machine", '"q35", "pc", "microvm"'),
    ("display", '"vnc" on a Unix socket, "vnc:5901" on a port of 127.0.0.1'),
    ("groups", "kvmrun up @GROUP starts all guests of a group"),
    ("autostart", "started by kvmrun up --autostart and by the units of kvmrun export systemd"),
    ("after", "guests that have to be ready before this one starts"),
    ("ready", '"address", "seed", "port:22", "console:TEXT": when guests after it start'),
    ("protect", "true: stop, kill, reset and restart need --force"),
)


def definition_text(
    now: Guest,
    images: str,
    *,
    keys: Iterable[Entry] = (),
    drives: Iterable[Iterable[Entry]],
    nics: Iterable[Mapping[str, object]],
) -> str:
    """The text of the file. `now` is the guest as it is with an empty file and `keys`, which are written out.

    What is in comments is what holds, in the form in which it may be written.
    """
    head = (
        f"# {now.name}: the keys in comments show what applies now; remove the # to change one.\n"
        f"# kvmrun check {'':<{len(now.name)}} validates the lab; kvmrun help lab describes every key\n"
        f"# kvmrun show {now.name}  prints this guest with all its defaults\n"
        f"# kvmrun {now.name} {'':<5} starts it\n\n"
    )
    given = {entry[0]: entry for entry in keys}
    values = {key: value for key, value in now.as_dict().items() if value is not None and value != ""}
    commented = {key: f"# {format_entry((key, values[key], told))}" for key, told in _TOLD if key in values}
    body = "".join(map(format_entry, (entry for key, entry in given.items() if key not in commented)))
    body += "".join(format_entry(given[key]) if key in given else line for key, line in commented.items())
    tables = [format_array_table("nic", ((key, value, "") for key, value in one.items())) for one in nics]
    body += "" if tables else "nic = []\n"
    return "\n".join(
        [head + body, _boot(now.boot, images), *map(partial(format_array_table, "drive"), drives), *tables]
    )


def seed_text(user: str, backend: str, *, has_agent: bool) -> str:
    """The table of a guest whose image takes a seed by `backend` and has that account, and maybe qemu-guest-agent."""
    agent: Entry = ("packages", ["qemu-guest-agent"], "for kvmrun exec and kvmrun wait --for seed")
    installs = backend == "cloud-init"
    told: list[Entry] = [
        ("user", user, "the account, which may use sudo"),
        ("ssh_keys", ["~/.ssh/id_ed25519.pub"], "not set: the public keys of whoever starts it"),
        *([agent] if installs and has_agent else []),
        ("run", ["echo ready"], "commands of root, one after the other"),
    ]
    head = f"{'[seed]':<31} # what the system is given at its first boot; kvmrun help seeds\n"
    given = format_entry(agent) if installs and not has_agent else ""
    return head + given + "".join(f"# {format_entry(entry)}" for entry in told)


def _boot(boot: Boot, images: str) -> str:
    """The table as comments: the kernel that holds, or the order in which the firmware tries the drives."""
    if boot.kernel is None:
        told = "without a kernel, the firmware boots in this order"
        return f"# [boot]                        # {told}\n# order = {format_value(boot.order)}\n"
    files = {key: getattr(boot, key).removeprefix(f"{images}/") for key in ("kernel", "initrd") if getattr(boot, key)}
    values = files | ({"cmdline": str(boot.cmdline)} if boot.cmdline else {})
    lines = (f"# {format_entry((key, value, ''))}" for key, value in values.items())
    return f'# [boot]                        # from defaults.toml; unset = ["boot"] removes it\n{"".join(lines)}'
