"""What the kernel has to forward for a network, and whose packets it must not forward.

For IPv4 the kernel asks the link a packet comes in by. Forwarding is set on every link that is there, not only on the
uplinks of the moment, and in the defaults that a new link starts from: so guests follow the host to a link that
appears or becomes an uplink later, without a command. The global flag (`ip_forward`) stays as it is. Software that
wants the host to be a router writes that one, which is then seen; and a `sysctl -p` with `ip_forward = 0` changes
nothing, because the kernel takes no notice of a value that is there already.

For IPv6 the kernel asks the global flag alone. It makes the host a router for itself, too: one that takes no more
router advertisements, and forgets what it learned by them, where `accept_ra` is 1. So that is 2 before.
"""

from kvmrun.model.lab import Lab
from kvmrun.model.network.network import Network
from kvmrun.plan.host_facts import NetworkFacts
from kvmrun.plan.network import uplink_routing
from kvmrun.plan.network.nft_network import OWN, link_set

DEFAULT = "ipv4/conf/default/forwarding"
DEFAULT6 = "ipv6/conf/all/forwarding"


def carries(network: Network) -> bool:
    """Whether the host forwards for `network` at all."""
    return not network.external and (network.nat is not False or bool(network.forward))


def own_bridges(network: Network, now: NetworkFacts) -> list[str]:
    """The bridge of the network, and those of the lab's other networks that are there.

    An external one is a link like any other: it may even be the uplink. So is whatever has the name of a bridge that
    a network is only to have.
    """
    return sorted({str(network.bridge), *now.own})


def asked(lab: Lab, network: Network, now: NetworkFacts) -> list[str]:
    """The names of the settings to be read before `settings` and `strangers` can be told."""
    six = [*_accept_ra(lab, network, now), DEFAULT6] if network.has_ipv6_egress() else []
    return [*six, *(_forwarding(lab, network, now) or [f"ipv4/conf/{network.bridge}/forwarding"])]


def wanted_sysctls(lab: Lab, network: Network, now: NetworkFacts) -> dict[str, str]:
    """The kernel settings `network` needs; in the order in which they are to be set."""
    needed = {f"ipv6/conf/{network.bridge}/accept_ra": "0"}
    needed[f"ipv6/conf/{network.bridge}/disable_ipv6"] = "0" if network.ipv6 else "1"
    needed |= dict.fromkeys(_forwarding(lab, network, now), "1")
    if network.has_ipv6_egress():
        needed |= _settings6(lab, network, now)
    if not carries(network) and (value := _without_us(network, now)):
        needed[f"ipv4/conf/{network.bridge}/forwarding"] = value
    if lab.firewall == "nftables":
        needed |= _linkdown(lab, network, now)
        if any(port.address for one in network.forward for port in lab.ports().get(one.guest, ())):
            needed[f"ipv4/conf/{network.bridge}/route_localnet"] = "1"  # 127.0.0.1 leads to guests, too
    return needed


def _linkdown(lab: Lab, network: Network, now: NetworkFacts) -> dict[str, str]:
    """An uplink whose carrier goes away is left at once: set as the network comes up, on the uplinks of that moment.

    Not in the defaults, which would decide for the host's own traffic by links of any kind; and one that has come
    back as a new device since is no reason to call the network degraded.
    """
    key = "ignore_routes_with_linkdown"
    if now.bridge is None:
        return {f"ipv4/conf/{link}/{key}": "1" for link in _uplinks(lab, network, now)}
    mine = [name for name, one in now.changed.items() if name.endswith(key) and network.name in one.users]
    return {name: now.sysctls.get(name, "1") for name in mine} if carries(network) else {}


def _without_us(network: Network, now: NetworkFacts) -> str:
    """What forwarding would be on the bridge of a network without a way out, "" where that is what it is by itself."""
    name, default = f"ipv4/conf/{network.bridge}/forwarding", now.changed.get(DEFAULT)
    if default and set(default.users) - {network.name}:
        return default.before
    mine = now.changed.get(name)
    return mine.before if mine and mine.before == now.sysctls.get(name) else ""


def _forwarding(lab: Lab, network: Network, now: NetworkFacts) -> list[str]:
    if not carries(network):
        return []
    others = {*now.own, *_taps(lab)} - {str(network.bridge)}
    links = sorted({str(network.bridge), *now.links, *_uplinks(lab, network, now)} - others)
    return [DEFAULT, *(f"ipv4/conf/{link}/forwarding" for link in links)]


def _taps(lab: Lab) -> list[str]:
    """The taps of the lab's guests, which are ports of a bridge sooner or later."""
    return [port.tap for ports in lab.ports().values() for port in ports]


def _accept_ra(lab: Lab, network: Network, now: NetworkFacts) -> list[str]:
    """By which links the host may hear of its own routers, now and later."""
    links = sorted(set(now.links) - {*own_bridges(network, now), *_taps(lab)})
    return [f"ipv6/conf/{link}/accept_ra" for link in ("default", *links)]


def _settings6(lab: Lab, network: Network, now: NetworkFacts) -> dict[str, str]:
    heard = [name for name in _accept_ra(lab, network, now) if now.sysctls.get(name) == "1" or _was_heard(name, now)]
    return {**dict.fromkeys(heard, "2"), DEFAULT6: "1"}


def _was_heard(name: str, now: NetworkFacts) -> bool:
    return name in now.changed and now.changed[name].before == "1"


def _uplinks(lab: Lab, network: Network, now: NetworkFacts) -> list[str]:
    """The links that guests of `network` leave by now, or are told to."""
    if not carries(network):
        return []
    named = {str(lab.uplinks[name].interface) for name in network.nat} if isinstance(network.nat, tuple) else set()
    told = {str(uplink.interface) for uplink in uplink_routing.used_uplinks(lab, network)}
    return sorted({*(named or now.uplinks), *told} - set(own_bridges(network, now)))


def unneeded(lab: Lab, network: Network, now: NetworkFacts) -> list[str]:
    """The settings that were changed for `network`, and that it does not need any more.

    While it carries traffic at all, a link that is gone or has become a port of a bridge is no reason to do anything.
    """
    wanted = wanted_sysctls(lab, network, now)
    mine = [name for name, one in now.changed.items() if network.name in one.users and name not in wanted]
    if not carries(network):
        return mine
    return [name for name in mine if name in now.sysctls and not _is_forwarding4(name)]


def _is_forwarding4(name: str) -> bool:
    return name.startswith("ipv4/") and name.endswith("/forwarding")


def foreign_links(lab: Lab, network: Network, now: NetworkFacts) -> list[str]:
    """The packets that the host would route for our sake alone, as matches of nft: by the link they come in by.

    Our own bridges are in them as rules.OWN.

    A host that routed before is left alone, link by link; and so is one that somebody has made a router since. Where
    new links forward though the host as a whole does not, and nothing says who wants that, our record was lost.
    """
    return [*_strangers4(lab, network, now), *_strangers6(network, now)]


def _strangers6(network: Network, now: NetworkFacts) -> list[str]:
    if not network.has_ipv6_egress():
        return []
    before = now.changed[DEFAULT6].before if DEFAULT6 in now.changed else now.sysctls.get(DEFAULT6, "0")
    return [f"meta nfproto ipv6 iifname != {OWN}"] if before == "0" else []


def _strangers4(lab: Lab, network: Network, now: NetworkFacts) -> list[str]:
    if not carries(network):
        return []
    default = now.changed.get(DEFAULT)
    if default and now.routing and default.general == "0":
        return []
    own = own_bridges(network, now)
    fresh = now.sysctls.get(DEFAULT, "0") == "0"
    if default.before == "0" if default else fresh or not now.routing:
        before = default.links if default else _forwarders(now) if fresh else []
        others = ", ".join(f'"{link}"' for link in sorted({*before} - {*own}))
        return [f"meta nfproto ipv4 iifname != {f'{{ {OWN}, {others} }}' if others else OWN}"]
    closed = {link for link in (*now.links, *_uplinks(lab, network, now)) if link not in own and _is_closed(link, now)}
    return [f"meta nfproto ipv4 iifname {link_set(closed)}"] if closed else []


def exposed(lab: Lab, network: Network, now: NetworkFacts) -> list[str]:
    """The links there are that forward for our sake alone."""
    default = now.changed.get(DEFAULT)
    before = {*own_bridges(network, now), *_taps(lab), *(default.links if default else _forwarders(now))}
    return [link for link in now.links if link not in before]


def _forwarders(now: NetworkFacts) -> list[str]:
    """The links that forward already, before anything was changed."""
    return [link for link in now.links if now.sysctls.get(f"ipv4/conf/{link}/forwarding") == "1"]


def _is_closed(link: str, now: NetworkFacts) -> bool:
    """Whether nobody but us has ever had the link forward, on a host where new links do."""
    name = f"ipv4/conf/{link}/forwarding"
    return now.changed[name].before == "0" if name in now.changed else now.sysctls.get(name) == "0"
