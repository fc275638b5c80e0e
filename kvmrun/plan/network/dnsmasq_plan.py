"""The dnsmasq of one network: its account, its files, and the steps that make it serve what the lab holds now."""

from collections.abc import Iterator, Sequence

from kvmrun.errors import Refused
from kvmrun.model import derive
from kvmrun.model.lab import Lab
from kvmrun.model.network.network import Network
from kvmrun.model.paths import Paths
from kvmrun.model.printable import quoted
from kvmrun.plan.host_facts import NetworkFacts, PortOwner
from kvmrun.plan.network import dnsmasq_config, dnsmasq_leases
from kvmrun.plan.steps.network_steps import NetworkStep, ReloadDnsmasq, StartDnsmasq, StopDnsmasq, WriteDnsmasqFiles


def log_account(lab: Lab, network: Network) -> int:
    """The account of dnsmasq's logger."""
    record = lab.now.up.get(network.name)
    return record.log_uid if record else derive.uid(lab.seed, "net", network.name, "log")


def files(lab: Lab, network: Network, where: Paths) -> dnsmasq_config.DnsmasqPaths:
    """dnsmasq's files: where it was started with them, else below the state directory."""
    record = lab.now.up.get(network.name)
    return dnsmasq_config.files_at(record.config) if record else dnsmasq_config.dnsmasq_paths(where.state, network.name)


def note(where: Paths, network: Network) -> str:
    """The file that says which process was started to serve names."""
    return f"{where.network(network.name)}/dnsmasq"


def texts(lab: Lab, network: Network, where: Paths, now: NetworkFacts) -> dict[str, str]:
    """dnsmasq's files for `network`, by path, as they should be."""
    at = files(lab, network, where)
    ports = lab.ports()
    return {
        at.config: dnsmasq_config.config_text(network, at, now.resolv),
        at.hosts: dnsmasq_config.hosts_text(network, ports, now.hostname, now.hosts_file),
        at.reservations: dnsmasq_config.dhcp_hosts_text(network, ports),
    }


def steps(lab: Lab, network: Network, where: Paths, now: NetworkFacts) -> Iterator[NetworkStep]:
    """What is still to be done so that dnsmasq serves the network as it is. Raises Refused where somebody else does."""
    uid = lab.dnsmasq_uid(network.name)
    at = files(lab, network, where)
    if not network.needs_dnsmasq():
        if now.dnsmasq:
            yield StopDnsmasq(network=network.name, config=at.config, uid=uid)
        return
    wanted = texts(lab, network, where, now)
    changed = [path for path, text in wanted.items() if now.files.get(path) != text]
    yield from (WriteDnsmasqFiles(path=path, text=wanted[path], uid=uid) for path in changed)
    if not now.dnsmasq:
        _refuse_taken(network, now.owners)
    drop = dnsmasq_leases.taken_leases(network, lab.ports(), now.leases)
    if not now.dnsmasq or now.names == "stopped" or at.config in changed or drop:
        yield StartDnsmasq(
            network=network.name,
            bridge=network.bridge,
            config=at.config,
            leases=at.leases,
            log=f"{where.state}/log/net-{network.name}",
            uid=uid,
            log_uid=log_account(lab, network),
            lab=lab.identity,
            drop=drop,
        )
    elif changed:
        yield ReloadDnsmasq(network=network.name, config=at.config, uid=uid)


def without_pending_names(
    lab: Lab, network: Network, where: Paths, now: NetworkFacts, missing: tuple[NetworkStep, ...]
) -> tuple[NetworkStep, ...]:
    """The steps that a network lacks; none where only guests that do not run have no name or reservation yet.

    That is so whenever a definition was written, changed or removed. The next start writes them; nothing went wrong.
    """
    if not all(isinstance(step, WriteDnsmasqFiles | ReloadDnsmasq) for step in missing):
        return missing
    at = files(lab, network, where)
    running = {name: ports for name, ports in lab.ports().items() if name in lab.now.running}
    needed = {
        at.hosts: dnsmasq_config.hosts_text(network, running, now.hostname, now.hosts_file),
        at.reservations: dnsmasq_config.dhcp_hosts_text(network, running),
    }
    there = {path: now.files.get(path, "").splitlines() for path in needed}
    return () if all(set(text.splitlines()) <= set(there[path]) for path, text in needed.items()) else missing


def _refuse_taken(network: Network, owners: Sequence[PortOwner]) -> None:
    """Raises Refused where somebody else serves where our own server has to. Another lab is named, and left alone."""
    own = str(network.host_address().ip)
    for owner in owners:
        if owner.address not in {"0.0.0.0", "::", own}:  # noqa: S104 - the wildcard somebody else listens on
            continue
        if owner.link not in {"", network.bridge}:
            continue
        if owner.lab and (network.dns if owner.port == 53 else network.dhcp):
            fix = f"choose another subnet in network.{network.name}, or kvmrun -C {quoted(owner.lab)} net down"
            reason = f"that of the lab {owner.lab} listens on {owner.address}, port {owner.port}"
            raise Refused(f"network {network.name} and another lab's would share one name server", fix, reason=reason)
        if owner.port == 53 and network.dns:
            fix = f"have it listen on its own addresses only, or set dns = false in network.{network.name}"
            raise Refused(f"port 53 is taken by {owner.process}", fix, reason=f"it listens on {owner.address}")
        if owner.port == 67 and network.dhcp:
            fix = f"stop it, or set dhcp = false in network.{network.name}"
            raise Refused(f"port 67 is taken by {owner.process}", fix, reason=f"it listens on {owner.address}")
