"""Everything a command could leave behind, as one value to compare before and after."""

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def world() -> dict[str, Any]:
    """Links, addresses, routes, rules, packet filter, sysctls, guests' processes and files below the run directory."""
    return {
        "links": _ip("-d", "link"),
        "addresses": _ip("address"),
        "routes": _ip("route", "show", "table", "all"),
        "rules": _ip("rule"),
        "nft": _nft(),
        "sysctls": _sysctls(),
        "processes": processes(),
        "files": _files(Path(os.environ["KVMRUN_RUN_DIR"])),
    }


def until(met: Callable[[], Any], limit: float = 30.0) -> Any:
    """The first true value of `met`, asked again and again; the test fails when none comes within `limit` seconds."""
    deadline = time.monotonic() + limit
    while not (found := met()):
        assert time.monotonic() < deadline, f"not within {limit:g} s"
        time.sleep(0.01)
    return found


def world_after(before: dict[str, Any], limit: float = 10.0) -> dict[str, Any]:
    """The world once it is `before` again, or as it is after `limit` seconds: a logger takes a moment to end."""
    deadline = time.monotonic() + limit
    while (found := world()) != before and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def link(name: str) -> dict[str, Any] | None:
    """One link as the kernel tells it, in detail; None when there is none."""
    done = subprocess.run(["ip", "-d", "-j", "link", "show", name], capture_output=True, text=True, check=False)
    return _steady(json.loads(done.stdout))[0] if done.returncode == 0 else None


def addresses(name: str) -> list[str]:
    """The IPv4 addresses of a link as "IP/PREFIX"."""
    found = _ip("-4", "address", "show", name)
    return [f"{one['local']}/{one['prefixlen']}" for entry in found for one in entry["addr_info"]]


def bridge(name: str) -> dict[str, Any] | None:
    """What is set on a bridge, without what follows from the ports it has or had."""
    found = link(name)
    if found is None:
        return None
    data = found["linkinfo"]["info_data"]
    flags = set(found["flags"]) - {"NO-CARRIER", "LOWER_UP"}
    kept = ("ifindex", "address", "mtu", "ifalias")
    options = ("stp_state", "forward_delay", "vlan_filtering", "ageing_time", "mcast_snooping")
    return {
        **{key: found.get(key) for key in kept},
        **{key: data[key] for key in options},
        "flags": sorted(flags),
        "addresses": addresses(name),
    }


def ip(*words: str) -> None:
    """Changes this namespace as another administrator might."""
    subprocess.run(["ip", *words], check=True)


def processes() -> list[str]:
    """The commands of every QEMU, logger and name server that has to do with this test's directories."""
    mine = os.environ["KVMRUN_RUN_DIR"].rsplit("/", 1)[0].encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes()
                links = [os.readlink(entry / "fd" / fd).encode() for fd in os.listdir(entry / "fd")]
            except OSError:
                continue
            if int(entry.name) != os.getpid() and any(mine in text for text in (command, *links)):
                found.append(command.split(b"\0")[0].decode())
    return sorted(found)


def _ip(*words: str) -> Any:
    out = subprocess.run(["ip", "-j", *words], capture_output=True, text=True, check=True).stdout
    return _steady(json.loads(out or "[]"))


def _steady(value: Any) -> Any:
    """Without what changes by itself: counters and timers."""
    if isinstance(value, list):
        return [_steady(one) for one in value]
    if isinstance(value, dict):
        timers = ("_timer", "life_time", "stats", "operstate")
        return {key: _steady(one) for key, one in value.items() if not any(word in key for word in timers)}
    return value


def _nft() -> Any:
    try:
        out = subprocess.run(["nft", "-j", "list", "ruleset"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return [one for one in json.loads(out)["nftables"] if "metainfo" not in one]


def _sysctls() -> dict[str, str]:
    found = {}
    for family in ("ipv4", "ipv6"):
        for name in ("*forwarding", "accept_ra", "disable_ipv6"):
            for path in Path(f"/proc/sys/net/{family}").rglob(name):
                found[str(path)] = path.read_text().strip()
    return found


def _files(root: Path) -> list[tuple[str, int]]:
    return sorted((str(path), path.lstat().st_mode) for path in root.rglob("*")) if root.exists() else []
