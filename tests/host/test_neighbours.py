"""Whether somebody answers on an address, asked across a real wire."""

import subprocess
from collections.abc import Iterator

import pytest
from support.world import ip, until

from kvmrun.host.links import neighbours

MAC = "52:54:00:00:00:07"
pytestmark = pytest.mark.usefixtures("guest")


@pytest.fixture
def guest(netns: None) -> Iterator[None]:
    """A namespace behind a port of br0 that has 10.7.0.2 and MAC."""
    ip("link", "add", "br0", "type", "bridge", "forward_delay", "0")
    ip("address", "add", "10.7.0.1/24", "dev", "br0")
    ip("link", "set", "br0", "up")
    ip("link", "add", "port", "type", "veth", "peer", "name", "eth0", "address", MAC)
    ip("link", "set", "port", "master", "br0", "up")
    with subprocess.Popen(["unshare", "--net", "--", "sh", "-c", "echo; exec cat"], stdin=-1, stdout=-1) as other:
        assert other.stdout
        other.stdout.readline()
        ip("link", "set", "eth0", "netns", str(other.pid))
        for words in ("address add 10.7.0.2/24 dev eth0", "link set eth0 up"):
            subprocess.run(["nsenter", f"--net=/proc/{other.pid}/ns/net", "ip", *words.split()], check=True)
        yield
        other.kill()


def test_a_guest_that_is_there_answers_with_its_own_mac() -> None:
    until(lambda: neighbours.has_answered("br0", "10.7.0.2", MAC))
    assert not neighbours.has_answered("br0", "10.7.0.2", "52:54:00:00:00:08")
    assert not neighbours.has_answered("br1", "10.7.0.2", MAC)


def test_nobody_answers_on_an_address_without_guest() -> None:
    assert not neighbours.has_answered("br0", "10.7.0.3", MAC)
    assert not neighbours.has_answered("br0", "203.0.113.1", MAC)


def test_an_earlier_answer_is_forgotten() -> None:
    until(lambda: neighbours.has_answered("br0", "10.7.0.2", MAC))
    ip("link", "set", "port", "down")
    neighbours.forget_neighbour("br0", "10.7.0.2")
    assert not neighbours.has_answered("br0", "10.7.0.2", MAC)
    neighbours.forget_neighbour("br0", "10.7.0.99")
