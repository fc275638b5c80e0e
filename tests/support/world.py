"""Everything a command could leave behind, as one value to compare before and after."""

import json
import os
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

_HELPERS = {
    f"{path}/{name}" for path in ("/usr/sbin", "/usr/bin", "/sbin", "/bin") for name in ("dnsmasq", "s6-log", "swtpm")
}
_CARRIER = ("NO-CARRIER", "LOWER_UP", "linkdown")


def world() -> dict[str, Any]:
    """Everything of this namespace and below the run directory that a command could leave or change.

    Entries that come and go with traffic are not in it: of neighbours and forwarding tables those that stay.
    """
    root = Path(os.environ["KVMRUN_RUN_DIR"])
    return {
        "links": _ip("-d", "link"),
        "addresses": _ip("address"),
        "neighbours": _ip("neigh", "show", "nud", "permanent"),
        "forwarding": _forwarding(),
        "routes": _ip("route", "show", "table", "all"),
        "rules": _ip("rule"),
        "nft": _nft(),
        "sysctls": _sysctls(),
        "processes": _processes(),
        "files": _files(root),
        "locks": _locks(root),
        "sockets": _sockets(root),
    }


def disks(root: Path) -> list[tuple[str, int, int, int, int, list[str]]]:
    """(name, mode, owner, group, size, attributes) of every image below `root`: nobody but QEMU changes one."""
    found = []
    for path in sorted(root.rglob("*")):
        at = path.stat()
        found.append((path.name, at.st_mode, at.st_uid, at.st_gid, at.st_size, os.listxattr(path)))
    return found


def until(met: Callable[[], Any], limit: float = 30.0) -> Any:
    """The first true value of `met`, asked again and again; the test fails when none comes within `limit` seconds."""
    deadline = time.monotonic() + limit
    while not (found := met()):
        assert time.monotonic() < deadline, f"not within {limit:g} s"
        time.sleep(0.01)
    return found


def world_after(before: dict[str, Any], limit: float = 30.0) -> dict[str, Any]:
    """The world once it is `before` again, or as it is after `limit` seconds: a logger takes a moment to end."""
    deadline = time.monotonic() + limit
    while (found := world()) != before and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def difference(before: dict[str, Any], now: dict[str, Any]) -> str:
    """What of two worlds is not the same, a line each; "" when they are equal."""
    lines = []
    for key in (key for key in before if before[key] != now[key]):
        old, new = ([*one.items()] if isinstance(one, dict) else one or [] for one in (before[key], now[key]))
        lines += [f"- {key}: {_only(one, new)}" for one in old if one not in new]
        lines += [f"+ {key}: {_only(one, old)}" for one in new if one not in old] or [f"{key}: in another order"]
    return "\n".join(lines)


def _only(one: Any, others: list[Any]) -> Any:
    """Of an entry what tells it from `others`, and its name."""
    if not isinstance(one, dict):
        return one
    return {
        key: value for key, value in one.items() if key == "ifname" or not any(value == two.get(key) for two in others)
    }


def touchable() -> dict[str, Any]:
    """All that a command which has nothing to do could touch, down to the inode of a file and the handle of a rule.

    Without what moves by itself for a while after a port has come up.
    """
    now = world()
    links = [(one["ifindex"], one["ifname"], one.get("master"), one.get("ifalias")) for one in now["links"]]
    rules = run_nft("-a", "list", "ruleset")
    paths = {path: path.lstat() for path in Path(os.environ["KVMRUN_RUN_DIR"]).rglob("*")}
    files = {str(path): (found.st_ino, found.st_mode, found.st_mtime_ns) for path, found in paths.items()}
    steady = {key: now[key] for key in ("rules", "sysctls", "processes")}
    return steady | {"links": links, "nft": rules, "files": files}


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
    kept = ("ifindex", "address", "mtu", "ifalias")
    options = ("stp_state", "forward_delay", "vlan_filtering", "ageing_time", "mcast_snooping")
    return {
        **{key: found.get(key) for key in kept},
        **{key: data[key] for key in options},
        "flags": sorted(found["flags"]),
        "addresses": addresses(name),
    }


def ip(*words: str) -> None:
    """Changes this namespace as another administrator might."""
    subprocess.run(["ip", *words], check=True)


def run_nft(*words: str) -> str:
    """What nft prints."""
    return subprocess.run(["nft", *words], check=True, capture_output=True, text=True).stdout


def load_rules(text: str) -> None:
    """Have nft carry out these lines."""
    subprocess.run(["nft", "-f", "-"], input=text, text=True, check=True)


def ruleset() -> list[str]:
    """All rules there are, every chain under its table's name, in one order."""
    found = []
    for table in f"\n{run_nft('-s', 'list', 'ruleset')}".split("\ntable ")[1:]:
        name, *chains = (part.rstrip("}\n\t ") for part in table.split("\tchain "))
        found += [f"{name} {chain}" for chain in chains or [""]]
    return sorted(found)


def opened(pid: int) -> list[str]:
    """The files, pipes and memory a process has open. Sockets come and go with whoever talks to it."""
    found = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with suppress(FileNotFoundError):
            found.append(os.readlink(f"/proc/{pid}/fd/{fd}").partition(":[")[0])
    return sorted(one for one in found if one != "socket")


def processes() -> list[str]:
    """The commands of every QEMU, logger and name server that has to do with this test's directories."""
    return [command for command, *_ in _processes()]


def _processes() -> list[tuple[str, int, str, list[str]]]:
    """The same with the account each runs as, its control groups, and what is open in those that live on by themselves.

    Sockets and monitors come and go with whoever talks to them: of a QEMU it is not told what is open.
    """
    mine = os.environ["KVMRUN_RUN_DIR"].rsplit("/", 1)[0].encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if not (command := (entry / "cmdline").read_bytes()):
                    continue  # the kernel's own, or ended
                links = [os.readlink(entry / "fd" / fd).encode() for fd in os.listdir(entry / "fd")]
                uid, groups = entry.stat().st_uid, (entry / "cgroup").read_text()
            except OSError:
                continue
            if int(entry.name) != os.getpid() and any(mine in text for text in (command, *links)):
                name = command.split(b"\0")[0].decode()
                opened = [one.decode() for one in links if not one.startswith(b"socket:")] if name in _HELPERS else []
                found.append((name, uid, groups, sorted(one.partition(":[")[0] for one in opened)))
    return sorted(found)


def _ip(*words: str) -> Any:
    return _json("ip", "-j", *words)


def _json(*words: str) -> Any:
    out = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    return _steady(json.loads(out or "[]"))


def _steady(value: Any) -> Any:
    """Without what changes by itself: counters, timers, carriers, what a link gets from the kernel a while after."""
    if isinstance(value, list):
        return [_steady(one) for one in value if one not in _CARRIER and not _is_link_local(one)]
    if isinstance(value, dict):
        timers = ("_timer", "life_time", "stats", "operstate")
        return {key: _steady(one) for key, one in value.items() if not any(word in key for word in timers)}
    return value


def _is_link_local(entry: Any) -> bool:
    """Whether an address or a route of `ip -j` is IPv6's own of a link."""
    told = [entry.get("dst"), entry.get("local")] if isinstance(entry, dict) else []
    return any(str(one).startswith(("fe80:", "ff00:")) for one in told)


def _forwarding() -> list[tuple[str, str]]:
    """(link, MAC) of what bridges were told to keep; groups are joined and left by the kernel itself."""
    found = [one for one in _json("bridge", "-j", "fdb", "show") if one.get("state") == "permanent"]
    return sorted((one["ifname"], one["mac"]) for one in found if not int(one["mac"][:2], 16) & 1)


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


def _files(root: Path) -> list[tuple[str, int, int, int]]:
    """(path, mode, owner, group) of everything below the run directory, itself included."""
    found = []
    for path in (root, *root.rglob("*")) if root.exists() else ():
        at = path.lstat()
        found.append((str(path), at.st_mode, at.st_uid, at.st_gid))
    return sorted(found)


def _locks(root: Path) -> list[tuple[str, str]]:
    """(file, kind) of every lock on a file below `root`."""
    paths = {path.lstat().st_ino: str(path) for path in root.rglob("*")}
    with open("/proc/locks", encoding="ascii") as file:
        words = [line.replace("-> ", "").split() for line in file]
    held = [(paths.get(int(one[5].rpartition(":")[2]), ""), f"{one[1]} {one[3]}") for one in words]
    return sorted(one for one in held if one[0])


def _sockets(root: Path) -> list[str]:
    """The names of the sockets of this namespace that are below `root`, or ours without being files."""
    with open("/proc/self/net/unix", encoding="utf-8", errors="replace") as file:
        names = {line.split()[-1] for line in file}
    return sorted(name for name in names if name.startswith((f"{root}/", "@kvmrun")))
