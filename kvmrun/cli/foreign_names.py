"""What other tools call it: a word that is not a command of kvmrun gets a suggestion, by meaning and then by spelling.

The words are those of virsh, docker, multipass, lima, incus, vagrant and systemctl. Loaded only where such a word was
typed. None of them is a command.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise, takewhile

from kvmrun.api.lab import is_known, no_such_guest
from kvmrun.cli import commands
from kvmrun.cli.arguments import Args
from kvmrun.cli.foreign_options import verb_fix
from kvmrun.config.load_lab import RESERVED
from kvmrun.errors import NoSuchGuest, UsageError
from kvmrun.model.lab import Lab
from kvmrun.model.printable import printable, quoted
from kvmrun.model.suggest import closest, nearest

_COMMANDS: Mapping[str, str] = {
    word: command
    for command, words in {
        "up {}": "start run boot launch begin poweron power-on startvm spawn",
        "stop {}": "shutdown poweroff power-off halt down quit exit end acpipowerbutton",
        "kill {}": "destroy terminate term abort force-stop forcestop forceoff sigkill",
        "restart {}": "reboot reload bounce cycle powercycle power-cycle",
        "reset {}": "hardreset hard-reset",
        "pause {}": "suspend hold",
        "resume {}": "unpause unsuspend continue cont wake wakeup unhold",
        "freeze {}": "domfsfreeze fsfreeze quiesce",
        "thaw {}": "unfreeze domfsthaw fsthaw unquiesce defrost",
        "rm {}": "delete del remove undefine erase purge drop unregister",
        "revert {}": "rollback snapshot-revert restore-base discard pristine",
        "resize {} SIZE": "grow enlarge expand extend blockresize vol-resize",
        "media {} FILE": "change-media cdrom insert dvd iso storageattach",
        "media {} --eject": "eject",
        "rename {} NEW": "move mv domrename",
        "new NEW": "create define make add import register install createvm",
        "clone {} NEW": "duplicate virt-clone clonevm vol-clone",
        "list": "ps status stat state domstate guests instances vms running list-all",
        "list --all-labs": "global-status",
        "list {}": "ip ips addr address addresses domifaddr net-dhcp-leases",
        "show {}": "info inspect describe dumpxml showcmd dominfo domblklist domiflist showvminfo vcpuinfo vnc "
        "vncdisplay domdisplay desc domuuid domid get",
        "view {}": "viewer virt-viewer display spice gui",
        "top": "stats domstats htop usage cpu-stats",
        "events": "event",
        "list -w": "watch",
        "log {}": "logs journal journalctl tail dmesg",
        "console {}": "attach serial terminal tty connect ttyconsole",
        "ssh {}": "login",
        "shell {}": "enter",
        "exec {} COMMAND": "command cmd guest-exec guestcontrol",
        "cp SRC DST": "transfer push pull scp upload download sync",
        "monitor {}": "qmp hmp qemu-monitor-command sendkey send-key inject-nmi nmi",
        "screenshot {} FILE.png": "screendump capture",
        "edit {}": "set config configure modify change update setvcpus setmem setmaxmem memory vcpus",
        "check": "validate lint verify",
        "repair": "fix recover heal",
        "doctor": "diagnose troubleshoot health healthcheck nodeinfo capabilities",
        "net status": "network networks bridge bridges switch net-list net-info net-dumpxml ifconfig port ports",
        "edit networks": "net-define net-create net-edit net-undefine net-update",
        "net up": "ifup net-start",
        "net down": "ifdown net-destroy",
        "wait {}": "await wait-for",
        "init DIR": "setup bootstrap",
        "help": "manual docs documentation topics",
        "--help": "commands",
        "--version": "version",
    }.items()
    for word in words.split()
}
_NOTES: Mapping[str, str] = {
    word: note
    for note, words in {
        "there are no snapshots: kvmrun revert goes back to the base of a drive; qemu-img snapshot makes one of an "
        "image whose guest is stopped": ("snapshot snapshots snapshot-create snapshot-list checkpoint backup restore"),
        "the memory of a guest cannot be saved: kvmrun pause holds it until the guest is stopped": (
            "save managedsave hibernate dump"
        ),
        "guests cannot be migrated: a lab is a directory, which can be copied to another host with its images": (
            "migrate migration evacuate"
        ),
        "autostart is a key of a definition: set autostart = true by kvmrun edit; kvmrun up --autostart starts those": (
            "autostart enable disable"
        ),
        "networks come up with the first guest that uses them; kvmrun export systemd writes units for the boot": (
            "net-autostart"
        ),
        "kvmrun cp copies files: kvmrun cp FILE NAME:PATH into a guest, kvmrun cp NAME:PATH FILE out of it": "file",
        "kvmrun clone NAME NEW copies a guest; kvmrun cp copies files into a guest and out of it": "copy",
        "protect is a key of a definition: set protect = true by kvmrun edit": "protect unprotect",
        "guests are provisioned by a cloud-init seed, or by kvmrun cp and kvmrun exec once they run": (
            "provision cloud-init user-data"
        ),
        "kvmrun up --all starts every guest of a lab, and kvmrun stop --all stops all that run": "compose",
        "what guests have in common is in defaults.toml: kvmrun edit defaults": "profile profiles",
        "directories cannot be shared with guests: kvmrun cp copies files": "mount umount unmount share",
        "a running guest cannot be changed: kvmrun edit changes its definition, kvmrun restart takes what is new": (
            "attach-disk attach-device attach-interface detach detach-disk detach-device detach-interface hotplug "
            "plug unplug setlink"
        ),
        "images are files: kvmrun new --base and --image name them, qemu-img makes and converts them": (
            "image images volume volumes vol pool pools vol-list pool-list vol-create pool-create box boxes storage "
            "disk disks"
        ),
    }.items()
    for word in words.split()
}
_HARMFUL = frozenset({"kill", "rm", "reset", "restart", "stop", "rename", "revert", "pause", "freeze"})
"""What somebody who meant something else would be sorry for: suggested for one typing error, after the first letter."""
_ONE = frozenset({"console", "ssh", "monitor", "log", "show", "edit", "media"})
"""The commands that take one guest, and what follows it is not for them."""
ALL = frozenset({"up", "stop", "kill", "restart", "reset", "pause", "resume", "freeze", "thaw"})
"""The commands that have --all."""


def refuse(lab: Lab, args: Args) -> None:
    """Refuse to start anything where a word of `kvmrun NAME...` names no guest and is first, or may be a command.

    Raises NoSuchGuest; UsageError where --all or --autostart stands beside the names.
    """
    known = [word for word in args.guests if is_known(lab, word)]
    wide = args.all or args.autostart
    for number, word in enumerate(args.guests):
        rest = args.guests[number + 1 :] if number == 0 else known
        fix = "" if word in known else suggestion(word, rest, everything=args.all)
        if word in known or not (fix or wide or number == 0):
            continue
        if not (fix or wide):
            raise no_such_guest(lab, word)
        near = closest(word, [*lab.guests, *lab.invalid])
        if near and fix.endswith("?"):
            fix = f"{fix[:-1]}, or the guest {near}?"
        shown = printable(word, 60)
        what = f"{shown} is not a command, and there is no guest of that name"
        if commands.is_command(word):
            what = f"there is no guest {shown}; a command stands before the names"
        raise (UsageError if wide else NoSuchGuest)(
            what, fix, reason="" if word in RESERVED else f"{lab.directory} has no {shown}.toml"
        )


def refuse_line(words: Sequence[str]) -> None:
    """Raises NoSuchGuest where the first word is the verb of another tool, with whatever options that has."""
    first = next((number for number, word in enumerate(words) if not word.startswith("-")), len(words))
    if first == len(words) or words[first] not in {*_COMMANDS, *_NOTES}:
        return
    rest = list(takewhile(lambda word: not word.startswith("-"), words[first + 1 :]))
    after = [word for before, word in pairwise(words[first:]) if not (before.startswith("-") or word.startswith("-"))]
    rest = rest or after or [word for word in words[first + 1 :] if not word.startswith("-")]
    raise NoSuchGuest(f"{words[first]} is not a command", suggestion(words[first], rest))


def suggestion(word: str, names: Iterable[str] = (), *, everything: bool = False) -> str:
    """A fix for somebody who typed `word` where a command stands; "" where nothing of that meaning or spelling is near.

    `names` are the words that were typed with it, `everything` says whether --all was.
    """
    if word in _NOTES:
        return _NOTES[word]
    if word in {"network", "networks"} and (after := list(names)):
        return verb_fix(after[0], after)
    found = _COMMANDS.get(word) or (_template(word) if commands.is_command(word) else _spelled(word))
    if not found or found in _NOTES.values():
        return found
    if everything and found.split()[0] in ALL:
        return f"did you mean kvmrun {found.format('--all')}?"
    return f"did you mean kvmrun {_filled(found, list(names))}?"


def _filled(template: str, words: list[str]) -> str:
    """The template with the words that were typed: those for guests first, each other one in its turn.

    What takes several guests, or a command, takes all that are left.
    """
    command, *places = template.split()
    slots = sorted((place for place in places if place == "{}" or place.isupper() or "." in place), key="{}".__ne__)
    shown = [quoted(printable(word, 60)) for word in words]
    filled = {}
    for number, slot in enumerate(slots):
        is_last = number == len(slots) - 1 and (slot == "COMMAND" or (slot == "{}" and command not in _ONE))
        taken, shown = (shown, []) if is_last else (shown[:1], shown[1:])
        filled[slot] = " ".join(taken) or ("NAME" if slot == "{}" else slot)
    return " ".join([command, *(filled.get(place, place) for place in places)])


def _template(command: str) -> str:
    """A command of ours with the words it takes."""
    command = commands.ALIASES.get(command, command)
    return next((one for one in _COMMANDS.values() if one.split()[0] == command), command)


def _spelled(word: str) -> str:
    """The template or note of the word that `word` may be with a typing error."""
    ours = [*commands.names(), *commands.ALIASES]
    others = [one for one in (*_COMMANDS, *_NOTES) if one[0] == word[:1] and len(one) > 3]
    near, errors = nearest(word, [*ours, *others])
    if not near or len(word) < 3:
        return ""
    found = _NOTES.get(near) or _COMMANDS.get(near) or _template(near)
    return "" if found.split()[0] in _HARMFUL and (errors > 1 or near[0] != word[0]) else found
