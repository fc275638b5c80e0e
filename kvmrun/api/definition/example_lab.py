"""The example lab that is shipped with the package, with networks that this host does not have yet."""

import os
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from ipaddress import IPv4Network
from itertools import count

import kvmrun
from kvmrun.config.standard_paths import make_absolute, resolve_paths
from kvmrun.errors import HostLacks, KvmrunError, Refused
from kvmrun.host.execute.undo import undone_on_error
from kvmrun.host.facts import network_facts
from kvmrun.host.files import safe_directory
from kvmrun.host.links import tap_device
from kvmrun.host.rundir import records
from kvmrun.model.printable import printable
from kvmrun.model.value import Value
from kvmrun.plan.host_facts import Route
from kvmrun.plan.network.bridge_plan import free_subnet

_PACKAGE = os.path.dirname(os.path.abspath(kvmrun.__file__))
_EXAMPLES = (f"{_PACKAGE}/example", f"{os.path.dirname(_PACKAGE)}/vms.d")
"""Where the example is: in the installed package, or beside it in a checkout."""
_NETWORK, _BRIDGE, _SUBNET = "lan", "br0", IPv4Network("192.168.0.0/24")
"""What the example says."""


class Example(Value):
    """An example that was written: its directory, its files, and what was changed because this host has it, each as a
    sentence.
    """

    directory: str
    files: tuple[str, ...]
    changes: tuple[str, ...] = ()


class _Change(Value):
    """A value of the example that this host has already, the value in its place, and the reason."""

    what: str
    old: str
    new: str
    reason: str

    def __str__(self) -> str:
        return f"{self.what} {self.new} instead of {self.old}, because {self.reason}"


def write_example(directory: str) -> Example:
    """Write the example into a new directory, with a bridge, a subnet and a network name that are free on this host.

    Raises: HostLacks, Refused where there is something, KvmrunError.
    """
    example = next((path for path in _EXAMPLES if os.path.isdir(path)), None)
    if example is None:
        raise HostLacks(
            "the example lab is not installed", "reinstall the package", reason=f"{_EXAMPLES[0]} is missing"
        )
    target = make_absolute(directory)
    changes = tuple(_changes(target))
    is_there = os.path.lexists(target)
    try:
        with safe_directory.opened(target, make=0o755) as lab, undone_on_error() as undone_by:
            if not is_there:
                undone_by(partial(os.rmdir, target))
            if lab.names():
                raise Refused(f"{target} exists already", "name a new directory")
            written = sorted(os.listdir(example))
            for name in written:
                with open(f"{example}/{name}", encoding="utf-8") as file:
                    lab.write_new(name, _adapted(file.read(), changes).encode(), 0o644)
                undone_by(partial(lab.remove, name))
    except OSError as error:
        raise safe_directory.cannot("write", target, error) from None
    return Example(directory=target, files=tuple(written), changes=tuple(f"{one}" for one in changes))


def _changes(target: str) -> Iterator[_Change]:
    """What of the example is taken on this host, by another lab or by a LAN."""
    where = resolve_paths(target, os.environ)
    others = {name: one for name, one in records.gathered(where).networks.items() if one.lab != where.lab}
    if other := others.get(_NETWORK):
        free = next(f"{_NETWORK}{number}" for number in count(2) if f"{_NETWORK}{number}" not in others)
        reason = f"the lab {printable(other.lab)} has brought up a network {_NETWORK}"
        yield _Change(what="network", old=_NETWORK, new=free, reason=reason)
    bridges = {one.network.bridge for one in others.values()}
    if tap_device.ifindex(_BRIDGE) or _BRIDGE in bridges:
        names = (f"br{number}" for number in count(1))
        free = next(name for name in names if not tap_device.ifindex(name) and name not in bridges)
        yield _Change(what="bridge", old=_BRIDGE, new=free, reason=f"the host has an interface {_BRIDGE}")
    routes: tuple[Route, ...] = ()
    with suppress(KvmrunError):
        routes = network_facts.routes()
    for route in (one for one in routes if IPv4Network(one.destination).overlaps(_SUBNET)):
        reason = f"the host has a route to {route.destination} through {route.link}"
        subnets = (one.network.subnet for one in others.values())
        yield _Change(what="subnet", old=f"{_SUBNET}", new=free_subnet(routes, _SUBNET, *subnets), reason=reason)
        return


def _adapted(text: str, changes: tuple[_Change, ...]) -> str:
    """The text of a file of the example with these changes."""
    for one in changes:
        if one.what == "subnet":
            text = text.replace(one.old.removesuffix("0/24"), one.new.removesuffix("0/24"))
        elif one.what == "bridge":
            text = text.replace(one.old, one.new)
        else:
            text = text.replace(f"[network.{one.old}]", f"[network.{one.new}]").replace(f'network = "{one.old}"\n', "")
            text = text.replace("[[nic]]\n", f'[[nic]]\nnetwork = "{one.new}"\n')
    return text
