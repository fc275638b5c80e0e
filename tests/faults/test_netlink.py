"""Every write to links, routes, rules and settings: refused by the kernel, never answered, or done by halves."""

import asyncio
import builtins
import errno
import os
import random
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyroute2
import pytest
from pyroute2.netlink.exceptions import NetlinkError
from support.builders import TCG
from support.cli import Cli
from support.tally import Tally
from support.world import difference, ip, world, world_after

from kvmrun.cli import main
from kvmrun.host import sysctl
from kvmrun.host.links import pyroute2_links, raw_netlink, tap_device

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: links"),
    pytest.mark.usefixtures("netns", "tun"),
]
KINDS = (errno.EBUSY, errno.EEXIST, errno.EPERM, errno.ENODEV, errno.ENOBUFS, errno.EINVAL, 0)
"""What is answered; 0 is no answer."""
_WRITING = {"add", "set", "del", "replace"}
_IOCTLS = {0x400454CA: "TUNSETIFF", 0x400454CB: "TUNSETPERSIST", 0x400454CC: "TUNSETOWNER", 0x8914: "flags",
           0x8924: "MAC", 0x8922: "MTU", 0x89A2: "join"}  # fmt: skip
LAB = """
firewall = "none"
[network.lan]
dhcp = false
dns = false
mtu = 1400
isolate = true
nat = ["out"]
uplink = "out"
[uplink.out]
interface = "up0"
gateway = "172.20.1.254"
"""
GUEST = TCG + '[[nic]]\nguard = "none"\n'


class Writes:
    """Counts what is written, in order; the one numbered `at` meets `how`."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.at = -1
        self.how: Callable[[str], object] | None = None

    def arm(self, at: int, how: Callable[[str], object] | None) -> None:
        self.seen, self.at, self.how = [], at, how

    def meets(self, what: str) -> bool:
        """Whether this write is passed over; or what meets it is raised."""
        self.seen.append(what)
        return bool(self.how and len(self.seen) - 1 == self.at and self.how(what))


class Route:
    """An IPRoute whose writes are counted."""

    def __init__(self, writes: Writes) -> None:
        self._writes = writes
        self._route = pyroute2.IPRoute()
        self.asyncore = self._route.asyncore

    def __enter__(self) -> "Route":
        return self

    def __exit__(self, *_: object) -> None:
        self._route.close()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._route, name)
        if name not in {"link", "addr", "brport"}:
            return found

        def call(command: str, **words: Any) -> Any:
            if command not in _WRITING:
                return found(command, **words)
            try:
                keys = "+".join(key for key in words if key != "index")
                return () if self._writes.meets(f"{name} {command} {keys}") else found(command, **words)
            except Silent:
                return self.asyncore.event_loop.run_until_complete(asyncio.sleep(3600))
            except OSError as error:
                raise NetlinkError(error.errno, os.strerror(error.errno or 0)) from None

        return call


class Silent(Exception):
    """The kernel does not answer."""


def refusing(number: int) -> Callable[[str], object]:
    def how(what: str) -> object:
        if number:
            raise OSError(number, os.strerror(number))
        if what.startswith(("ioctl", "write")):
            raise OSError(errno.EIO, "there is no waiting here")  # a call that returns always answers
        raise Silent

    return how


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> Writes:
    """Every write of this process to links, routes and settings, from now on."""
    found = Writes()
    send, ioctl = raw_netlink.send, tap_device.fcntl.ioctl

    class Fcntl:
        def __getattr__(self, name: str) -> Any:
            return getattr(__import__("fcntl"), name)

        @staticmethod
        def ioctl(fd: Any, ask: int, *words: Any) -> Any:
            if ask in _IOCTLS and found.meets(f"ioctl {_IOCTLS[ask]}"):
                return words[0] if words and isinstance(words[0], bytes) else 0
            return ioctl(fd, ask, *words)

    def sent(protocol: int, messages: list[tuple[int, int, bytes]]) -> None:
        try:
            if not found.meets(f"message {'/'.join(str(kind) for kind, _, _ in messages)}"):
                send(protocol, messages)
        except Silent:
            raise TimeoutError("timed out") from None

    class Nowhere:
        def __init__(self, file: Any) -> None:
            self._file = file

        def __enter__(self) -> "Nowhere":
            return self

        def __exit__(self, *_: object) -> None:
            self._file.close()

        def write(self, text: str) -> int:
            return len(text)

    def opened(path: Any, mode: str = "r", **words: Any) -> Any:
        passed = "w" in mode and found.meets(f"write {os.path.basename(str(path))}")
        file = builtins.open(path, mode, **words)  # noqa: SIM115 - for the caller to close
        return Nowhere(file) if passed else file

    monkeypatch.setattr(pyroute2_links, "IPRoute", lambda: Route(found))
    monkeypatch.setattr(raw_netlink, "send", sent)
    monkeypatch.setattr(tap_device, "fcntl", Fcntl())
    for module in (tap_device, sysctl):
        monkeypatch.setattr(module, "open", opened, raising=False)
    return found


@pytest.fixture
def here(lab: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., int]]:
    """Runs a command in this process; its exit code."""
    import signal

    monkeypatch.chdir("/")
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    umask = os.umask(0o022)

    def run(*words: str) -> int:
        try:
            return main.run(["-q", "-C", str(lab), *words])
        finally:
            with suppress(ChildProcessError):  # a command's own children are init's, after it
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass

    yield run
    os.umask(umask)
    for number, handler in before.items():
        signal.signal(number, handler)


@dataclass
class Bench:
    """A lab, commands in this process, their writes, and what they say."""

    writes: Writes
    run: Callable[..., int]
    said: Callable[[], str]


@pytest.fixture
def bench(uplinked: None, writes: Writes, here: Callable[..., int], capfd: pytest.CaptureFixture[str]) -> Bench:
    return Bench(writes=writes, run=here, said=lambda: capfd.readouterr().err)


@pytest.fixture
def uplinked(lab: Path) -> None:
    """An uplink, another's bridge, and a lab that uses the first."""
    for which in ("all", "default"):
        Path(f"/proc/sys/net/ipv4/conf/{which}/forwarding").write_text("0")
    ip("link", "add", "up0", "type", "veth", "peer", "name", "up1")
    ip("address", "add", "172.20.1.130/24", "dev", "up0")
    for name in ("up0", "up1"):
        ip("link", "set", name, "up")
    ip("link", "add", "other0", "type", "bridge")
    (lab / "networks.toml").write_text(LAB)
    (lab / "vm1.toml").write_text(GUEST)


JOBS = {"net up": (("net", "up"), ("net", "down")), "start": (("vm1",), ("kill", "vm1")),
        "keep": (("net", "up", "--owner", "nobody"), ("net", "down"))}  # fmt: skip


def _prepared(job: str, here: Callable[..., int]) -> None:
    if job == "start":
        assert here("net", "up") == 0


def test_a_write_that_fails_is_undone_and_done_the_next_time(kvmrun: Cli, bench: Bench, tally: Tally) -> None:
    row = tally.row("F-13", "each write to links, routes and settings x 6 errors and no answer: undone, then done", 140)
    writes, run = bench.writes, bench.run
    cells = _cells(bench)
    for job, number, what, kind in cells if tally.full else random.Random(4).sample(cells, 8):
        do, undo = JOBS[job]
        _prepared(job, run)
        before = _without_carrier(world())
        with row.case(f"{job}, {number} {what}, {errno.errorcode.get(kind, 'no answer')}"):
            writes.arm(number, refusing(kind))
            code = run(*do)
            said = bench.said()
            writes.arm(-1, None)
            assert code in {0, 1, 6, 7, 69, 75, 77}, f"exit {code}: {said}"
            assert "Traceback" not in said
            if code:
                assert said.startswith("kvmrun: "), said
                moved = _moved(before)
                assert not moved, moved
            assert run(*do) == 0, bench.said()
        writes.arm(-1, None)
        assert run(*undo) == 0
        assert run("net", "down", "--force") == 0


def _without_carrier(found: dict[str, Any]) -> dict[str, Any]:
    """The world without what follows from the ports that a bridge once had."""
    for one in found["links"]:
        one["flags"] = [flag for flag in one["flags"] if flag not in {"NO-CARRIER", "LOWER_UP"}]
        for key in [key for key in one if key.startswith(("gso_", "tso_", "gro_"))]:
            del one[key]
    return found


def _moved(before: dict[str, Any]) -> dict[str, Any]:
    """What is not as before, once what ends by itself has had half a minute."""
    deadline = time.monotonic() + 30
    while True:
        after = _without_carrier(world())
        moved = {key: after[key] for key in before if after[key] != before[key]}
        if not moved or time.monotonic() > deadline:
            lines = {key: [f"{one}" for one in moved[key] if one not in before[key]] for key in moved}
            return lines | {
                f"{key} before": [f"{one}" for one in before[key] if one not in after[key]] for key in moved
            }
        time.sleep(0.05)


def _cells(bench: Bench) -> list[tuple[str, int, str, int]]:
    """(job, number of the write, what it is, error) of every write that a job makes."""
    cells = []
    for job, (do, undo) in JOBS.items():
        _prepared(job, bench.run)
        bench.writes.arm(-1, None)
        assert bench.run(*do) == 0
        cells += [(job, number, what, kind) for number, what in enumerate(bench.writes.seen) for kind in KINDS]
        assert bench.run(*undo) == 0
        assert bench.run("net", "down", "--force") == 0
    return cells


def test_a_write_that_does_nothing_is_noticed(kvmrun: Cli, bench: Bench, tally: Tally) -> None:
    row = tally.row("F-14", "each write passed over in silence, as by a library that does not know it: noticed", 20)
    writes, run = bench.writes, bench.run
    cells = [cell for cell in _cells(bench) if cell[3] == errno.EBUSY]
    complete = {job: _complete(bench, job) for job in JOBS}
    for job, number, what, _ in cells if tally.full else random.Random(5).sample(cells, 6):
        do, undo = JOBS[job]
        _prepared(job, run)
        with row.case(f"{job}, {number} {what}"):
            writes.arm(number, lambda _: True)
            code = run(*do)
            said = bench.said()
            writes.arm(-1, None)
            assert code in {0, 1, 6, 69}, f"exit {code}: {said}"
            assert "Traceback" not in said
            if code == 0:  # right only where it was so already, or a later write has the same effect
                assert not (missing := _difference_from(complete[job])), missing
        writes.arm(-1, None)
        run(*undo)
        with row.case(f"{job}, {number} {what}: taken back"):
            assert run("net", "down", "--force") == 0, bench.said()
        for name in ("br0", "tap-vm1"):
            subprocess.run(["ip", "link", "delete", name], capture_output=True, check=False)


def _complete(bench: Bench, job: str) -> dict[str, Any]:
    """The world after a job of which every write has its effect."""
    do, undo = JOBS[job]
    _prepared(job, bench.run)
    assert bench.run(*do) == 0, bench.said()
    found: dict[str, Any] = _without_numbers(_without_carrier(world()))
    assert bench.run(*undo) == 0
    assert bench.run("net", "down", "--force") == 0
    return found


def _difference_from(wanted: dict[str, Any]) -> str:
    """What differs from that world, once what the kernel does by itself has had three seconds."""
    deadline = time.monotonic() + 3.0
    while (found := difference(wanted, _without_numbers(_without_carrier(world())))) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def _without_numbers(value: Any) -> Any:
    """Without the numbers that the kernel gives each link and rule in turn."""
    if isinstance(value, list):
        return [_without_numbers(one) for one in value]
    if isinstance(value, dict):
        return {key: _without_numbers(one) for key, one in value.items() if key not in {"ifindex", "handle"}}
    return value


def _foreign() -> dict[str, Callable[[], None]]:
    """Objects with our names and without our mark."""
    return {
        "a bridge": lambda: ip("link", "add", "br0", "type", "bridge"),
        "a bridge with another's mark": lambda: (ip("link", "add", "br0", "type", "bridge"), _alias("br0", "theirs")),
        "a bridge with an address": lambda: (
            ip("link", "add", "br0", "type", "bridge"), ip("address", "add", "192.168.0.254/24", "dev", "br0")),
        "another link in the bridge's place": lambda: ip("link", "add", "br0", "type", "veth", "peer", "name", "p0"),
        "a link in the tap's place": lambda: ip("link", "add", "tap-vm1", "type", "veth", "peer", "name", "p1"),
        "a tap in the tap's place": lambda: ip("tuntap", "add", "tap-vm1", "mode", "tap"),
        "a tap with another's mark": lambda: (
            ip("tuntap", "add", "tap-vm1", "mode", "tap"), _alias("tap-vm1", "theirs")),
        "a tap with another guest's mark": lambda: (
            ip("tuntap", "add", "tap-vm1", "mode", "tap"), _alias("tap-vm1", "kvmrun:vm2:eth0")),
    }  # fmt: skip


def _alias(name: str, text: str) -> None:
    ip("link", "set", name, "alias", text)


def test_what_is_not_ours_is_not_touched(lab: Path, kvmrun: Cli, here: Callable[..., int], tally: Tally) -> None:
    row = tally.row("F-15", "objects with our names and without our mark: refused, unchanged", 6)
    (lab / "networks.toml").write_text("[network.lan]\ndhcp = false\ndns = false\n")
    (lab / "vm1.toml").write_text(TCG)
    for what, make in _foreign().items():
        make()
        before = world()
        with row.case(what):
            assert here("vm1") == 6
            assert world_after(before) == before
            here("kill", "--all")
            here("net", "down", "--force")
            after = world_after(before)
            assert after == before, {key for key in before if after[key] != before[key]}
        for name in ("br0", "tap-vm1"):
            subprocess.run(["ip", "link", "delete", name], capture_output=True, check=False)
        here("net", "down", "--force")
