"""The mark of a link: that it is ours, what it is for, and whose lab it belongs to. The kernel keeps it as an alias.

Tables of the packet filter have theirs as a comment.

A tap is `kvmrun:GUEST:NIC:LAB`, a bridge `kvmrun:net:NETWORK:LAB`. Version 0.1.0 wrote neither with its lab.
"""

from kvmrun.model import derive

MARK = "kvmrun:"
_ROOM = 255
"""The bytes the kernel has for an alias."""


def of_tap(guest: str, nic: str, lab: str) -> str:
    return _with_lab(f"{MARK}{guest}:{nic}", lab)


def of_bridge(network: str, lab: str) -> str:
    return _with_lab(f"{MARK}net:{network}", lab)


def of_table(network: str, lab: str) -> str:
    """The comment of a table of the packet filter: nft has 128 bytes for it, and no word for a quotation mark."""
    return f"{MARK}net:{network}:{derive.digest(lab)}" if lab else ""


def _with_lab(mark: str, lab: str) -> str:
    """The mark with the lab's directory; one that is too long for the kernel is named by a digest."""
    whole = f"{mark}:{lab}" if lab else mark
    return whole if len(whole.encode()) <= _ROOM else f"{mark}:{derive.digest(lab)}"


def is_same(alias: str, mark: str) -> bool:
    """Whether a link with that alias is what `mark` stands for; an alias of 0.1.0 names no lab, and fits any."""
    return alias == mark or alias == ":".join(mark.split(":", 3)[:3])


def subject(alias: str) -> str:
    """The guest of a tap, "net" for a bridge; "" for a link that is not ours."""
    return alias.removeprefix(MARK).partition(":")[0] if alias.startswith(MARK) else ""


def name(alias: str) -> str:
    """The NIC of a tap, the network of a bridge; "" for a link that is not ours."""
    return alias.split(":", 3)[2] if alias.startswith(MARK) and alias.count(":") > 1 else ""


def lab_of(alias: str) -> str:
    """The directory of the lab, "" where the alias does not say."""
    return alias.split(":", 3)[3] if alias.startswith(MARK) and alias.count(":") > 2 else ""
