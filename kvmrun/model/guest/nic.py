"""A NIC: the network card of the guest, and the tap on the bridge behind it."""

from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import Literal

from kvmrun.model.guest.qemu_option import Option, Tap
from kvmrun.model.network import link_alias
from kvmrun.model.scalars import Mac, NicName
from kvmrun.model.value import Value

Guard = Literal["none", "mac", "address"]
Service = Literal["dhcp", "ra"]
_MODELS = {"virtio": "virtio-net-{bus}", "e1000": "e1000", "e1000e": "e1000e", "rtl8139": "rtl8139"}


class Nic(Value):
    """One NIC. Name, MAC and address are derived where they are not given; `guard` is the network's unless given.

    With `forwarding` the guest routes for others: what it sends has their addresses as source, still its own MAC.
    `serves` is what the guest may be for its segment: a DHCP server or relay, a router that advertises itself.
    """

    name: NicName | None = None
    network: str = "lan"
    mac: Mac | None = None
    address: IPv4Address | None = None
    model: Literal["virtio", "e1000", "e1000e", "rtl8139"] = "virtio"
    queues: int = 1
    guard: Literal["none", "mac", "address"] | None = None
    forwarding: bool = False
    serves: tuple[Service, ...] = ()

    def problems(self, machine: str) -> Iterator[tuple[str, str, str]]:
        """What is wrong with this NIC as (key, found, wanted)."""
        if self.mac and self.mac.startswith("fe:"):
            yield "mac", self.mac, 'a first byte other than "fe", which is for the host\'s end of the tap'
        if machine == "microvm" and self.model != "virtio":
            yield "model", self.model, '"virtio", because microvm has no PCI bus'
        if not 1 <= self.queues <= 16:
            yield "queues", str(self.queues), "1 to 16"
        if self.queues > 1 and self.model != "virtio":
            yield "queues", str(self.queues), f"1, because {self.model} has one queue only"


class PersistentTap(Value):
    """A tap made to stay, so that its owner may start guests without privileges. `held` while a process has it."""

    name: str
    alias: str
    owner: int
    queues: int
    held: bool


class Port(Value):
    """A NIC with everything derived: the tap that is its place on the bridge, its MAC and its address.

    `subnet` and `prefix6` are those of its network, `hosts6` the IPv6 addresses there that are the host's alone and
    `bridge_mac` is the host's MAC there; "" where they are not ours to know.
    `lab` is the directory of the lab that the tap is marked with, "" for a tap that 0.1.0 made.
    """

    name: str
    network: str
    bridge: str
    tap: str
    mac: str
    address: str | None
    model: str = "virtio"
    queues: int = 1
    mtu: int = 1500
    isolated: bool = False
    guard: Guard = "none"
    forwarding: bool = False
    serves: tuple[Service, ...] = ()
    subnet: str = ""
    bridge_mac: str = ""
    prefix6: str = ""
    hosts6: tuple[str, ...] = ()
    lab: str = ""

    def tap_mac(self) -> str:
        """The tap's own MAC: above every guest's, so that the bridge never takes it for its own."""
        return f"fe:{self.mac[3:]}"

    def alias(self, guest: str) -> str:
        """The mark of the tap: whose it is, in full."""
        return link_alias.of_tap(guest, self.name, self.lab)

    def handle(self, *, vhost: bool) -> Tap:
        return Tap(name=self.tap, queues=self.queues, vhost=vhost and self.model == "virtio")

    def options(self, number: int, machine: str, *, vhost: bool, bootindex: int | None) -> Iterator[Option]:
        """Card `number` of the guest; with `bootindex` it keeps its boot ROM, without it none is loaded."""
        yield Option(flag="netdev", props={"type": "tap", "id": f"n{number}", "tap": self.handle(vhost=vhost)})
        microvm = machine == "microvm"
        device: dict[str, object] = {
            "driver": _MODELS[self.model].format(bus="device" if microvm else "pci"),
            "id": self.name,
            "netdev": f"n{number}",
            "mac": self.mac,
        }
        if self.queues > 1:
            device |= {"mq": True} | ({} if microvm else {"vectors": 2 * self.queues + 2})
        if self.model == "virtio" and self.mtu != 1500:
            device["host_mtu"] = self.mtu
        if bootindex is not None:
            device["bootindex"] = bootindex
        elif not microvm:
            device["romfile"] = ""
        yield Option(flag="device", props=device)
