"""Ports and bridges as they are, whoever changed them: every command that looks sees it, and the next puts it back."""

import socket
from pathlib import Path

import pytest
from support.builders import TCG, guests
from support.cli import Cli
from support.hosts import Host, host, uplink

pytestmark = pytest.mark.usefixtures("netns", "tun")

OWN, ROUTER = "52:54:00:00:00:01", "52:54:00:00:00:02"


@pytest.mark.parametrize(("mac", "leaves"), [(OWN, [b"honest"]), (ROUTER, [b"claimed", b"honest"])])
def test_sources_of_other_networks_are_forwarded_for_cards_that_forward_alone(
    lab: Path, kvmrun: Cli, mac: str, leaves: list[bytes]
) -> None:
    guests(lab, "vm1", text=f'{TCG}[[nic]]\nmac = "{OWN}"\n')
    guests(lab, "vm2", text=f'{TCG}[[nic]]\nmac = "{ROUTER}"\nforwarding = true\n')
    with uplink("wan0", 1) as world:
        kvmrun.ok("net", "up")
        for link in ("all", "br0"):
            Path(f"/proc/sys/net/ipv4/conf/{link}/rp_filter").write_text("0")
        with host("v1", mac=mac, bridge="br0", address="192.168.0.7/24") as guest, listening(world) as there:
            guest("ip", "route", "add", "default", "via", "192.168.0.254")
            for claimed in ("8.8.8.8", "10.1.0.77"):
                guest("ip", "address", "add", f"{claimed}/32", "dev", "lo")
                for source, text in ((claimed, b"claimed"), ("192.168.0.7", b"honest")):
                    with guest.socket(socket.SOCK_DGRAM) as at:
                        at.bind((source, 0))
                        at.sendto(text, ("203.0.113.9", 99))
                assert [there.recv(99) for _ in leaves] == leaves


def listening(world: Host) -> socket.socket:
    made = world.socket(socket.SOCK_DGRAM, 30.0)
    made.bind(("0.0.0.0", 99))
    return made
