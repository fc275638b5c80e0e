"""Observed facts of the host that plans depend on."""

from collections.abc import Mapping
from ipaddress import IPv4Network
from typing import Literal

from kvmrun.errors import Refused
from kvmrun.model.guest.nic import PersistentTap
from kvmrun.model.machine.machine_type import MachineType
from kvmrun.model.network.network import Network, Uplink
from kvmrun.model.value import EMPTY, Value
from kvmrun.plan.firmware_facts import FirmwareFacts
from kvmrun.plan.network.reach import Reach
from kvmrun.plan.resolver_facts import ResolverFacts

Protocol = Literal["udp", "tcp"]


class Bridge(Value):
    """A network interface by the name a network wants for its bridge. `addresses` are "IP/PREFIX", and `limited` those
    of them that the kernel will remove by itself; `settings` its attributes as a bridge, by number; `conf` its settings
    below net, and `usual` what they are for links that nobody has touched. `link_local` tells whether it has such an
    IPv6 address, or none yet, as without a port. `device` is how this kernel numbers it until it is removed.

    `renamed` is the present name of a network's bridge that is no longer called as the network says, "" otherwise.
    """

    kind: str
    alias: str
    mac: str
    addresses: tuple[str, ...]
    up: bool
    mtu: int
    stp: bool = False
    forward_delay: int = 0
    ports: tuple[str, ...] = ()
    settings: Mapping[int, int] = EMPTY
    limited: tuple[str, ...] = ()
    arp: bool = True
    multicast: bool = True
    conf: Mapping[str, str] = EMPTY
    usual: Mapping[str, str] = EMPTY
    link_local: bool = True
    device: str = ""
    renamed: str = ""


NOBODY = 0xFFFFFFFF
"""The owner or group of a tap that has none."""


class Link(Value):
    """A tap as the kernel tells it. `settings` are its attributes as a port, `conf` what is known of port.CONF.

    `strays` are the static forwarding entries on the port that are not the tap's own MAC's.
    """

    name: str
    index: int
    alias: str
    mac: str
    up: bool
    carrier: bool
    operational: int
    mtu: int
    queue_length: int
    master: str
    kind: str = "tun"
    owner: int = NOBODY
    group: int = NOBODY
    persistent: bool = False
    queues: int = 1
    settings: Mapping[int, int] = EMPTY
    conf: Mapping[str, str] = EMPTY
    addresses: tuple[str, ...] = ()
    strays: tuple[str, ...] = ()


class Route(Value):
    """A route of the host: where to, and through which link; `lab` is whose bridge that is, "" for any other link."""

    destination: str
    link: str
    lab: str = ""


class PolicyRule(Value):
    """A source rule of ours: what comes from `source` is looked up in `table`, `specific` without default routes.

    With `mark`, only what carries it.
    """

    priority: int
    source: str
    table: int
    specific: bool = False
    mark: int = 0

    def within(self, subnet: IPv4Network) -> bool:
        return IPv4Network(self.source).subnet_of(subnet)

    def __str__(self) -> str:
        mark = f" with mark {self.mark:#x}" if self.mark else ""
        defaults = " but its defaults" if self.specific else ""
        return f"{self.priority} from {self.source}{mark} to table {self.table}{defaults}"


class PolicyRoute(Value):
    """A route of some table: `destination` "" for a default, `link` "" for several; ours, or somebody else's."""

    destination: str
    link: str
    gateway: str
    ours: bool


class RoutingFacts(Value):
    """Our source rules, the routes of the tables that matter, and which uplinks' links are up; `silent` are gateways,
    as (link, address), that were asked and do not answer.
    """

    rules: tuple[PolicyRule, ...] = ()
    routes: Mapping[int, tuple[PolicyRoute, ...]] = EMPTY
    links: frozenset[str] = frozenset()
    silent: frozenset[tuple[str, str]] = frozenset()


class PortOwner(Value):
    """Somebody who listens on a port that matters; with `link`, only for what comes in there. `lab` is whose dnsmasq it
    is, "" for anybody else's program.
    """

    port: int
    address: str
    process: str
    link: str = ""
    protocol: Protocol = "udp"
    lab: str = ""


class ChangedSysctl(Value):
    """A kernel setting that kvmrun has changed: what it was, what it was for all links together, who needs it now.

    `links` are those that had the new value already when a default was changed: for theirs somebody else is to answer.
    """

    before: str
    general: str
    users: tuple[str, ...]
    links: tuple[str, ...] = ()


class NetworkFacts(Value):
    """The present state of what a network depends on. `routes` and `owners` are looked up only where they matter.

    `occupant` is the link that has the name of the network's bridge, where the bridge itself was renamed;
    `own` are the bridges of the lab's other networks that are there and ours;
    `former` is the bridge that the network was brought up with, where its definition names another one now, and
    `leases` are those that dnsmasq remembers, as (address, MAC).
    `kept` are the taps of its guests that were made to stay, `made` the owners they were made for; `ports` are the taps
    that are there, `leftovers` those that outlived their guests; `files` has the present text of dnsmasq's files by
    path; `rules` is the digest of the rules last loaded ("changed" when they are no longer what was loaded, "" when
    none were), and `guard` that of the guard of the kept taps; `changed` are the settings kvmrun has changed, by name;
    `routing` says that forwarding is on for the host as a whole; `uplinks` are the links of the default routes, and
    `links` all that could be routed through: not the loopback, and not those that are ports of a bridge;
    `hosts_file` is the text of the host's own /etc/hosts, where the network answers for it; `unguarded` are the guests
    that run on it without their guards, looked for only by who reports on the network; `reach` is how the kernel routes
    between it and the host; `names` tells whether its dnsmasq was found to be stopped, or was asked and said nothing;
    `resolver` is what systemd-resolved knows of it.
    """

    bridge: Bridge | None
    occupant: Bridge | None = None
    former: Bridge | None = None
    own: tuple[str, ...] = ()
    hostname: str = "host"
    hosts_file: str = ""
    resolv: str = "/etc/resolv.conf"
    ports: Mapping[str, Link] = EMPTY
    leftovers: tuple[str, ...] = ()
    kept: Mapping[str, PersistentTap] = EMPTY
    made: Mapping[str, int] = EMPTY
    routes: tuple[Route, ...] = ()
    files: Mapping[str, str] = EMPTY
    dnsmasq: int = 0
    leases: tuple[tuple[str, str], ...] = ()
    owners: tuple[PortOwner, ...] = ()
    rules: str = ""
    guard: str = ""
    sysctls: Mapping[str, str] = EMPTY
    changed: Mapping[str, ChangedSysctl] = EMPTY
    routing: bool = False
    uplinks: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    ways: RoutingFacts = RoutingFacts()
    unguarded: tuple[str, ...] = ()
    reach: Reach = Reach()
    names: Literal["", "stopped", "silent"] = ""
    resolver: ResolverFacts = ResolverFacts()


class ImageFacts(Value):
    """A file a guest names. For a qcow2 image also what its header says. The running guests that have it open.

    `content` is the format that its first bytes tell of, "" for what looks like a raw image or cannot be read: a reason
    to refuse it, never to choose a format.
    """

    kind: Literal["file", "device", "other"]
    size: int
    backing: bool = False
    data_file: bool = False
    content: str = ""
    changed: str = ""
    """Why it is not the image that was verified, of one that is in the store; "" where it is."""
    base_differs: bool = False
    """Whether the base of this overlay is another file, or has other content, than when the overlay was made."""
    writer: str = ""
    reader: str = ""


class DiskFacts(Value):
    """The files of one guest on the host. `files` has None for a path that is not there.

    `exchangeable` says of a path, be the file there or still to be made, why another user could put another file in
    its place before root opens it. `images` is the directory of our own images.
    """

    images: str = ""
    files: Mapping[str, ImageFacts | None] = EMPTY
    beside: Mapping[str, tuple[str, ...]] = EMPTY
    """The names in the directory of each file that is not there."""
    exchangeable: Mapping[str, str] = EMPTY


class SeedFacts(Value):
    """What a seed is made of on this host.

    `networks` are those of the lab. `keys` are the caller's public keys, and `places` where they were looked for;
    `files` the contents of the files that the definition names, by path, or why one cannot be used. `written` is the
    instance ID of the seed that is there, "" for none.
    """

    networks: Mapping[str, Network]
    keys: tuple[str, ...] = ()
    places: tuple[str, ...] = ()
    files: Mapping[str, bytes | Refused] = EMPTY
    written: str = ""


class StartFacts(DiskFacts):
    """The rest of the host for one start.

    `marks` are the aliases of those of `taken_taps` that have one, and `uplink` is the one the guest is to leave by.
    """

    qemu: str
    qemu_problem: str = ""
    """Why that QEMU cannot be run, "" where it can."""
    kvm: Literal["ready", "absent", "forbidden"]
    kvm_gid: int
    vhost: bool
    nft: bool
    root: bool
    memory: int
    systemd: bool = False
    uid: int = 0
    taken_taps: frozenset[str] = frozenset()
    marks: Mapping[str, str] = EMPTY
    leftover_taps: frozenset[str] = frozenset()
    kept_taps: Mapping[str, PersistentTap] = EMPTY
    taken_uids: Mapping[int, str] = EMPTY
    taken_ports: Mapping[int, str] = EMPTY
    accounts: Mapping[str, int] = EMPTY
    uplink: Uplink | None = None
    seed: SeedFacts | None = None
    """Of a guest that has a seed."""
    machine: MachineType | None = None
    """The version that its machine got at the first start, None before that."""
    swtpm: bool = False
    aio: Mapping[str, str] = EMPTY
    """The aio modes of QEMU beside "threads", with why it cannot use one, "" where it can."""
    firmware: FirmwareFacts | None = None
    """None for a guest without UEFI."""
