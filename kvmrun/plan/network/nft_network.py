"""The packet filter of one network as nftables text: masquerading, replies in, nothing else in, and port forwards."""

from collections.abc import Iterable, Iterator, Mapping

from kvmrun.model.network.network import Forward, Network, Uplink
from kvmrun.model.value import Value
from kvmrun.plan.network.uplink_routing import MARKS

SERVED = {53, 67}
"""The ports that our own name and address servers have."""
OWN = "$own"
"""What the text of a table calls the set of our bridges: the one thing in it that changes with other networks."""
_DEFINED = "  define own = "
STRANGERS_HOOK = "type filter hook postrouting priority 200;"


class Surroundings(Value):
    """What the table of a network says of others: matches for the packets of `strangers`, whom the host would route
    for our sake alone; the MACs of its `routers`, the NICs that may send with the addresses of others; the addresses
    that our own `servers` have; the MAC of the bridge; the `answers`, links by which what came in to a forwarded port
    is answered, each with its mark; the `comment` by which the table is known when nothing else tells whose it is.
    """

    strangers: tuple[str, ...] = ()
    routers: tuple[str, ...] = ()
    servers: tuple[str, ...] = ()
    mac: str = "00:00:00:00:00:00"
    answers: tuple[tuple[str, int], ...] = ()
    comment: str = ""


def table_name(network: str) -> str:
    """The network's own table, as nft names it: family and name."""
    return f"inet kvmrun_{network}"


def network_text(
    network: Network,
    bridges: Iterable[str],
    uplinks: Mapping[str, Uplink],
    addresses: Mapping[str, str],
    around: Surroundings | None = None,
) -> str:
    """The table. `bridges` are those of all our networks, `addresses` the guests'."""
    around = around or Surroundings()
    named = {str(uplinks[name].interface) for name in network.nat} if isinstance(network.nat, tuple) else set()
    out = ", ".join(f'"{link}"' for link in sorted(named))
    forwards = [one for one in network.forward if addresses.get(one.guest)]  # not to a guest with errors
    lines = [f"table {table_name(network.name)} {{", *([f'  comment "{around.comment}"'] if around.comment else [])]
    lines += [f"{_DEFINED}{link_set(bridges)}"]
    lines += _indented(_forward(network, out, around.routers))
    lines += _indented(_input(network))
    lines += _indented(_raw(network, around.mac, loopback=bool(forwards)))
    if forwards:
        lines += _indented(_port_forwards(forwards, addresses, around.servers))
        lines += _indented(_answers(network, around.answers))
    if network.nat is not False or forwards or network.has_ipv6_egress():
        lines += _indented(_masquerade(network, out, hairpin=bool(forwards)))
    if around.strangers:
        lines += _indented(_strangers(around.strangers))
    return "".join(f"{line}\n" for line in [*lines, "}"])


def with_bridges(table: str, bridges: Iterable[str]) -> str:
    """The text of a table for other bridges of ours; that of an older version, which defines none, as it is."""
    lines = table.splitlines(keepends=True)
    defined = f"{_DEFINED}{link_set(bridges)}\n"
    return "".join(defined if line.startswith(_DEFINED) else line for line in lines)


def spelled_out(rule: str, bridges: Iterable[str]) -> str:
    """A rule with the names of our bridges, for somebody else's table."""
    own = link_set(bridges)
    return rule.replace(f"{{ {OWN}, ", f"{own.removesuffix(' }')}, ").replace(OWN, own)


def link_set(links: Iterable[str]) -> str:
    """Names of links as a set of nft."""
    return f"{{ {', '.join(f'{chr(34)}{link}{chr(34)}' for link in sorted(links))} }}"


def _forward(network: Network, out: str, routers: Iterable[str]) -> Iterator[str]:
    bridge = f'"{network.bridge}"'
    yield "chain forward {"
    yield "  type filter hook forward priority filter; policy accept;"
    # frames between ports pass here too where bridge netfilter is on
    yield f"  iifname {bridge} oifname {bridge} {'counter drop' if network.isolate else 'accept'}"
    # sources of other networks come from guests that forward alone; they would leave with the address they claim
    claim = f"ether saddr != {{ {macs} }} " if (macs := ", ".join(sorted(routers))) else ""
    yield f"  iifname {bridge} ip saddr != {network.subnet} {claim}counter drop"
    if network.ipv6:
        yield f"  iifname {bridge} ip6 saddr != {network.ipv6} {claim}counter drop"
    if out:  # with the address of a guest it would leave for nothing, and the connection would stay that way
        yield f"  iifname {bridge} oifname != {{ {OWN}, {out} }} ct direction original counter reject"
    yield f"  oifname {bridge} ct state established,related accept"
    yield f"  oifname {bridge} ct status dnat accept"
    if network.policy == "private":
        yield f"  iifname {OWN} oifname {bridge} accept"
        yield f"  oifname {bridge} counter drop"
    yield "}"


def _strangers(strangers: Iterable[str]) -> Iterator[str]:
    yield "chain strangers {"
    yield f"  {STRANGERS_HOOK} policy accept;"
    yield from (f"  {rule}" for match in strangers for rule in stranger_rules(match))
    yield "}"
    if claimed := [match for match in strangers if "ipv6" in match]:  # for IPv4 the kernel refuses those itself
        yield "chain claims {"
        yield "  type filter hook forward priority filter; policy accept;"
        yield from (f"  {match} oifname != {OWN} fib saddr type local counter drop" for match in claimed)
        yield "}"


def stranger_rules(match: str) -> list[str]:
    """The rules that keep the host from being a router for those whose packets `match`.

    They stand behind source translation: what others translate (containers, clients of a VPN) they want to be routed.
    A local source is that of a tunnel, whose packets go out with the tunnel's link as their input. Where there is no
    input at all, as with frames between ports of a bridge, `iiftype` matches nothing. `ct status` matches no packet
    that belongs to no connection.
    """
    passing = f"meta iiftype != loopback {match} oifname != {OWN} fib saddr type != local"
    states = ("ct state { invalid, untracked }", "ct state new ct status & (snat | dnat) == 0")
    return [f"{passing} {state} counter drop" for state in states]


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


def _masquerade(network: Network, out: str, *, hairpin: bool) -> Iterator[str]:
    several = network.sources()
    sources = f"{{ {', '.join(several)} }}" if len(several) > 1 else several[0]
    yield "chain postrouting {"
    yield "  type nat hook postrouting priority srcnat; policy accept;"
    if network.nat is True:
        yield f"  ip saddr {sources} oifname != {OWN} masquerade"
    elif out:
        yield f"  ip saddr {sources} oifname {{ {out} }} masquerade"
    if network.has_ipv6_egress() and network.ipv6_egress == "nat":
        leaving = f"oifname {{ {out} }}" if out else f"oifname != {OWN}"
        yield f"  ip6 saddr {network.ipv6} {leaving} masquerade"
    if hairpin:  # the guest would answer past the host
        yield f'  ip saddr 127.0.0.0/8 oifname "{network.bridge}" masquerade'
        yield f'  ip saddr {network.subnet} oifname "{network.bridge}" ct status dnat masquerade'
    yield "}"


def _raw(network: Network, mac: str, *, loopback: bool) -> Iterator[str]:
    """Before connections are tracked.

    With `route_localnet` the bridge takes packets for 127.0.0.0/8: none that come by a port are meant for it. Frames
    from port to port come here where bridge netfilter is on. They are not tracked: when a guest routes a flow that
    came to it that way, the host would take it for a connection it knows, and not translate it.
    """
    yield "chain raw {"
    yield "  type filter hook prerouting priority raw; policy accept;"
    for side in ("saddr", "daddr") if loopback else ():
        yield f'  iifname "{network.bridge}" ip {side} 127.0.0.0/8 counter drop'
    unicast = "ether daddr & 01:00:00:00:00:00 == 00:00:00:00:00:00"
    yield f'  iifname "{network.bridge}" {unicast} ether daddr != {mac} notrack'
    yield "}"


def _answers(network: Network, answers: Iterable[tuple[str, int]]) -> Iterator[str]:
    """A connection to a forwarded port keeps the mark of the link it came in by, and its answers carry it."""
    if not answers:
        return
    keep = f"& {~MARKS & 0xFFFFFFFF:#010x} |"
    yield "chain answers {"
    yield "  type filter hook prerouting priority mangle; policy accept;"
    for _, mark in answers:
        match = f'iifname "{network.bridge}" ct direction reply ct mark & {MARKS:#010x} == {mark:#010x}'
        yield f"  {match} meta mark set meta mark {keep} {mark:#010x}"
    yield "}"
    yield "chain inbound {"
    yield "  type filter hook prerouting priority dstnat + 10; policy accept;"
    for link, mark in answers:
        match = f'iifname "{link}" ip daddr {network.subnet} ct state new ct status dnat'
        yield f"  {match} ct mark set ct mark {keep} {mark:#010x}"
    yield "}"


def _port_forwards(forwards: Iterable[Forward], addresses: Mapping[str, str], servers: Iterable[str]) -> Iterator[str]:
    """From outside, from guests and from the host itself, by any address of the host.

    Of the loopback 127.0.0.1 alone, since others may be a resolver's; and no port that our own servers or the host's
    resolver have there.
    """
    elsewhere = ", ".join(["127.0.0.0/8", *servers])
    for hook, priority, near in (
        ("prerouting", "dstnat", "127.0.0.0/8"),
        ("output", "-100", "{ 127.0.0.0/32, 127.0.0.2-127.255.255.255 }"),
    ):
        yield f"chain {hook} {{"
        yield f"  type nat hook {hook} priority {priority}; policy accept;"
        for one in forwards:
            others = f"{{ {elsewhere} }}" if one.port in SERVED else near
            match = f"fib daddr type local ip daddr != {others} {one.protocol} dport {one.port}"
            yield f"  {match} dnat ip to {addresses[one.guest]}:{one.to}"
        yield "}"


def _indented(lines: Iterable[str]) -> list[str]:
    return [f"  {line}" for line in lines]
