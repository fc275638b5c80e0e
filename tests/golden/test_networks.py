"""Networks to what dnsmasq and nft are told, as files to read in a change; and their own word that they take it.

KVMRUN_GOLDEN=1 rewrites the files.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Network
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from kvmrun.config.load_lab import load_lab
from kvmrun.model.guest.guest import Guest
from kvmrun.model.guest.nic import Nic
from kvmrun.model.lab import Lab
from kvmrun.model.network.network import Dhcp, Dns, Forward, Lease, Network, Uplink, Upstream
from kvmrun.model.paths import Paths
from kvmrun.model.scalars import GuestName, LinkName, NicName
from kvmrun.plan.host_facts import NetworkFacts
from kvmrun.plan.network.dnsmasq_plan import texts as names_texts
from kvmrun.plan.network.network_plan import rules_text

HERE = Path(__file__).parent
WHERE = Paths(vms=str(HERE / "net.d"), run="/@TMP@/run", state="/@TMP@/state", root=True)
NOW = NetworkFacts(
    bridge=None, hostname="ursa", uplinks=("eth0",), links=("eth0",), sysctls={"ipv4/conf/default/forwarding": "0"}
)
NETWORKS = ("lan", "dmz", "names", "given")
needs_dnsmasq = pytest.mark.skipif(not shutil.which("dnsmasq"), reason="needs dnsmasq")
needs_nft = pytest.mark.skipif(not shutil.which("nft"), reason="needs nft")


@pytest.fixture(scope="module")
def lab() -> Lab:
    return load_lab(WHERE.vms, WHERE.images)


def told(lab: Lab, network: Network) -> dict[str, str]:
    """Everything `network` is to dnsmasq and nft, by the name of its file, while all of them are up."""
    now = NOW.replace(own=tuple(str(one.bridge) for one in lab.networks.values()))
    texts = names_texts(lab, network, WHERE, now)
    return {**{Path(path).name: text for path, text in texts.items()}, "rules": rules_text(lab, network, now)}


def test_every_definition_is_valid(lab: Lab) -> None:
    assert not [problem for problem in lab.problems if not problem.warning]
    assert sorted(lab.networks) == sorted(NETWORKS)


@pytest.mark.parametrize("name", NETWORKS)
def test_it_is_what_the_file_says(lab: Lab, name: str) -> None:
    text = "".join(f"# {part}\n{said}\n" for part, said in told(lab, lab.networks[name]).items())
    file = HERE / f"net-{name}.txt"
    if os.environ.get("KVMRUN_GOLDEN"):
        file.write_text(text)
    assert text == file.read_text()


@needs_dnsmasq
@pytest.mark.parametrize("name", NETWORKS)
def test_dnsmasq_takes_it(lab: Lab, name: str, own_directories: Path) -> None:
    assert dnsmasq(told(lab, lab.networks[name]), name, own_directories).endswith("syntax check OK.\n")


@needs_nft
@pytest.mark.usefixtures("netns")
def test_nft_takes_it_as_often_as_it_is_given(lab: Lab) -> None:
    nft("".join(told(lab, network)["rules"] * 2 for network in lab.networks.values()))


def dnsmasq(texts: Mapping[str, str], name: str, root: Path) -> str:
    """What dnsmasq says of a configuration it reads, without acting on it."""
    at = root / "state/net" / name
    at.mkdir(parents=True, exist_ok=True)
    for part in ("config", "hosts", "reservations"):
        (at / part).write_text(texts[part].replace("/@TMP@", str(root)))
    command = ["dnsmasq", "--test", f"--conf-file={at / 'config'}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stderr


def nft(text: str) -> None:
    done = subprocess.run(["nft", "-c", "-f", "-"], input=text, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


words = st.from_regex(r"[a-z][a-z0-9]{0,7}", fullmatch=True).map(NicName)
links = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}", fullmatch=True).map(LinkName)
subnets = st.integers(0, 255).flatmap(
    lambda third: st.integers(16, 28).map(lambda bits: IPv4Interface((f"10.77.{third}.0", bits)).network)
)
ports = st.integers(1, 65535)
servers = st.lists(st.ip_addresses(v=4), max_size=3).map(lambda found: Upstream(IPv4Address(str(one)) for one in found))
dhcps = st.builds(Dhcp, lease=st.sampled_from([Lease("30m"), Lease("7d"), Lease("infinite")]))
labels = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?(\.[a-z0-9]{1,8}){0,2}", fullmatch=True)


@st.composite
def labs(draw: st.DrawFn) -> Lab:
    """A lab with one network as free as a definition lets it be, a guest on it, and one more bridge beside it."""
    name, subnet = draw(words), draw(subnets)
    uplinks = {one: Uplink(name=one, interface=draw(links)) for one in draw(st.lists(words, min_size=1, max_size=3))}
    some = st.lists(st.sampled_from(sorted(uplinks)), min_size=1, unique=True).map(tuple)
    forward = st.builds(Forward, protocol=st.sampled_from(["tcp", "udp"]), port=ports, guest=st.just("vm1"), to=ports)
    network = Network(
        name=name,
        bridge=draw(links),
        subnet=subnet,
        domain=draw(labels),
        dhcp=draw(st.none() | dhcps),
        dns=draw(st.none() | st.builds(Dns, upstream=servers)),
        nat=draw(st.booleans() | some),
        policy=draw(st.sampled_from(["private", "open"])),
        isolate=draw(st.booleans()),
        mtu=draw(st.integers(1280, 65521)),
        ipv6=draw(st.none() | st.just(IPv6Network("fd00:77::/64"))),
        forward=tuple(draw(st.lists(forward, max_size=3, unique_by=lambda one: (one.protocol, one.port)))),
    )
    other = Network(name=NicName("other"), bridge=draw(links), subnet=IPv4Network("10.99.0.0/24"))
    guest = Guest(name=GuestName("vm1"), nic=(Nic(network=name),))
    networks = {other.name: other, name: network}
    return Lab(directory="/", networks=networks, uplinks=uplinks, guests={"vm1": guest})


def some_labs(count: int) -> Iterator[Lab]:
    """`count` labs, the same in every run."""
    found: list[Lab] = []

    @settings(max_examples=count, derandomize=True, database=None, phases=[Phase.generate], deadline=None,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(labs())
    def gather(lab: Lab) -> None:
        found.append(lab)

    gather()
    return iter(found)


@needs_nft
@pytest.mark.usefixtures("netns")
def test_nft_takes_any_network() -> None:
    nft("".join(rules_text(lab, next(reversed(lab.networks.values())), NOW) for lab in some_labs(100)))


@needs_dnsmasq
def test_dnsmasq_takes_any_network(own_directories: Path) -> None:
    for lab in some_labs(15):
        network = next(reversed(lab.networks.values()))
        assert "syntax check OK" in dnsmasq(told(lab, network), network.name, own_directories)
