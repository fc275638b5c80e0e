"""The commands by task, each with two examples: what --help and the manual print."""

from collections.abc import Mapping

Example = tuple[str, str]
"""A command line, and what it does."""
TASKS: Mapping[str, Mapping[str, tuple[Example, Example]]] = {
    "start and stop guests": {
        "up": (
            ("kvmrun web --wait=port:22", "start one guest, and return when it accepts connections by ssh"),
            ("kvmrun up @lab --dry-run", "print what a start of every guest of a group would do"),
        ),
        "stop": (
            ("kvmrun stop web", "power a guest down"),
            ("kvmrun stop --all --timeout 20", "power all guests down; after 20 s QEMU quits"),
        ),
        "kill": (
            ("kvmrun kill web", "end QEMU at once"),
            ("kvmrun kill --all --force", "also guests with protect = true"),
        ),
        "restart": (
            ("kvmrun restart web", "stop a guest, and start it with its definition as it is now"),
            ("kvmrun restart @lab --wait=address", "return when all of them answer at their addresses"),
        ),
        "reset": (
            ("kvmrun reset web", "as with the reset button of a computer"),
            ("kvmrun reset web --force", "also where protect = true"),
        ),
        "pause": (
            ("kvmrun pause web", "stop the processors of a guest"),
            ("kvmrun pause --all", "of every guest that runs"),
        ),
        "resume": (
            ("kvmrun resume web", "let a paused guest continue"),
            ("kvmrun resume @lab", "every guest of a group"),
        ),
        "wait": (
            ("kvmrun wait web --for agent --timeout 300", "until the guest agent answers"),
            ("kvmrun wait @lab --for stopped", "until no guest of a group runs any more"),
        ),
    },
    "observe guests": {
        "list": (
            ("kvmrun list -v", "all guests, with how each is confined and what its agent reports"),
            ("kvmrun list -o json", "the same for programs"),
        ),
        "show": (
            ("kvmrun show web", "one guest with every default filled in, and its QEMU command"),
            ("kvmrun show web -o json", "the same for programs"),
        ),
        "top": (
            ("kvmrun top", "a live screen; ? explains the keys"),
            ("kvmrun top -n 2 -o json", "print usage and rates twice"),
        ),
        "events": (
            ("kvmrun events", "what QEMU reports of all guests, as it happens"),
            ("kvmrun events web -o json", "of one guest, one JSON document per line"),
        ),
        "log": (
            ("kvmrun log web -n 50", "the last lines of the serial console and of QEMU"),
            ("kvmrun log web --follow --timeout 10", "what comes in the next ten seconds"),
        ),
        "screenshot": (
            ("kvmrun screenshot web web.png", "what the display of a guest shows"),
            ("kvmrun screenshot web /tmp/web.png --timeout 5", "wait at most five seconds"),
        ),
        "metrics": (
            ("kvmrun metrics", "counters and gauges of all guests for Prometheus"),
            ("kvmrun metrics /var/lib/prometheus/node-exporter/kvmrun.prom", "for the textfile collector"),
        ),
    },
    "get into guests": {
        "console": (
            ("kvmrun console web", "the serial console; Ctrl-] leaves it"),
            ("kvmrun console web --steal", "take it over from another terminal"),
        ),
        "ssh": (
            ("kvmrun ssh web", "log in"),
            ("kvmrun ssh web -- uptime", "run one command"),
        ),
        "ssh-config": (
            ("kvmrun ssh-config ~/.ssh/kvmrun", "then: Include kvmrun in ~/.ssh/config, and ssh web works"),
            ("kvmrun ssh-config", "print it"),
        ),
        "shell": (
            ("kvmrun shell web", "by ssh, or the serial console of a guest without a server for it"),
            ("kvmrun shell web -l root", "as this account, where ssh is used"),
        ),
        "view": (
            ("kvmrun view web", "its display in a window"),
            ("kvmrun -C lab view web", "of a guest of the lab in this directory"),
        ),
        "exec": (
            ("kvmrun exec web -- systemctl is-active ssh", "run a command through the guest agent"),
            ("kvmrun exec -i web -- tee /etc/motd", "pass standard input to it"),
        ),
        "cp": (
            ("kvmrun cp site.tar web:/srv/", "copy a file into a guest"),
            ("kvmrun cp -r web:/etc/nginx ./nginx", "copy a directory out of it"),
        ),
        "monitor": (
            ("kvmrun monitor web", "a QMP shell with completion"),
            ("kvmrun monitor web -c query-block", "one QMP command"),
        ),
    },
    "define guests": {
        "init": (
            ("kvmrun init lab", "write an example lab into a new directory"),
            ("kvmrun init /etc/kvmrun/vms.d", "where root's lab is looked for"),
        ),
        "new": (
            ("kvmrun new web --image debian:13", "a system that is downloaded, verified and pinned"),
            ("kvmrun new web2 --copy web", "a guest like another, with a MAC and an address of its own"),
        ),
        "edit": (
            ("kvmrun edit web", "change a definition; saved once it is valid"),
            ("kvmrun edit networks", "change networks.toml in the same way"),
        ),
        "check": (
            ("kvmrun check", "print every error of every file of the lab"),
            ("kvmrun check -o json", "the same for programs"),
        ),
        "rename": (
            ("kvmrun rename web www", "give a guest another name, wherever the lab mentions it"),
            ("kvmrun rename web www --keep", "with its MAC, address and UUID as they are"),
        ),
        "rm": (
            ("kvmrun rm web", "remove a definition, its log and its state; the images stay"),
            ("kvmrun rm web --images -y", "also the images that kvmrun made for it; do not ask"),
        ),
    },
    "images and disks": {
        "image": (
            ("kvmrun image pull debian:13", "get a system, verify it and pin it for this lab"),
            ("kvmrun image list --all", "every system that the catalogue has"),
        ),
        "build": (
            ("kvmrun build demo", "build the small guest of the example lab"),
            ("kvmrun build debian --key ~/.ssh/id_ed25519.pub", "build a whole Debian guest that you can log in to"),
        ),
        "clone": (
            ("kvmrun clone web web2", "a guest with the same disks, over the same base"),
            ("kvmrun clone web web2 --full", "with images that need no base"),
        ),
        "resize": (
            ("kvmrun resize web 40G", "make its drive larger, whether it runs or not"),
            ("kvmrun resize web:1 100G", "the second of several drives"),
        ),
        "media": (
            ("kvmrun media web debian-13.iso", "insert a medium into its CD-ROM drive, while it runs"),
            ("kvmrun media web:1 --eject", "leave the tray of the second drive empty"),
        ),
        "revert": (
            ("kvmrun revert web", "give it a fresh overlay on the base of its drive"),
            ("kvmrun revert @lab --yes", "every guest of a group, without a question"),
        ),
        "freeze": (
            ("kvmrun freeze web", "flush its file systems and stop writing, for a copy of its disks"),
            ("kvmrun freeze @lab --timeout 60", "every guest of a group"),
        ),
        "thaw": (
            ("kvmrun thaw web", "let a frozen guest write again"),
            ("kvmrun thaw --all", "every guest"),
        ),
    },
    "networks": {
        "net": (
            ("kvmrun net status", "bridges, leases, rules and the egress of each guest"),
            ("kvmrun net restart lan", "apply a change of networks.toml"),
        ),
        "export": (
            ("kvmrun export shorewall /etc/shorewall-kvmrun", "a configuration of Shorewall for the lab"),
            ("kvmrun export systemd /etc/kvmrun/systemd", "units that start networks and guests at boot"),
        ),
    },
    "diagnose and repair": {
        "doctor": (
            ("kvmrun doctor", "what prevents guests from running or reaching out, with a fix for each problem"),
            ("kvmrun doctor -o json", "the same for programs"),
        ),
        "repair": (
            ("kvmrun repair --dry-run", "report what a crash left; exit 1 when there is something"),
            ("kvmrun repair", "repair it"),
        ),
    },
    "help": {
        "help": (
            ("kvmrun help", "the pages of the manual"),
            ("kvmrun help networks", "one of them"),
        ),
        "man": (
            ("kvmrun man lab", "kvmrun-lab(5) in man(1)"),
            ("kvmrun man --install", "install the pages, so that man kvmrun-lab finds them"),
        ),
        "completion": (
            ("kvmrun completion bash", 'what ~/.bashrc evaluates: eval "$(kvmrun completion bash)"'),
            ("kvmrun completion fish", "what config.fish reads: kvmrun completion fish | source"),
        ),
    },
}


def examples(name: str) -> tuple[Example, ...]:
    """The examples of a command."""
    return next((commands[name] for commands in TASKS.values() if name in commands), ())
