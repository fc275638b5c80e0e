"""The packet filter of one network as nftables text: masquerading, replies in, nothing else in, and port forwards."""

from kvmrun.light.abc import Iterable, Iterator, Mapping
from kvmrun.model.frozen import Frozen
from kvmrun.model.network import Forward, Network, Uplink


class Around(Frozen):
    """What the table of a network says of others: the links `opened` by us alone to what they forward, and the MACs of
    its `routers`, the cards that may send with the addresses of others.
    """

    opened: tuple[str, ...] = ()
    routers: tuple[str, ...] = ()


def table(network: str) -> str:
    """The network's own table, as nft names it: family and name."""
    return f"inet kvmrun_{network}"


def text(
    network: Network,
    bridges: Iterable[str],
    uplinks: Mapping[str, Uplink],
    addresses: Mapping[str, str],
    around: Around | None = None,
) -> str:
    """The table. `bridges` are those of all our networks, `addresses` the guests'."""
    around = around or Around()
    own = ", ".join(f'"{bridge}"' for bridge in sorted(bridges))
    name = table(network.name)
    lines = [f"table {name} {{"]
    lines += _indented(_forward(network, own, around))
    lines += _indented(_input(network))
    if network.nat is not False:
        lines += _indented(_masquerade(network, own, uplinks))
    if forwards := [one for one in network.forward if addresses.get(one.guest)]:  # not to a guest with errors
        lines += _indented(_port_forwards(network, forwards, addresses))
    return "".join(f"{line}\n" for line in [*lines, "}"])


def _forward(network: Network, own: str, around: Around) -> Iterator[str]:
    bridge = f'"{network.bridge}"'
    yield "chain forward {"
    yield "  type filter hook forward priority filter; policy accept;"
    if opened := ", ".join(
        f'"{link}"' for link in sorted(around.opened)
    ):  # for our guests: the host is no router for strangers
        strangers = f"iifname {{ {opened} }} oifname != {{ {own} }} meta nfproto ipv4"
        yield f"  {strangers} ct state {{ new, invalid, untracked }} ct status & dnat == 0 counter drop"
    # frames between ports pass here too where bridge netfilter is on
    yield f"  iifname {bridge} oifname {bridge} {'counter drop' if network.isolate else 'accept'}"
    # sources of other networks come from guests that forward alone; they would leave with the address they claim
    claim = f"ether saddr != {{ {', '.join(sorted(around.routers))} }} " if around.routers else ""
    yield f"  iifname {bridge} ip saddr != {network.subnet} {claim}counter drop"
    if network.ipv6:
        yield f"  iifname {bridge} ip6 saddr != {network.ipv6} {claim}counter drop"
    yield f"  oifname {bridge} ct state established,related accept"
    yield f"  oifname {bridge} ct status dnat accept"
    if network.policy == "private":
        yield f"  iifname {{ {own} }} oifname {bridge} accept"
        yield f"  oifname {bridge} counter drop"
    yield "}"


def _input(network: Network) -> Iterator[str]:
    """Our name and address server is for our bridge: an address of the host answers on every interface otherwise."""
    six = f"ip6 daddr {network.ipv6[1]}" if network.ipv6 else ""
    yield "chain input {"
    yield "  type filter hook input priority filter; policy accept;"
    for own in (one for one in (f"ip daddr {network.host_address().ip}", six) if one):
        for protocol, ports in (("udp", "53, 67"), ("tcp", "53")):
            others = f'iifname != {{ "lo", "{network.bridge}" }}'
            yield f"  {others} {own} {protocol} dport {{ {ports} }} counter drop"
    yield "}"


def _masquerade(network: Network, own: str, uplinks: Mapping[str, Uplink]) -> Iterator[str]:
    yield "chain postrouting {"
    yield "  type nat hook postrouting priority srcnat; policy accept;"
    if network.nat is True:
        yield f"  ip saddr {network.subnet} oifname != {{ {own} }} masquerade"
    elif isinstance(network.nat, tuple):
        out = ", ".join(sorted({f'"{uplinks[name].interface}"' for name in network.nat}))
        yield f"  ip saddr {network.subnet} oifname {{ {out} }} masquerade"
    yield "}"


def _port_forwards(network: Network, forwards: Iterable[Forward], addresses: Mapping[str, str]) -> Iterator[str]:
    """From outside, and from the host itself; not from the bridge, where the guest has its own address."""
    for hook, priority, where in (("prerouting", "dstnat", f'iifname != "{network.bridge}" '), ("output", "-100", "")):
        yield f"chain {hook} {{"
        yield f"  type nat hook {hook} priority {priority}; policy accept;"
        for one in forwards:
            match = f"{where}fib daddr type local ip daddr != 127.0.0.0/8 {one.protocol} dport {one.port}"
            yield f"  {match} dnat ip to {addresses[one.guest]}:{one.to}"
        yield "}"


def _indented(lines: Iterable[str]) -> list[str]:
    return [f"  {line}" for line in lines]
