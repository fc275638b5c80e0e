"""What is known of one network right now."""

from kvmrun.model.value import Value


class LeaseStatus(Value):
    """An address given out by dnsmasq. `expires` in seconds since 1970, 0 for never."""

    address: str
    mac: str
    name: str
    expires: int


class PortStatus(Value):
    tap: str
    guest: str


class EgressStatus(Value):
    """By which link and gateway a guest's packets would leave now, None for none, and by which uplink they should."""

    guest: str
    address: str
    egress: str | None
    uplink: str | None
    told: str | None


class NetworkStatus(Value):
    """One network. `state` is up, down, degraded or refused; `uplink` the link its traffic leaves by,
    `domain` the one whose names dnsmasq answers, `resolver` by what they resolve on the host; None for none.
    `providers` are those of Shorewall that the lab names, each with its state in words.
    `dnsmasq` and `rules` are None where only root may look, `address` where there is no bridge.
    """

    name: str
    state: str
    problem: str | None
    bridge: str
    address: str | None
    ports: tuple[PortStatus, ...]
    dnsmasq: str | None
    domain: str | None
    rules: str | None
    uplink: str | None
    leases: tuple[LeaseStatus, ...]
    ways: tuple[EgressStatus, ...] = ()
    warnings: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    resolver: str | None = None
