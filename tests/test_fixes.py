"""Every command that a message proposes is one of these: a fix is pasted without a second look, as root."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest
from support.table import each

import kvmrun
from kvmrun.cli import commands

PACKAGE = Path(kvmrun.__file__).parent
WORDS = (
    *("kill", "pkill", "killall", "chmod", "chown", "chgrp", "rm", "rmdir", "mv", "cp", "ln", "dd", "mkfs", "truncate"),
    *(
        "ip link",
        "ip addr",
        "ip address",
        "ip route",
        "ip rule",
        "ip tuntap",
        "bridge link",
        "bridge fdb",
        "brctl",
        "iptables",
    ),
    *("iptables-legacy", "ip6tables", "umount", "mount", "systemctl", "sysctl", "modprobe", "rmmod"),
    *(
        "groupadd",
        "usermod",
        "useradd",
        "qemu-img convert",
        "qemu-img resize",
        "qemu-img commit",
        "losetup",
        "swapoff",
        "wipefs",
        "tee",
        "sh",
        "shorewall",
    ),
    *("nft add", "nft insert", "nft delete", "nft list", "nft flush", "nft -f"),
    *("firewall-cmd", "ufw", "conntrack", "gunzip", "unxz"),
)
COMMAND = re.compile(rf"(?:^|[;:&|,(] ?|\bor |\band |sudo |'|\")((?:{'|'.join(WORDS)}) [^ .;,:)].*)")
REVIEWED = {
    # what looks, and changes nothing
    r"ip -d link show ": "shows",
    r"ip link show ": "shows",
    r"ip route get \{…\}; ip rule; ip route$": "shows",
    r"nft list (table|chain|ruleset)": "shows",
    r"iptables(-legacy)?-save": "shows",
    r"systemctl status ": "shows",
    r"systemctl is-system-running; systemctl show ": "asks, in a guest",
    # what moves a file of ours away, for the next start to make another
    r"mv \{…\} \{…\}\.old": "loses nothing",
    # what the host lacks: a module, a group, the mode that udev gives these two devices everywhere
    r"modprobe (kvm_intel|tun|bridge|nf_tables|vhost_net|\{)": "loads a module",
    r"groupadd -rf kvm; chgrp kvm /dev/kvm; chmod 660": "as udev makes it",
    r"chgrp kvm /dev/kvm; chmod 660 /dev/kvm": "as udev makes it",
    r"chmod 660 /dev/kvm": "as udev makes it",
    r"chmod 666 /dev/net/tun": "as udev makes it",
    r"usermod -aG kvm": "a group more for the person who asked",
    r"usermod -aG \{": "the same",
    r"sh -c '": "the group of /dev/kvm, as above, by sudo",
    # the lab's own directory and file, and only where they belong to who asks
    r"chmod go-w \{": "config/standard_paths.py proposes it for nothing else: see test_standard_paths.py",
    # a copy, never over what is there
    r"cp --no-clobber \{": "a copy of an image",
    r"qemu-img convert -f \{…\} -O qcow2 \{…\} NEW.qcow2": "a copy of an image",
    r"qemu-img convert (it |\{|makes )": "a copy of an image",
    r"qemu-img resize -f ": "only where it makes an image larger: see test_contents.py",
    # the host's network, where that is what is missing
    r"ip route add default via ": "adds",
    r"ip link set \{…\} up": "adds",
    r"shorewall (start$|restart, and nothing else|(disable|enable) \{…\})": "of a dead provider, and back",
    r"ip route replace default via ROUTER dev \{…\}": "only in place of a dead one",
    r"(kvmrun net up \{…\}; )?sysctl -w net\.ipv4\.conf\.\{…\}\.rp_filter=2": "loose, not off",
    r"sysctl -w net.bridge.bridge-nf-call-iptables=0": "names what the kernel does to bridged frames",
    r"systemctl enable /etc/kvmrun/systemd/": "our own units",
}
OWNED_ELSEWHERE = ("doctor_firewall.py", "firewall_fixes.py", "doctor_networks.py")
"""These propose rules, and are judged with their rules in tests/plan/test_doctor.py and test_nft_simulator.py."""
FORBIDDEN = re.compile(
    r"(?:^|[;&|] ?|or |sudo |: )(?:kill|pkill|killall|rm|rmdir|chown|dd|mkfs|wipefs|umount|swapoff|ip link del\w*"
    r"|ip (?:addr|address|route|rule|tuntap) (?:del\w*|flush)|nft (?:flush|delete|destroy)|iptables -F|losetup -d) "
)


@cache
def _texts(path: Path) -> list[tuple[int, str]]:
    """Every text of a module but its docstrings; a value within stands as {…}."""
    tree = ast.parse(path.read_text())
    inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
    told = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            text = "".join(one.value if isinstance(one, ast.Constant) else "{…}" for one in node.values)
            found.append((node.lineno, text))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner | told:
            found.append((node.lineno, node.value))
    return found


KVMRUNS_OWN = "foreign_names.py"
"""Its words are commands of kvmrun itself, about a guest of the user's own lab."""
MODULES = sorted(one for one in PACKAGE.rglob("*.py") if "monitor" not in one.parts and one.name != KVMRUNS_OWN)


def test_what_a_fix_proposes_is_reviewed() -> None:
    def check(path: Path) -> None:
        for line, text in _texts(path):
            assert not FORBIDDEN.search(text), f"{line}: {text}"
            found = COMMAND.search(text)
            if found and path.name not in OWNED_ELSEWHERE:
                known = any(re.match(pattern, found[1]) for pattern in REVIEWED)
                assert known, f"{line}: {found[1]!r} in {text!r} is not reviewed"

    each(MODULES, check)


@pytest.mark.parametrize(
    "text",
    [
        *("kill 12", "ip link delete tap-a", "sudo rm -rf /x", "chown root /home/alice", "try again: umount /mnt"),
        *("dns = false, or kill 7", "nft flush ruleset", "true; kill 4", "ip rule del pref 1"),
    ],
)
def test_what_destroys_is_found(text: str) -> None:
    assert FORBIDDEN.search(text)


PRODUCT = re.compile(r"(?<![\w./~-])kvmrun (?![-@{A-Z])(\w+)")
OF_THE_PRODUCT = (
    "that wrote",
    "passes",
    "never",
    "made",
    "has made",
    "writes",
    "keeps",
    "is at work",
    "would keep",
    "cannot",
    "starts the",
    "makes",
    "created",
    "did not make",
    "manual",
)


def test_the_word_before_a_word_is_the_command() -> None:
    """A message is made ready to paste by what stands there: the name of the product must not look like a command."""

    def check(path: Path) -> None:
        for line, text in _texts(path):
            for found in PRODUCT.finditer(text):
                is_product = text[found.end() - len(found[1]) :].startswith(OF_THE_PRODUCT)
                assert commands.is_command(found[1]) or is_product, f"{line}: {text}"

    each(sorted({*PACKAGE.rglob("*.py")} - {PACKAGE / "cli/command_examples.py"}), check)  # whose examples are commands
