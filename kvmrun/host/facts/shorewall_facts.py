"""What an export for Shorewall asks of this host: its version, and our own address on a wire that providers share."""

import re
import subprocess
from collections.abc import Iterable
from ipaddress import IPv4Interface

from kvmrun.host.links.pyroute2_links import read_bridge
from kvmrun.host.process import process
from kvmrun.model.deadline import remaining
from kvmrun.model.network.network import Uplink

_LIMIT = 10.0


def shorewall_version() -> tuple[int, ...]:
    """The version of the Shorewall that is installed, () when there is none or it does not say."""
    if not (path := process.find_program("shorewall")):
        return ()
    try:
        done = subprocess.run([path, "version"], capture_output=True, text=True, timeout=remaining(_LIMIT), check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    found = re.search(r"([0-9]+)\.([0-9]+)(?:\.([0-9]+))?", done.stdout)
    return tuple(int(part) for part in found.groups() if part) if found else ()


def own_addresses(uplinks: Iterable[Uplink]) -> dict[str, str]:
    """The host's address in the network of each uplink's gateway, by the uplink's name, where it has one now."""
    found = {}
    for one in uplinks:
        link = read_bridge(one.interface) if one.gateway else None
        here = [IPv4Interface(text) for text in link.addresses if ":" not in text] if link else []
        if address := next((own for own in here if one.gateway and one.gateway in own.network), None):
            found[str(one.name)] = str(address.ip)
    return found
