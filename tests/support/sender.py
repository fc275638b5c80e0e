"""Sends from a guest's card without a pause: what a guest may send in turn with what it may not.

As a program it does that as long as it lives, as a user who was given the tap would, opening the tap as soon as it may;
`from_guest` does it from the tap of a guest that QEMU holds, as long as that QEMU lives.
"""

import ctypes
import fcntl
import os
import select
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from support import frames

_TUNSETIFF, _IFF_TAP, _IFF_NO_PI = 0x400454CA, 0x2, 0x1000
_PIDFD_GETFD = 438
_TUNGETVNETHDRSZ = 0x800454D7
_PAUSE = 0.0005
_libc = ctypes.CDLL(None, use_errno=True)

WATCH = f"""
table bridge watch {{
  counter honest {{}}
  counter hostile {{}}
  chain seen {{
    type filter hook prerouting priority -400;
    ether saddr {{ {frames.VICTIM}, {frames.BRIDGE} }} counter name hostile
    ether type {{ 0x88b5, 0x8100 }} counter name hostile
    udp sport 67 ether saddr {frames.OWN} counter name hostile
    icmpv6 type nd-router-advert counter name hostile
    ip protocol icmp ether saddr {frames.OWN} counter name honest
  }}
}}
"""
"""What counts in the kernel, whatever happens to bridges and to other tables."""
HONEST = frames.HONEST["IPv4 from its own address"]
HOSTILE = [
    *(frames.HOSTILE[name] for name in ("source MAC of the victim", "source MAC of the bridge", "DHCP server")),
    *(frames.HOSTILE[name] for name in ("IPv6 router advertisement", "VLAN-tagged IPv4")),
    frames.ether(0x88B5, bytes(46)),
]


def counted() -> tuple[int, int]:
    """How many honest and how many hostile frames have come to a bridge."""
    listing = subprocess.run(["nft", "list", "counters"], capture_output=True, text=True, check=True).stdout
    found = [int(line.split()[1]) for line in listing.splitlines() if "packets" in line]
    return found[0], found[1]


@contextmanager
def as_user(node: Path, uid: int, tap: str) -> Iterator[None]:
    """A process of `uid` that opens `tap`, as soon as it is there, by the device `node`, and sends."""
    words = ["setpriv", f"--reuid={uid}", "--clear-groups", "--inh-caps=-all", sys.executable, "-m", "support.sender"]
    path = {"PYTHONPATH": os.path.dirname(os.path.dirname(__file__))}
    child = subprocess.Popen([*words, str(node), tap], env={**os.environ, **path})
    with child:
        try:
            yield
            assert child.poll() is None
        finally:
            child.kill()


@contextmanager
def from_guest(pid: Callable[[], int]) -> Iterator[list[bytes]]:
    """Send from the tap of the QEMU that `pid` names, 0 while there is none that may run; and of the next one.

    Yields a list that grows by each frame of which it is not sure that QEMU lived when it was sent.
    """
    done, late = threading.Event(), list[bytes]()

    def work() -> None:
        while not done.is_set():
            with suppress(OSError):
                if number := pid():
                    _from(number, done, late)
            time.sleep(_PAUSE)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield late
    finally:
        done.set()
        thread.join()


def _from(pid: int, done: threading.Event, late: list[bytes]) -> None:
    pidfd = os.pidfd_open(pid)
    try:
        taps = [fd for fd in os.listdir(f"/proc/{pid}/fd") if os.readlink(f"/proc/{pid}/fd/{fd}") == "/dev/net/tun"]
        if not taps or (fd := _libc.syscall(_PIDFD_GETFD, pidfd, int(taps[0]), 0)) < 0:
            return  # it is about to end
        try:
            header = bytes(struct.unpack("i", fcntl.ioctl(fd, _TUNGETVNETHDRSZ, bytes(4)))[0])
            for frame in _frames():
                if done.is_set() or select.select([pidfd], [], [], 0)[0]:
                    return
                os.write(fd, header + frame)
                late += [frame] * len(select.select([pidfd], [], [], 0)[0])
        finally:
            os.close(fd)
    finally:
        os.close(pidfd)


def _frames() -> Iterator[bytes]:
    """In turn, for ever."""
    while True:
        yield HONEST
        yield from HOSTILE
        time.sleep(_PAUSE)


def main(node: str, tap: str) -> None:
    while True:
        fd = os.open(node, os.O_RDWR)
        with suppress(OSError):
            fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", tap.encode(), _IFF_TAP | _IFF_NO_PI))
            for frame in _frames():
                try:
                    os.write(fd, frame)
                except OSError as error:
                    if error.errno != 5:  # it is down, and may be up the next time
                        raise
        os.close(fd)
        time.sleep(_PAUSE)


if __name__ == "__main__":
    main(*sys.argv[1:])
