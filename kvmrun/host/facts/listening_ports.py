"""Who listens on ports of this host: sockets from netlink, their processes from /proc as far as we may look."""

from collections.abc import Collection

from kvmrun.host.files import ownership
from kvmrun.host.process import process, socket_owners
from kvmrun.plan.host_facts import PortOwner


def port_owners(ports: Collection[int], but: Collection[int] = ()) -> tuple[PortOwner, ...]:
    """Those who listen on `ports` in this namespace, `but` for some pids."""
    from kvmrun.host.links import pyroute2_links

    found = pyroute2_links.listeners(ports)
    pids = socket_owners.with_sockets({one.inode for one in found}) if found else {}
    return tuple(
        PortOwner(
            protocol=one.protocol,
            port=one.port,
            address=one.address,
            process=process.describe(pid),
            link=one.link,
            lab=ownership.lab_served(pid) if pid else "",
        )
        for one in found
        if (pid := pids.get(one.inode, 0)) not in but or not pid
    )
