"""Guests in scopes of their own: with a stand-in for busctl that makes real control groups, and with a real systemd."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.builders import ALONE, guests
from support.cli import Cli, has_line
from support.world import until

CGROUPS = Path("/sys/fs/cgroup/unified" if os.path.isdir("/sys/fs/cgroup/unified") else "/sys/fs/cgroup")
LIMITS = ALONE + '[limits]\nmemory = "1G"\ncpu = 50\n'
PROGRAM = """
import sys
from kvmrun.host.facts import guest_facts as observe
from kvmrun.host.process import process as process
from kvmrun.host.process import systemd_scope as scope
observe._SYSTEMD = scope._CGROUPS = sys.argv[1]
process._PATH = (sys.argv[1], *process._PATH)
from kvmrun.cli.main import run
sys.exit(run(sys.argv[2:]))
"""
BUSCTL = """#!{python}
import os, pathlib, sys
here = pathlib.Path("{here}")
words = sys.argv[1:]
here.joinpath("asked").open("a").write(" ".join(words) + chr(10))
if (here / "refuses").exists():
    sys.exit(here.joinpath("refuses").read_text())
unit = next(word for word in words if word.endswith(".scope"))
group = pathlib.Path("{cgroups}") / "{name}" / unit
if group.exists() and (group / "cgroup.procs").read_text():
    sys.exit("Unit " + unit + " was already loaded or has a fragment file.")
group.mkdir(parents=True, exist_ok=True)
count = int(words[words.index("PIDs") + 2])
for pid in words[words.index("PIDs") + 3:][:count]:
    (group / "cgroup.procs").write_text(pid)
limits = here / "{name}" / unit
limits.mkdir(parents=True, exist_ok=True)
for name, word in (("memory.max", "MemoryMax"), ("cpu.max", "CPUQuotaPerSecUSec")):
    (limits / name).write_text(words[words.index(word) + 2] if word in words and not (here / "lax").exists() else "max")
"""
pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not os.access(CGROUPS / "cgroup.procs", os.W_OK), reason="needs root and a cgroup2 to write to"
)


@pytest.fixture
def here(own_directories: Path) -> Iterator[Path]:
    """The directory that stands for /run/systemd/system, and has a busctl."""
    path = own_directories / "systemd"
    path.mkdir()
    text = BUSCTL.format(python=sys.executable, here=path, cgroups=CGROUPS, name=own_directories.name)
    (path / "busctl").write_text(text)
    (path / "busctl").chmod(0o755)
    yield path
    root = CGROUPS / own_directories.name
    for group in [*root.glob("*.scope"), root]:
        if group.exists():
            until(lambda group=group: not (group / "cgroup.procs").read_text())  # type: ignore[misc]
            group.rmdir()


@pytest.fixture
def scoped(lab: Path, kvmrun: Cli, here: Path) -> Iterator[Cli]:
    yield Cli([sys.executable, "-c", PROGRAM, str(here), "-C", str(lab)])
    kvmrun("kill", "--all", "--force")


MANAGER = """
for group in {groups}; do echo $$ > $group/cgroup.procs; done
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/system
chmod 700 {bus}
export XDG_RUNTIME_DIR={bus} HOME={bus} DBUS_SESSION_BUS_ADDRESS=unix:path={bus}/bus
exec /lib/systemd/systemd --user
"""
UNITS = {
    "dbus.socket": "[Socket]\nListenStream=%t/bus\n",
    "dbus.service": """[Unit]
Requires=dbus.socket
[Service]
Type=notify
ExecStart=dbus-daemon --session --address=systemd: --nofork --nopidfile --systemd-activation
""",
    "default.target": "[Unit]\nWants=dbus.service\n",
}
"""A manager of systemd 257 connects to a bus that it has started itself, and to no other."""
REAL = """
import sys
from kvmrun.host.facts import guest_facts as observe
from kvmrun.host.process import systemd_scope as scope
observe._SYSTEMD = "/"
scope._bus = lambda: ["--address=unix:path=" + sys.argv[1]]
from kvmrun.cli.main import run
sys.exit(run(sys.argv[2:]))
"""


@pytest.fixture
def systemd(lab: Path, kvmrun: Cli, own_directories: Path) -> Iterator[Cli]:
    """The command with a real systemd: a user manager of the test's own, in a control group of its own."""
    if not os.path.exists("/lib/systemd/systemd") or not shutil.which("dbus-daemon"):
        pytest.skip("needs systemd and dbus-daemon")
    groups = [root / own_directories.name for root in (CGROUPS, CGROUPS.with_name("systemd")) if root.is_dir()]
    for group in groups:
        group.mkdir()
    bus = own_directories / "bus"
    units = bus / ".config/systemd/user"
    units.mkdir(parents=True)
    for name, text in UNITS.items():
        (units / name).write_text(text)
    script = MANAGER.format(groups=" ".join(map(str, groups)), bus=bus)
    try:
        with subprocess.Popen(["unshare", "-m", "bash", "-c", script], stdout=-3, stderr=-3, stdin=-3) as manager:
            try:
                asked = ["busctl", f"--address=unix:path={bus}/bus", "status", "org.freedesktop.systemd1"]
                until(lambda: manager.poll() is not None or subprocess.call(asked, stdout=-3, stderr=-3) == 0)
                if manager.poll() is not None:
                    pytest.skip("systemd does not run here, not even as a user's manager")
                yield Cli([sys.executable, "-c", REAL, f"{bus}/bus", "-C", str(lab)])
                kvmrun("kill", "--all", "--force")
            finally:
                (groups[0] / "cgroup.kill").write_text("1")
                until(lambda: "populated 0" in (groups[0] / "cgroup.events").read_text())
    finally:
        for group in groups:
            for path, _, _ in os.walk(group, topdown=False):
                os.rmdir(path)


def test_a_real_systemd_takes_a_guest_and_lets_it_go(lab: Path, systemd: Cli) -> None:
    guests(lab, "vm1", text=ALONE)
    guests(lab, "vm2", text=LIMITS)
    for _ in range(2):  # the second at once: the first scope may still be there
        systemd.ok("vm1")
        assert scope(systemd.pid("vm1")) == "kvmrun-vm1.scope"
        systemd.ok("kill", "vm1")
    done = systemd("vm2")
    if done.code:  # where the controllers are not had, that is seen
        assert (done.code, "vm2" in done.err) == (1, True)
        assert systemd.rows()["vm2"]["state"] == "stopped"


def scope(pid: int) -> str:
    text = Path(f"/proc/{pid}/cgroup").read_text()
    return next(line for line in text.splitlines() if line.startswith("0::")).rpartition("/")[2]


def test_a_guest_and_its_logger_are_in_a_scope_with_its_limits(lab: Path, scoped: Cli, here: Path) -> None:
    guests(lab, "vm1", text=LIMITS)
    guests(lab, "vm2", text=ALONE)
    plan = scoped.ok("up", "vm1", "-n").out
    assert has_line(plan, "kvmrun-vm1.scope", "1G", "50 %")
    assert not (here / "asked").exists()
    scoped.ok("vm1", "vm2")
    assert scope(scoped.pid("vm1")) == "kvmrun-vm1.scope"
    assert scope(scoped.pid("vm2")) == "kvmrun-vm2.scope"
    group = CGROUPS / here.parent.name / "kvmrun-vm1.scope/cgroup.procs"
    assert len(group.read_text().split()) == 2
    scoped.ok("kill", "vm1")
    scoped.ok("vm1")  # at once: the old scope may still be there
    assert scope(scoped.pid("vm1")) == "kvmrun-vm1.scope"


def test_limits_that_do_not_hold_are_no_start(lab: Path, scoped: Cli, here: Path) -> None:
    guests(lab, "vm1", text=LIMITS)
    (here / "lax").touch()
    done = scoped("vm1")
    assert done.code == 1, done.err
    assert scoped.rows()["vm1"]["state"] == "stopped"
    (here / "refuses").write_text("Call failed: no")
    done = scoped("vm1")
    assert (done.code, "Call failed: no" in done.err) == (1, True), done.err
    assert scoped.rows()["vm1"]["state"] == "stopped"


def test_without_limits_a_guest_runs_all_the_same(lab: Path, scoped: Cli, here: Path) -> None:
    guests(lab, "vm1", text=ALONE)
    (here / "refuses").write_text("Call failed: no")
    assert has_line(scoped.ok("vm1").out, "vm1", "Call failed: no")
    assert scope(scoped.pid("vm1")) != "kvmrun-vm1.scope"


def test_without_systemd_limits_are_refused(lab: Path, kvmrun: Cli) -> None:
    if os.path.isdir("/run/systemd/system"):
        pytest.skip("systemd runs here")
    guests(lab, "vm1", text=LIMITS)
    done = kvmrun("vm1")
    assert (done.code, "[limits]" in done.err) == (69, True)
