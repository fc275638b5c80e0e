"""Everything that can be done to a network. A step says what it is in words; host.execute performs it."""

from kvmrun.model.network.network_record import NetworkRecord
from kvmrun.model.value import Value
from kvmrun.plan.network.reach import KernelRoute, Neighbour
from kvmrun.plan.network.uplink_routing import WayStep
from kvmrun.plan.steps.guest_steps import PlugTap, RemoveTap


class MakeBridge(Value):
    name: str
    alias: str

    def __str__(self) -> str:
        return f"make bridge {self.name}"


class RenameBridge(Value):
    """Rename the bridge of the network to the name in its definition."""

    name: str
    to: str

    def __str__(self) -> str:
        return f"rename bridge {self.name} to {self.to}"


class MarkBridge(Value):
    """Whose bridge it is, where its mark does not say so: by 0.1.0, before the lab was moved, or changed since."""

    name: str
    alias: str

    def __str__(self) -> str:
        return f"mark bridge {self.name} as this lab's"


class RecordNetwork(Value):
    """What is about to be done for a network, so that whatever comes next knows what is ours."""

    path: str
    record: NetworkRecord

    def __str__(self) -> str:
        return f"write the record {self.path}"


class RecordBridge(Value):
    """Which bridge was made for the network, by the kernel's own number for it."""

    path: str
    record: NetworkRecord

    def __str__(self) -> str:
        return f"write into {self.path} which bridge was made"


class SetBridge(Value):
    """Attributes of a bridge of ours, all written at once; `conf` are settings below net, by name without the link."""

    name: str
    mac: str
    mtu: int
    differs: tuple[str, ...] = ()
    conf: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        if self.differs:
            return f"restore the settings of {self.name}, which {', '.join(self.differs)}"
        return f"set bridge {self.name}: MAC {self.mac}, MTU {self.mtu}, no spanning tree, no forwarding delay"


class AddAddress(Value):
    link: str
    address: str

    def __str__(self) -> str:
        return f"give {self.link} the address {self.address}"


class RemoveAddress(Value):
    """The link without an address. The kernel removes the secondary addresses of its subnet as well: `keeps` stay."""

    link: str
    address: str
    keeps: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"remove the address {self.address} from {self.link}"


class MakePersistentTap(Value):
    """A tap that stays, for `owner` (a uid) to start its guest without privileges."""

    tap: str
    queues: int
    owner: int
    alias: str
    record: str

    def __str__(self) -> str:
        return f"create the persistent tap {self.tap} for uid {self.owner}"


class RemovePersistentTap(Value):
    tap: str
    queues: int
    record: str = ""

    def __str__(self) -> str:
        return f"remove tap {self.tap}"


class SetLinkUp(Value):
    link: str

    def __str__(self) -> str:
        return f"set {self.link} up"


class SetSysctl(Value):
    """A setting below /proc/sys/net, remembered with its earlier value as long as a `user` needs it."""

    name: str
    value: str
    user: str

    def __str__(self) -> str:
        return f"set net.{self.name.replace('/', '.')} = {self.value}"


class RestoreSysctls(Value):
    """Release the settings that `user` needed: all of them, or `names`."""

    user: str
    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"restore {len(self.names) or 'the'} settings of the kernel that were changed"


class LoadRules(Value):
    """Replace our table in one transaction. `digest` is that of the text, kept in `record`."""

    table: str
    text: str
    digest: str
    record: str

    def __str__(self) -> str:
        return f"load the packet filter table {self.table}"


class DropRules(Value):
    """Remove a table of ours, or the chains of a guest that has ended."""

    table: str
    record: str

    def __str__(self) -> str:
        return f"remove the packet filter table {self.table}"


class WriteDnsmasqFiles(Value):
    """One of dnsmasq's files: ours, readable for the account it runs as."""

    path: str
    text: str
    uid: int

    def __str__(self) -> str:
        return f"write {self.path}"


class StartDnsmasq(Value):
    """dnsmasq for one network, with the configuration at `config`, in place of one that runs.

    `drop` are leases, as (address, MAC), that it must not remember: the address is reserved for another guest now.
    """

    network: str
    bridge: str
    config: str
    leases: str
    log: str
    uid: int
    log_uid: int
    lab: str = ""
    drop: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        less = "".join(f", without the lease of {address} to {mac}" for address, mac in self.drop)
        return f"start dnsmasq on {self.bridge} with {self.config}{less}"


class ReloadDnsmasq(Value):
    network: str
    config: str
    uid: int

    def __str__(self) -> str:
        return f"reload names and reservations in dnsmasq of {self.network}"


class StopDnsmasq(Value):
    network: str
    config: str
    uid: int

    def __str__(self) -> str:
        return f"stop dnsmasq of {self.network}"


class RemoveFiles(Value):
    paths: tuple[str, ...]

    def __str__(self) -> str:
        return f"remove {', '.join(self.paths)}"


class RemoveBridge(Value):
    name: str

    def __str__(self) -> str:
        return f"remove bridge {self.name}"


class SetHostResolution(Value):
    """Have systemd-resolved ask the server of a network for its domain. What came of it is written into `record`."""

    link: str
    server: str
    domain: str
    record: str

    def __str__(self) -> str:
        return f"have systemd-resolved ask {self.server} for names below {self.domain}"


class RevertHostResolution(Value):
    """Have systemd-resolved forget what it was told of `link`, "" where it does not run or the link has gone."""

    link: str
    record: str

    def __str__(self) -> str:
        return f"have systemd-resolved forget the name server of {self.link}" if self.link else f"remove {self.record}"


LinkStep = (
    MakeBridge
    | MarkBridge
    | SetBridge
    | AddAddress
    | RemoveAddress
    | SetLinkUp
    | MakePersistentTap
    | PlugTap
    | RemovePersistentTap
    | RemoveTap
    | RemoveBridge
    | KernelRoute
    | Neighbour
)
NamesStep = StartDnsmasq | ReloadDnsmasq | StopDnsmasq
OtherStep = (
    RecordNetwork
    | RecordBridge
    | RenameBridge
    | SetSysctl
    | RestoreSysctls
    | LoadRules
    | DropRules
    | WriteDnsmasqFiles
    | SetHostResolution
    | RevertHostResolution
    | RemoveFiles
)
NetworkStep = LinkStep | NamesStep | OtherStep | WayStep
