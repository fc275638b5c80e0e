"""What every test stands on: directories of its own, and for those that ask a network namespace of its own."""

import ctypes
import fcntl
import json
import os
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from support.built import state_with
from support.cli import Cli, Result, Run
from support.sector import sector

from kvmrun.cli import main
from kvmrun.host.facts import kvm_boot_test
from kvmrun.host.firewall import nfnetlink
from kvmrun.host.process import process

pytest_plugins = ["support.tally"]

# Time says nothing on a machine under load, and the same tree is to have the same result: its examples follow from it.
settings.register_profile("repeatable", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("repeatable")

_CLONE_NEWNS, _CLONE_NEWNET = 0x00020000, 0x40000000
_MS_BIND, _MNT_DETACH = 4096, 2
_SEABIOS = ("/usr/share/qemu/bios-256k.bin", "/usr/share/seabios/bios-256k.bin")
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1
_libc = ctypes.CDLL(None, use_errno=True)

# A shell starts background jobs with SIGINT and SIGQUIT ignored, and nohup ignores SIGHUP. A program started by a test
# inherits what is ignored here, and would not hear the signals that the test sends.
signal.signal(signal.SIGINT, signal.default_int_handler)
for _number in (signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM):
    signal.signal(_number, signal.SIG_DFL)


@pytest.hookimpl(tryfirst=True)  # before tests are left out by their marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever takes the demo guest boots Linux. What takes long begins first."""
    for item in items:
        if "demo" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)
    after = {"faults": 1, "commands": 2, "scripts": 3}
    items.sort(key=lambda item: 0 if item.get_closest_marker("slow") else after.get(item.path.parent.name, 4))


@pytest.fixture(autouse=True)
def own_directories(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Run and state directories of the test's own: short, because socket paths must be, and never the real ones."""
    before = os.umask(0o022)  # what runs in the process of the tests may narrow it, and other users have to read files
    root = Path(tempfile.mkdtemp(prefix="kt", dir="/tmp"))
    root.chmod(0o755)
    for name in ("KVMRUN_VMS", "KVMRUN_QEMU", "NO_COLOR", "SUDO_UID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KVMRUN_RUN_DIR", str(root / "run"))
    monkeypatch.setenv("KVMRUN_STATE_DIR", str(root / "state"))
    for name in ("SYSTEM", "LOCAL", "USER"):  # whether osinfo-db is installed decides no test
        monkeypatch.setenv(f"OSINFO_{name}_DIR", str(root / f"osinfo-{name.lower()}"))
    yield root
    if (root / "run").exists() or (root / "state").exists():
        _end_what_is_left(root)
    shutil.rmtree(root, ignore_errors=True)
    os.umask(before)


def _end_what_is_left(root: Path) -> None:
    """End the guests, dnsmasqs and loggers of a test, also those of its other labs and of a test that failed."""
    for record in root.glob("**/vm/*/record"):
        with suppress(OSError, ValueError, AttributeError):
            pid = int(json.loads(record.read_text()).get("pid") or 0)
            if pid and Path(f"/proc/{pid}/comm").read_text().startswith("qemu-system"):
                os.kill(pid, signal.SIGKILL)
    for cmdline in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if f"{root}/".encode() in cmdline.read_bytes():
                os.kill(int(cmdline.parent.name), signal.SIGKILL)


@pytest.fixture(scope="session")
def _halted(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> tuple[bytes, bytes] | None:
    """A firmware that halts the processor at once, and the path of SeaBIOS, in whose place it is mounted."""
    found = next((path for path in _SEABIOS if os.path.exists(path)), "")
    if os.geteuid() != 0 or not found:
        return None
    request.getfixturevalue("_own_mounts")
    image = tmp_path_factory.getbasetemp() / "halted"
    image.write_bytes(bytes.fromhex("fa f4 eb fd").ljust(16, b"\0").rjust(1 << 18, b"\0"))  # cli; hlt; hlt again
    return bytes(image), os.path.realpath(found).encode()


@pytest.fixture(autouse=True)
def _firmware(request: pytest.FixtureRequest, _halted: tuple[bytes, bytes] | None) -> Iterator[None]:
    """Guests that nobody looks into do nothing: emulated, SeaBIOS takes four times as long as QEMU's start."""
    medium = {"demo", "kvm", "closed_kvm", "echo"} & {*request.fixturenames} or "sector" in vars(request.module)
    boots = medium or request.node.get_closest_marker("boots")
    if boots or _halted is None:
        yield
        return
    _checked(_libc.mount(*_halted, None, _MS_BIND, None))
    yield
    _checked(_libc.umount2(_halted[1], _MNT_DETACH))


@pytest.fixture
def lab(own_directories: Path) -> Path:
    """An empty directory of definitions."""
    path = own_directories / "vms.d"
    path.mkdir(mode=0o755)
    return path


@pytest.fixture
def images(own_directories: Path) -> Path:
    """Where a lab finds its images: an empty directory."""
    path = own_directories / "state/images"
    path.mkdir(parents=True)
    return path


@pytest.fixture(scope="session", autouse=True)
def _no_network_of_the_host() -> None:
    """An empty network namespace for the whole run: the addresses and routes that the machine has decide no test."""
    if os.geteuid() == 0 and _libc.unshare(_CLONE_NEWNET) == 0:
        _loopback_up()


@pytest.fixture(scope="session")
def _own_mounts() -> None:
    """A mount namespace for the whole run, so that /sys and /dev can be shown as a test needs them."""
    if os.geteuid() != 0:
        pytest.skip("needs root: namespaces, bridges and taps")
    if _libc.unshare(_CLONE_NEWNS):
        pytest.skip(f"cannot unshare: {os.strerror(ctypes.get_errno())}")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)


def _checked(result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))


@pytest.fixture
def netns(_own_mounts: None) -> Iterator[None]:
    """A fresh network namespace with its own view of /sys; this process and its children are in it."""
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    if _libc.unshare(_CLONE_NEWNET):
        pytest.skip(f"cannot unshare: {os.strerror(ctypes.get_errno())}")
    _checked(_libc.mount(b"sysfs", b"/sys", b"sysfs", 0, None))
    _loopback_up()
    yield
    while nfnetlink.kept:
        nfnetlink.kept.pop()[1].close()  # it keeps its namespace
    _checked(_libc.umount2(b"/sys", 0))
    _checked(_libc.setns(home, _CLONE_NEWNET))
    os.close(home)


@pytest.fixture
def kvmrun(lab: Path) -> Iterator[Cli]:
    """The command, as a user runs it, on `lab`. Guests still running at the end are killed."""
    cli = Cli([sys.executable, "-m", "kvmrun", "-C", str(lab)])
    yield cli
    if os.path.exists(os.environ["KVMRUN_RUN_DIR"]):  # else nothing was started or brought up
        cli("kill", "--all", "--force")
        cli("net", "down", "--force")


@pytest.fixture
def echo(lab: Path, kvmrun: Cli) -> Cli:
    """The command, with vm1 running, which says hello and echoes what is typed."""
    sector(lab, "vm1", b"hello\r\n")
    kvmrun.ok("vm1", "--wait=console:hello")
    return kvmrun


@pytest.fixture
def run(lab: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command on `lab`, within this process."""

    def call(*words: str) -> Result:
        code = main.run([words[0], "-C", str(lab), *words[1:]])
        said = capsys.readouterr()
        return Result(code, *(text.replace(f"kvmrun -C {lab} ", "kvmrun ") for text in (said.out, said.err)))

    return call


@pytest.fixture
def tun() -> None:
    """Skips where a tap cannot be made."""
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        pytest.skip("needs /dev/net/tun")


@pytest.fixture
def kvm(_own_mounts: None, own_directories: Path) -> Iterator[None]:
    """A /dev/kvm that the group kvm may open, whatever the real one's mode; skips where there is none."""
    if not os.path.exists("/dev/kvm"):
        pytest.skip("needs /dev/kvm")
    node = own_directories / "kvm"
    os.mknod(node, 0o660 | stat.S_IFCHR, os.stat("/dev/kvm").st_rdev)
    os.chmod(node, 0o660)
    shutil.chown(node, group=36)
    subprocess.run(["mount", "--bind", str(node), "/dev/kvm"], check=True)
    yield
    subprocess.run(["umount", "/dev/kvm"], check=True)


@pytest.fixture(scope="session")
def hardware() -> None:
    """Skips where KVM runs no guest with the QEMU there is: one that is itself emulated can be too slow for it."""
    if not os.path.exists("/dev/kvm"):
        pytest.skip("needs /dev/kvm")
    found = kvm_boot_test.run_boot_test(process.require_program("qemu-system-x86_64"), "qemu64", (None, None), 30.0)
    if not found.worked:
        pytest.skip(f"KVM runs no guest here: {found.reason}")


@pytest.fixture(scope="session")
def demo() -> str:
    """The directory of the demo guest's kernel and initrd, built by scripts/guest; skips where it is not."""
    return f"{state_with('images/demo-vmlinuz', script='scripts/guest')}/images"
