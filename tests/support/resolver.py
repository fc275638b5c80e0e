"""A real systemd-resolved with a bus of its own, in the network namespace of the test and a /run of the test's own."""

import json
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.packages import packaged
from support.world import until

_ACCOUNT = "systemd-resolve:x:64987:64987::/:/usr/sbin/nologin\n"
_BUS = """<busconfig>
  <type>system</type>
  <listen>unix:path=/run/dbus/system_bus_socket</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/> <allow own="*"/> <allow send_destination="*"/> <allow receive_sender="*"/>
  </policy>
</busconfig>
"""
_NAME, _OBJECT = "org.freedesktop.resolve1", "/org/freedesktop/resolve1"
_BUS_CALL = ("busctl", "call", "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus")
DOMAINS = ("busctl", "--json=short", "get-property", _NAME, _OBJECT, f"{_NAME}.Manager", "Domains")
"""The command that prints the domains of all links."""


class Resolver:
    """The processes, and what was changed in this mount namespace for them; taken back by `stack`."""

    def __init__(self, root: Path, stack: ExitStack) -> None:
        self._program, resolvectl = (packaged(path) for path in ("lib/systemd/systemd-resolved", "usr/bin/resolvectl"))
        if not (self._program and resolvectl and shutil.which("dbus-daemon") and shutil.which("busctl")):
            pytest.skip("needs systemd-resolved, which scripts/test unpacks, and dbus-daemon")
        self._stack = stack
        self._child: subprocess.Popen[bytes] | None = None
        self.log = root / "resolved.log"
        self._mount("-t", "tmpfs", "-o", "mode=755", "none", "/run")
        for name in ("dbus", "systemd/resolve", "systemd/resolved.conf.d"):
            Path("/run", name).mkdir(parents=True)
        self.programs = Path("/usr/local/sbin")
        self._mount("-t", "tmpfs", "-o", "mode=755", "none", f"{self.programs}")
        (self.programs / "resolvectl").symlink_to(resolvectl)
        if not os.path.realpath("/etc/resolv.conf").startswith("/run/"):  # there it writes the file itself
            self._replace("/etc/resolv.conf", "nameserver 127.0.0.53\n", root)
        try:
            pwd.getpwnam("systemd-resolve")
        except KeyError:
            self._replace("/etc/passwd", Path("/etc/passwd").read_text() + _ACCOUNT, root)
            self._replace("/etc/group", Path("/etc/group").read_text() + "systemd-resolve:x:64987:\n", root)
        shutil.chown("/run/systemd/resolve", "systemd-resolve", "systemd-resolve")
        (root / "bus.conf").write_text(_BUS)
        bus = ["dbus-daemon", f"--config-file={root}/bus.conf", "--nofork", "--nopidfile"]
        self.bus = subprocess.Popen(bus, stdout=-3, stderr=-3)
        stack.callback(self._end, self.bus)
        until(lambda: subprocess.call([*_BUS_CALL, "ListNames"], stdout=-3, stderr=-3) == 0)

    def _mount(self, *words: str) -> None:
        subprocess.run(["mount", *words], check=True)
        self._stack.callback(subprocess.run, ["umount", "-l", words[-1]], check=True)

    def _replace(self, path: str, text: str, root: Path) -> None:
        own = root / os.path.basename(path)
        own.write_text(text)
        self._mount("--bind", f"{own}", os.path.realpath(path))

    def _end(self, child: "subprocess.Popen[bytes]") -> None:
        child.send_signal(signal.SIGCONT)
        child.kill()
        child.wait()

    def start(self, servers: str = "") -> None:
        """Start it, with `servers` for the rest of the world."""
        Path("/run/systemd/resolved.conf.d/test.conf").write_text(f"[Resolve]\nDNS={servers}\nFallbackDNS=\n")
        with self.log.open("ab") as log:
            self._child = subprocess.Popen([self._program], stdout=log, stderr=log)
        self._stack.callback(self._end, self._child)
        child = self._child
        until(lambda: child.poll() is not None or self._answers())
        if child.poll() is not None:
            pytest.skip(f"systemd-resolved does not run here: {self.log.read_text()[-500:]}")

    def _answers(self) -> bool:
        words = ["busctl", "get-property", _NAME, _OBJECT, f"{_NAME}.Manager", "LLMNR"]
        return subprocess.call(words, stdout=-3, stderr=-3) == 0

    def stop(self) -> None:
        assert self._child is not None
        self._end(self._child)
        words = [*_BUS_CALL, "GetNameOwner", "s", _NAME]
        until(lambda: subprocess.call(words, stdout=-3, stderr=-3) != 0)

    def pause(self) -> None:
        assert self._child is not None
        self._child.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._child is not None
        self._child.send_signal(signal.SIGCONT)

    def ctl(self, *words: str) -> str:
        """What resolvectl prints."""
        return subprocess.run(
            [packaged("usr/bin/resolvectl"), *words], check=True, capture_output=True, text=True, timeout=30
        ).stdout

    def domains(self) -> dict[int, list[str]]:
        """The domains by the number of their link."""
        told: list[Any] = json.loads(subprocess.run(DOMAINS, check=True, capture_output=True).stdout)["data"]
        found: dict[int, list[str]] = {}
        for number, name, routed in told:
            found.setdefault(number, []).append(f"~{name}" if routed else name)
        return found


@contextmanager
def resolver(root: Path) -> Iterator[Resolver]:
    """systemd-resolved that does not run yet; whatever it is, it ends with the block."""
    with ExitStack() as stack:
        yield Resolver(root, stack)


def looked_up(name: str) -> list[str]:
    """The IPv4 addresses that programs of this host find for a name, in order."""
    done = subprocess.run(["getent", "ahostsv4", name], capture_output=True, text=True, timeout=30, check=False)
    return sorted({line.split()[0] for line in done.stdout.splitlines()})
