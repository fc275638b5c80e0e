"""What the manual says beside the commands themselves: where things are, what is heeded, how a command ends."""

PURPOSE = "start and keep QEMU guests on a real bridge, without a daemon"
SYNOPSIS = ("NAME...", "--list", "COMMAND [...]")
_WHAT = """
kvmrun starts the virtual machines that a directory of TOML files describes: one file a guest, whose stem is the guest's
name. It makes the bridge if it is not there, plugs a tap into it, serves the guest an address and a name, guards its
port, and starts QEMU under KVM as an account of its own. Nothing stays but QEMU, its logger, and one dnsmasq a network.
"""
_NAMES = """
A first word that is no command is a guest to start. MAC, UUID, tap, address and account follow from the guest's name,
and are the same on every host. A guest's state is told from the kernel and from QEMU, never from a file.
"""
_GROUPS = "Where several guests can be named, @GROUP means those with that word in their groups."
DESCRIPTION = (_WHAT, _NAMES, _GROUPS)
_SEARCH = """
where definitions are looked for, in this order; the second not for root. As root they are read only if nobody but root,
or you under sudo, could have written them
"""
CONDITIONS = (
    ("running", "its processors run"),
    ("address", "it answers at its address"),
    ("port:NUMBER", "a connection to that TCP port is taken"),
    ("console:TEXT", "that text was printed on its serial line"),
    ("agent", "its guest agent answers"),
    ("stopped", "it has ended; for kvmrun wait alone"),
)
DEFINITIONS = """
A definition is TOML, and a key that nobody knows is an error. These are the keys of vms.d/NAME.toml with what they are
unless given, and what else they may be; one behind a # is not set unless given.
"""
NETWORKS = "And these are the keys of vms.d/networks.toml."
FILES = (
    ("vms.d/NAME.toml", "the definition of the guest NAME"),
    ("vms.d/networks.toml", "networks and uplinks; without it, one network lan on br0"),
    ("vms.d/defaults.toml", "values that every guest starts from"),
    ("./vms.d, ~/.config/kvmrun/vms.d, /etc/kvmrun/vms.d", _SEARCH),
    ("/run/kvmrun, $XDG_RUNTIME_DIR/kvmrun", "locks, sockets and records of what runs: root's, and other users'"),
    ("/var/lib/kvmrun, ~/.local/state/kvmrun", "images made by kvmrun, logs, leases"),
)
ENVIRONMENT = (
    ("KVMRUN_VMS", "the directory of definitions, where -C does not say it"),
    ("KVMRUN_RUN_DIR", "the directory of what runs"),
    ("KVMRUN_STATE_DIR", "the directory of what stays"),
    ("KVMRUN_QEMU", "another QEMU than qemu-system-x86_64"),
    ("VISUAL, EDITOR", "the editor of kvmrun edit, looked for in this order"),
    ("NO_COLOR", "no colours, unless --color always asks for them"),
)
EXIT = (
    (0, "done"),
    (1, "failed, and what was done is undone"),
    (2, "wrong words on the command line"),
    (3, "the guest is not running"),
    (4, "there is no such guest"),
    (5, "a definition is invalid"),
    (6, "refused: a conflict, or an object that is not kvmrun's"),
    (7, "the guest did not answer in time, or a --wait was not met; the guest goes on"),
    (69, "the host lacks something"),
    (70, "a bug; its traceback is in a file whose path is printed"),
    (75, "busy; try again"),
    (77, "not permitted"),
    (130, "interrupted by Ctrl-C; what was begun is undone"),
)
"""Of several guests, the code is that of the first failure in the order they were named."""
EXAMPLES = (
    ("kvmrun init lab && kvmrun -C lab --list", "an example lab, and its guests"),
    ("kvmrun new web --base debian.qcow2 && kvmrun web --wait=address", "a guest over a base image, started"),
    ("kvmrun up @lab --wait=port:22", "every guest of a group, until each lets connect"),
    ("kvmrun list -o json", "the same as the list, for programs"),
    ("kvmrun monitor web -c query-block", "one QMP command"),
    (
        'eval "$(kvmrun completion bash)"',
        "words completed at Tab; also zsh, and for fish: kvmrun completion fish | source",
    ),
)
ALSO = "qemu-system-x86_64(1), dnsmasq(8), nft(8), shorewall(8)"
