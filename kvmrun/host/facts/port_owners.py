"""Who listens on ports of this host: sockets from netlink, their processes from /proc as far as we may look."""

from kvmrun.host.files import ownership
from kvmrun.host.process import process, socket_owners
from kvmrun.light.abc import Collection
from kvmrun.plan.start_facts import Owner


def owners(ports: Collection[int], but: Collection[int] = ()) -> tuple[Owner, ...]:
    """Those who listen on `ports` in this namespace, `but` for some pids."""
    from kvmrun.host.links import iproute

    found = iproute.listeners(ports)
    pids = socket_owners.with_sockets({one.inode for one in found}) if found else {}
    return tuple(
        Owner(
            protocol=one.protocol,
            port=one.port,
            address=one.address,
            process=process.described(pid),
            link=one.link,
            lab=ownership.lab_served(pid) if pid else "",
        )
        for one in found
        if (pid := pids.get(one.inode, 0)) not in but or not pid
    )
