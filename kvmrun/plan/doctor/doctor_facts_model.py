"""What `doctor` looked at: facts of the host beyond those a start asks for."""

from collections.abc import Mapping
from typing import Any, Literal

from kvmrun.errors import KvmrunError
from kvmrun.model.value import EMPTY, Value
from kvmrun.plan.doctor.packet_routes import Trip
from kvmrun.plan.host_facts import NetworkFacts, PortOwner, Route

Access = Literal["ready", "absent", "forbidden"]


class BootTest(Value):
    """A guest of one sector that was started with KVM and this CPU model: how it went, and how long it took."""

    cpu: str
    worked: bool
    seconds: float
    reason: str = ""


class MachineFacts(Value):
    """What guests run on.

    `extension` is the module of the processor's virtualisation, "" when it shows none; `kvm_mode` is who may open
    /dev/kvm; `missing` has the fix for each program that is absent; sizes in bytes; `units` tells whether systemd
    has that of the networks, None where it does not run, and `started` for which guests it has one; `exposed` is our
    command where the caller's PYTHON* variables are heeded; `lacking` the capabilities that were taken from root.
    """

    root: bool
    vms: str
    kvm: Access
    kvm_mode: str
    extension: str
    trials: tuple[BootTest, ...]
    qemu: str
    qemu_given: bool
    qemu_version: tuple[int, ...]
    qemu_says: str
    tun: Access
    vhost: bool
    missing: Mapping[str, str]
    memory: int
    available: int
    state: str
    state_writable: bool
    state_free: int
    units: bool | None
    started: frozenset[str] = frozenset()
    exposed: str = ""
    lacking: str = ""
    firmware: Mapping[str, KvmrunError | None] = EMPTY
    """What prevents each guest with UEFI from having its firmware, None where nothing does."""
    bad_descriptors: Mapping[str, str] = EMPTY


class HostNetworkFacts(Value):
    """What networks stand on. `ruleset` is None when we may not look; `way_out` the link to the rest of the world;
    `links` those of the lab's uplinks that are there, and whether they are up; `silent` the gateways, as (link,
    address), that do not answer; `listeners` those who have a port that leads to a guest; `errors` what could not be
    looked at; `uid` who asks. `probes` tells by uplink whether the address
    it is to be tried with answered, `names` by network what came of a question for a name of the world, `enabled` are
    the uplinks whose own table has a default route, and `defaults` the default routes of table main, as ip writes them.
    """

    networks: Mapping[str, NetworkFacts] = EMPTY
    routes: tuple[Route, ...] = ()
    trips: Mapping[str, Trip] = EMPTY
    servers: tuple[str, ...] = ()
    way_out: str = ""
    links: Mapping[str, bool] = EMPTY
    silent: frozenset[tuple[str, str]] = frozenset()
    listeners: tuple[PortOwner, ...] = ()
    bridge_netfilter: bool = False
    bridge_netfilter6: bool = False
    way_out6: str = ""
    ruleset: tuple[Mapping[str, Any], ...] | None = None
    errors: tuple[str, ...] = ()
    uid: int = 0
    probes: Mapping[str, bool] = EMPTY
    names: Mapping[str, Literal["answered", "refused", "failed", "silent"]] = EMPTY
    enabled: frozenset[str] = frozenset()
    defaults: tuple[str, ...] = ()
