"""Rule sets made at random, of every statement that decides about a packet, around the packets that are sent."""

from random import Random

OUTSIDE = "203.0.113.9"
GUEST, OTHER, HOST = "192.168.0.1", "192.168.0.2", "192.168.0.254"
PORT = 5353

_LINKS = [
    '"br0"',
    '"eth9"',
    '"br*"',
    '{ "br0", "lo" }',
    '{ "eth9", "br0" }',
    '"docker0"',
    "@links",
    '!= "br0"',
    '!= "lo"',
]
_ADDRESSES = [
    GUEST, OUTSIDE, HOST, "192.168.0.0/24", "203.0.113.0/24", "10.0.0.0/8", "192.168.0.1-192.168.0.9", "!= 10.0.0.0/8",
    "{ 192.168.0.1, 10.0.0.1 }", "{ 203.0.113.0/24, 10.0.0.0/8 }", "@hosts", "@nets", "!= @nets", "!= 192.168.0.0/24",
]  # fmt: skip
_MATCHES = [
    "iifname {link}", "oifname {link}", "ip saddr {address}", "ip daddr {address}", "meta l4proto {protocol}",
    "ip protocol {protocol}", "udp dport {port}", "tcp dport {port}", "th dport {port}", "ct state {state}",
    "meta mark {mark}", "ct mark {mark}", "meta mark & 0xf0 == 0x10", "fib daddr type {type}", "meta nfproto {family}",
    "meta pkttype {kind}", "ct direction {direction}", "ct status & (dnat|snat) == 0x0", "ct status dnat",
    "limit rate 1000/second", "limit rate over 1000/second", "quota 10 mbytes", "quota over 10 mbytes",
    "ip saddr . udp dport @pairs", "iifname . ip saddr {{ \"br0\" . 192.168.0.1, \"eth9\" . 203.0.113.9 }}",
    "ip saddr & 255.255.255.0 == 192.168.0.0", "meta protocol {protocol3}", "ip version 4", "ip6 saddr fe80::/10",
    "tcp flags & (fin|syn|rst|ack) == syn", "icmp type echo-request", "udp dport >= 1024", "th dport != 22",
    "ct original ip saddr {address1}", "quota name \"some\"",
    "limit name \"few\"", "ct state != {{ established, related }}", "ct count 1000", "ct count over 1000",
]  # fmt: skip
_DEEDS = [
    "meta mark set 0x1", "meta mark set 0x11", "meta mark set meta mark or 0x10", "ct mark set 0x1",
    "ct mark set meta mark", "meta mark set ct mark", "counter", "counter name \"every\"",
    "log prefix \"x \" level debug",
    "add @seen {{ ip saddr }}", "update @seen {{ ip daddr timeout 1m }}", "meta mark set ip saddr map @marks",
    "ip saddr @seen",
]  # fmt: skip
_VERDICTS = ["accept", "drop", "reject", "return", "jump c1", "jump c2", "goto c1", "goto c2", "continue"]
_MAPS = [
    "iifname vmap {{ \"br0\" : {verdict}, \"eth9\" : {verdict} }}",
    "ct state vmap {{ new : {verdict}, established : {verdict} }}",
    "ip saddr . udp dport vmap {{ 192.168.0.1 . 5353 : {verdict}, 203.0.113.9 . 22 : {verdict} }}",
    "meta l4proto vmap {{ tcp : {verdict}, udp : {verdict} }}", "ip daddr vmap @ways",
    "fib daddr type vmap {{ local : {verdict}, unicast : {verdict} }}",
    "meta mark vmap {{ 0x1 : {verdict}, 0x0 : {verdict} }}",
]  # fmt: skip
UNSURE = [
    "numgen random mod 2 vmap {{ 0 : accept, 1 : drop }}", "jhash ip saddr mod 2 vmap {{ 0 : accept, 1 : drop }}",
    "ip ttl 64 drop", "ip length > 20 drop", "meta cpu 0 drop", "meta hour \"00:00\"-\"23:59\" drop",
    "ether saddr 02:00:00:00:00:01 drop", "@nh,96,32 0xc0a80001 drop", "udp length > 8 drop",
]  # fmt: skip
"""What cannot be known from here: the walk has to say so wherever it matters."""
_NAMED = """
  counter every { }
  quota some { over 10 mbytes }
  limit few { rate 1000/second }
  set links { type ifname; elements = { "lo", "br0" }; }
  set hosts { type ipv4_addr; elements = { 192.168.0.1, 10.9.9.9 }; }
  set nets { type ipv4_addr; flags interval; elements = { 192.168.0.0/24, 198.51.100.0-198.51.100.9 }; }
  set pairs { type ipv4_addr . inet_service; flags interval; elements = { 192.168.0.0/24 . 5000-6000 }; }
  set seen { type ipv4_addr; flags dynamic,timeout; timeout 1h; size 100; }
  map marks { type ipv4_addr : mark; elements = { 192.168.0.1 : 0x1 }; }
  map ways { type ipv4_addr : verdict; elements = { 203.0.113.9 : jump c2, 192.168.0.1 : accept }; }
"""
_PROTOCOLS = ("tcp", "udp", "icmp", "ip6", "l4proto", "protocol", "nfproto")
_HOOKS = {
    "prerouting": ("raw", "mangle", "-50"), "input": ("filter", "10"), "forward": ("filter", "-5", "10"),
    "output": ("filter", "mangle"), "postrouting": ("mangle", "50"),
}  # fmt: skip


def match(random: Random) -> str:
    return random.choice(_MATCHES).format(
        link=random.choice(_LINKS),
        address=random.choice(_ADDRESSES),
        address1=random.choice([GUEST, OUTSIDE]),
        protocol=random.choice(["udp", "tcp", "{ tcp, udp }", "icmp", "!= tcp"]),
        protocol3=random.choice(["ip", "ip6"]),
        port=random.choice(["5353", "53", "5000-6000", "{ 53, 5353 }", "{ 1-10, 5353 }", "!= 5353", "< 1024"]),
        state=random.choice(
            ["new", "established", "established,related", "{ new, untracked }", "invalid", "untracked"]
        ),
        mark=random.choice(["0x0", "0x1", "0x11", "!= 0x0", "{ 0x1, 0x10 }"]),
        type=random.choice(["local", "unicast", "{ local, broadcast }", "!= local", "multicast"]),
        family=random.choice(["ipv4", "ipv6"]),
        kind=random.choice(["host", "broadcast", "{ broadcast, multicast }"]),
        direction=random.choice(["original", "reply"]),
    )


def rule(random: Random, verdicts: list[str], *, unsure: bool = False) -> str:
    parts = [match(random) for _ in range(random.choice([0, 1, 1, 2, 2, 3]))]
    while len({word for part in parts for word in _PROTOCOLS if word in part.split()}) > 1:  # nft refuses those
        parts.pop()
    parts += [random.choice(_DEEDS).format()] if random.random() < 0.3 else []
    if unsure and random.random() < 0.3:
        return " ".join([*parts, random.choice(UNSURE).format()])
    if random.random() < 0.25:
        made = random.choice(_MAPS)
        while "{verdict}" in made:
            made = made.replace("{verdict}", random.choice(verdicts), 1)
        return " ".join([*parts, made.format()])
    return " ".join([*parts, random.choice(verdicts)])


def ruleset(random: Random, *, unsure: bool = False) -> str:
    """A table with some base chains and two that are jumped to; base chains drop by policy now and then."""
    lines = ["table inet made {", _NAMED]
    plain = ["accept", "drop", "return", "return", "accept"]
    verdicts = [*_VERDICTS[:2], *_VERDICTS[3:]]  # reject is not there at every hook
    for name, allowed in (("c2", plain), ("c1", [*plain, "jump c2", "goto c2"])):
        lines += [f"  chain {name} {{", *(f"    {rule(random, allowed)}" for _ in range(random.randint(0, 3))), "  }"]
    for hook in random.sample(sorted(_HOOKS), random.randint(1, 3)):
        for number, priority in enumerate(random.sample(_HOOKS[hook], random.randint(1, 2))):
            policy = random.choice(["accept", "accept", "drop"])
            lines.append(f"  chain {hook}{number} {{")
            lines.append(f"    type filter hook {hook} priority {priority}; policy {policy};")
            if hook == "prerouting" and priority == "raw" and random.random() < 0.2:
                lines.append("    notrack")
            lines += [f"    {rule(random, verdicts, unsure=unsure)}" for _ in range(random.randint(1, 5))]
            lines.append("  }")
    return "\n".join([*lines, "}\n"])


_ASKS = [
    "-i br0", "-i eth9", "-o eth9", "! -o br0", "-i br+", "-s 192.168.0.0/24", "-d 203.0.113.9", "! -s 10.0.0.0/8",
    "-m conntrack --ctstate RELATED,ESTABLISHED", "-m conntrack --ctstate NEW", "-m conntrack ! --ctstate INVALID,DNAT",
    "-m conntrack --ctstate ESTABLISHED,DNAT", "-m conntrack --ctstate UNTRACKED", "-m state --state NEW",
    "-m addrtype --dst-type LOCAL", "-m addrtype ! --dst-type LOCAL,BROADCAST", "-m addrtype --src-type UNICAST",
    "-m pkttype --pkt-type broadcast", "-m mark --mark 0x1/0xff", "-m mark ! --mark 0x1", "-m connmark --mark 0x1",
    "-m limit --limit 1000/sec", "-m hashlimit --hashlimit-above 1000/sec --hashlimit-name a --hashlimit-mode srcip",
    "-m comment --comment \"it is -j DROP\"", "-m iprange --src-range 192.168.0.1-192.168.0.9", "-p udp",
    "-p tcp --syn",
    "-p udp -m udp --dport 5000:6000", "-p udp -m multiport --dports 22,5353", "-p tcp -m multiport ! --dports 22,80",
    "-p tcp -m tcp --dport 5353", "-p icmp -m icmp --icmp-type 8", "-m policy --dir {dir} --pol none", "! -p tcp",
    "-m conntrack --ctdir REPLY", "-m conntrack --ctorigsrc 192.168.0.1", "-m recent --set --name r",
    "-m connlimit --connlimit-above 1000", "-m physdev --physdev-is-bridged",
]  # fmt: skip
_TARGETS = ["-j ACCEPT", "-j DROP", "-j RETURN", "-j X", "-g X", "-j Y", "-j LOG", "-j NFLOG", ""]
_MARKS = ["-j MARK --set-mark 1", "-j MARK --or-mark 0x10", "-j CONNMARK --save-mark", "-j CONNMARK --set-mark 1"]


def tables(random: Random) -> str:
    """What iptables-restore takes: filter and now and then mangle and raw, with two chains that are jumped to."""
    lines = ["*filter", ":X - [0:0]", ":Y - [0:0]"]
    for chain in ("INPUT", "FORWARD", "OUTPUT"):
        lines.append(f":{chain} {random.choice(['ACCEPT', 'ACCEPT', 'DROP'])} [0:0]")
    rules = [_line(random, chain, _TARGETS) for chain in ("INPUT", "FORWARD", "FORWARD", "OUTPUT") for _ in range(2)]
    rules += [
        _line(random, "X", [*_TARGETS[:3], "-j Y"]),
        _line(random, "Y", _TARGETS[:3]),
        _line(random, "Y", _TARGETS[:3]),
    ]
    lines += [*sorted(rules, key=lambda rule: rule.split()[1]), "COMMIT"]
    if random.random() < 0.6:
        lines += ["*mangle", *(_line(random, "PREROUTING", [*_MARKS, "-j DROP"]) for _ in range(2))]
        lines += [_line(random, "FORWARD", [*_MARKS, "-j DROP"]), "COMMIT"]
    if random.random() < 0.3:
        lines += ["*raw", _line(random, "PREROUTING", ["-j CT --notrack", "-j DROP"]), "COMMIT"]
    return "\n".join([*lines, ""])


def _line(random: Random, chain: str, targets: list[str]) -> str:
    asks = random.sample(_ASKS, random.choice([1, 1, 2, 2]))
    if sum("-p " in ask for ask in asks) > 1:
        asks.pop()
    direction = "out" if chain == "OUTPUT" else "in"
    return " ".join([f"-A {chain}", *(ask.format(dir=direction) for ask in asks), random.choice(targets)]).strip()
