"""What other tools call an option of a command, or a verb of `kvmrun net`: each gets a suggestion.

The words are those of docker, virsh, multipass, lima, incus and vagrant. Loaded only where argparse refuses a word.
"""

from collections.abc import Mapping, Sequence
from itertools import takewhile

from kvmrun.model.printable import printable, quoted
from kvmrun.model.suggest import closest

_OPTIONS: Mapping[str, Mapping[str, str]] = {
    "check": {"--quiet": "-q"},
    "console": {"-f": "--steal", "--force": "--steal"},
    "kill": dict.fromkeys(("-s", "--signal"), "leave it out: kvmrun stop powers a guest down, kvmrun kill ends QEMU"),
    "list": {
        **dict.fromkeys(("--format", "--json", "-f"), "-o json"),
        **dict.fromkeys(
            ("--inactive", "--running", "--filter", "--state-running"),
            "leave it out: the list shows all guests with their states",
        ),
        "--name": "-o json",
    },
    "log": {
        **dict.fromkeys(("--tail", "--num-lines"), "-n LINES"),
        **dict.fromkeys(("--since", "--until", "-t", "--timestamps"), "leave it out: the lines of a log have no time"),
    },
    "net": dict.fromkeys(("--all", "-a"), "leave it out: without a name all networks are meant"),
    "new": {
        **dict.fromkeys(("--ram", "--mem"), "--memory"),
        **dict.fromkeys(("--vcpus", "--cpu", "-c"), "--cpus"),
        **dict.fromkeys(("--disk", "-d"), "--size"),
        **dict.fromkeys(("--iso", "--location"), "--cdrom"),
    },
    "reset": dict.fromkeys(("--hard", "--disks"), "kvmrun revert NAME goes back to the base of its drives"),
    "rm": dict.fromkeys(("--purge", "--remove-all-storage", "--volumes", "--storage", "--all-storage"), "--images"),
    "stop": dict.fromkeys(("-t", "--time", "--delay"), "--timeout SECONDS"),
    "restart": dict.fromkeys(("-t", "--time", "--delay"), "--timeout SECONDS"),
    "up": {
        **dict.fromkeys(("-d", "--detach"), "leave it out: a guest always runs in the background"),
        **dict.fromkeys(("--console", "-it"), "kvmrun console NAME connects to it once it runs"),
        "--restart": "set autostart = true by kvmrun edit",
    },
}
"""By command and option: the option of ours, or what to do instead."""
_VERBS: Mapping[str, str] = {
    word: verb
    for verb, words in {
        "up": "up start enable ifup activate connect",
        "down": "down stop destroy disable ifdown deactivate disconnect",
        "restart": "restart reload reboot",
        "status": "status list ls show info inspect get describe dumpxml list-all state dhcp-leases leases list-leases",
        "edit": "create define new add edit set unset rename rm remove delete undefine prune attach detach",
    }.items()
    for word in words.split()
}


def option_fix(command: str, option: str, known: Sequence[str]) -> str:
    """A fix for an option that the command does not have, "" for none; `known` are those that it has."""
    if text := _OPTIONS.get(command, {}).get(option.partition("=")[0]):
        return f"did you mean {text}?" if text.startswith("-") else text
    near = closest(option.partition("=")[0], [one for one in known if one.startswith("--")])
    return f"did you mean {near}?" if near and option.startswith("--") else ""


def verb_fix(word: str, words: Sequence[str]) -> str:
    """A fix for a word that is no verb of `kvmrun net`, with the words that were typed after it."""
    if _VERBS.get(word) == "edit":
        return "kvmrun edit networks changes networks.toml; kvmrun net up or net restart applies it"
    after = [*takewhile(lambda one: not one.startswith("-"), words[words.index(word) + 1 :] if word in words else ())]
    verb = _VERBS.get(word) or closest(word, ("up", "down", "restart", "status"))
    names = after if verb else [word, *after]
    return f"did you mean kvmrun net {' '.join([verb or 'status', *(quoted(printable(one, 60)) for one in names)])}?"
