"""What a QEMU may do, what one may do who has taken it over, and what may be loaded into the command that starts it."""

import json
import os
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from support.builders import TCG, guests
from support.cli import Cli
from support.proc import held, limit, sockets_of, status
from support.tally import Tally
from support.world import until, world

KINDS = {
    "plain": "",
    "drives": '[[drive]]\nimage = "over.qcow2"\nbase = "base.qcow2"\n[[drive]]\nimage = "own.raw"\nsize = "1M"\n',
    "cdrom": '[[drive]]\nimage = "a.iso"\nmedia = "cdrom"\n',
    "kernel": 'boot = { kernel = "k" }\n',
    "screen": 'display = "vnc"\n',
    "bare": "console = false\nnic = []\n",
    "queues": "cpus = 2\n[[nic]]\nqueues = 2\n[[nic]]\n",
    "micro": 'machine = "microvm"\n',
}
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: accounts of QEMUs")
pytestmark = [needs_root]


@pytest.fixture
def images(own_directories: Path) -> Path:
    path = own_directories / "state/images"
    path.mkdir(parents=True, mode=0o755)
    path.parent.chmod(0o755)
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path / "base.qcow2", "1M"], check=True)
    for name in ("k", "a.iso"):
        (path / name).write_bytes(bytes(1 << 20))
        (path / name).chmod(0o600)
    return path


def _groups(found: dict[str, str]) -> bool:
    return found["Groups"] == ""


def _bare(pid: int) -> bool:
    words = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return {word.split(b"=")[0] for word in words if word} <= {b"PATH", b"LANG"}


def _descriptors(pid: int, place: Path, images: Path) -> None:
    """Nothing is open but what was handed over and what QEMU makes itself."""
    plain = {"/dev/null", f"{place}/life", f"{place}/vnc", "/dev/net/tun", "/dev/kvm", "/dev/vhost-net"}
    own = sockets_of(place)
    rows = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
    others = {f"socket:[{row[6]}]" for row in rows if len(row) > 7 and not row[7].startswith("/proc/self/fd/")}
    for number, what in held(pid).items():
        if what.startswith(("pipe:", "anon_inode:", "/memfd:")):
            continue
        if what.startswith("socket:"):
            assert what in own or what not in others, f"{number} is a socket that is not its own"
        else:
            assert what in plain or what.startswith(f"{images}/"), f"{number} is {what}"


def _sealed(place: Path) -> None:
    """Everything 0600 in 0700, whatever the umask was."""
    for path in (place, *place.rglob("*")):
        mode = path.lstat().st_mode
        assert not stat.S_ISLNK(mode), path
        assert stat.S_IMODE(mode) == (0o700 if stat.S_ISDIR(mode) else 0o600), f"{path} {mode:o}"


@pytest.mark.usefixtures("netns", "tun")
def test_every_qemu_is_nobody_and_holds_what_it_was_handed(
    lab: Path, kvmrun: Cli, own_directories: Path, images: Path, tally: Tally
) -> None:
    row = tally.row("P-01", "what each started QEMU is and holds, for every kind of guest", 80)
    sealed = tally.row("X-08", "files of guests started under umask 000", 8)
    for name, text in KINDS.items():
        guests(lab, name, text=TCG + text)
    before = os.umask(0)
    try:
        kvmrun.ok("--paused", *KINDS)
    finally:
        os.umask(before)
    uids = []
    for name in KINDS:
        pid, place = kvmrun.pid(name), own_directories / "run/vm" / name
        found = status(pid)
        uids.append(found["Uid"].split()[0])
        checks: dict[str, Callable[[], object]] = {
            "an account of its own": lambda f=found: (
                len(set(f["Uid"].split() + f["Gid"].split())) == 1
                and 0x70000000 <= int(f["Uid"].split()[0]) < 0x78000000
            ),
            "no capability": lambda f=found: not any(int(f[kind], 16) for kind in f if kind.startswith("Cap")),
            "seccomp": lambda f=found: f["Seccomp"] == "2",
            "no new privileges": lambda f=found: f["NoNewPrivs"] == "1",
            "no group": lambda f=found: _groups(f),
            "nothing else open": lambda p=pid, at=place: _descriptors(p, at, images) is None,
            "in /": lambda p=pid: os.readlink(f"/proc/{p}/cwd") == "/",
            "a bare environment": lambda p=pid: _bare(p),
            "no core": lambda p=pid: limit(p, "Max core file size") == ["0", "0"],
            "a umask": lambda f=found: f["Umask"] == "0077",
        }
        for what, holds in checks.items():
            with row.case(f"{name}: {what}"):
                assert holds()
        with sealed.case(name):
            if name != "screen":  # the directory of its screen is its own
                _sealed(place)
    with row.case("no two alike"):
        assert len(set(uids)) == len(KINDS)
    with sealed.case("the run directory"):
        for path in (own_directories / "run", own_directories / "run/vm", own_directories / "run/net"):
            assert stat.S_IMODE(path.stat().st_mode) == 0o700


class Stolen:
    """A QMP socket in the wrong hands."""

    def __init__(self, path: Path) -> None:
        self._at = socket.socket(socket.AF_UNIX)
        self._at.settimeout(20)
        self._file = self._at.makefile("rw")
        try:
            self._at.connect(str(path))
            self._hear()
            self.say("qmp_capabilities")
        except OSError:
            self.close()
            raise

    def _hear(self) -> dict[str, object]:
        while True:
            said = json.loads(self._file.readline() or '{"gone": true}')
            if "event" not in said:
                return dict(said)

    def say(self, command: str, **arguments: object) -> dict[str, object]:
        text = json.dumps(
            {"execute": command, "arguments": {key.replace("_", "-"): one for key, one in arguments.items()}}
        )
        try:
            self._file.write(text + "\n")
            self._file.flush()
            return self._hear()
        except OSError:
            return {"gone": True}

    def close(self) -> None:
        with suppress(OSError):
            self._file.close()
        self._at.close()


def abuses(secret: Path, target: Path, other: Path) -> dict[str, list[tuple[str, dict[str, object]]]]:
    """Commands by name: none may succeed in what it is for."""
    node = {"node-name": "evil"}
    return {
        "run a program by migrating": [("migrate", {"uri": f"exec:touch {target}"})],
        "run a program by a helper": [
            ("netdev_add", {"type": "bridge", "id": "e", "br": "br0", "helper": f"/bin/touch {target}"})
        ],
        "read a file as a drive": [
            ("blockdev-add", {"driver": "file", "filename": str(secret), "read-only": True, **node})
        ],
        "read another guest's drive": [("blockdev-add", {"driver": "file", "filename": str(other), **node})],
        "write a drive of the host": [("blockdev-add", {"driver": "host_device", "filename": "/dev/vda", **node})],
        "dump memory to a file": [("dump-guest-memory", {"paging": False, "protocol": f"file:{target}"})],
        "save memory to a file": [("pmemsave", {"val": 0, "size": 4096, "filename": str(target)})],
        "draw the screen to a file": [("screendump", {"filename": str(target)})],
        "make a tap": [
            ("netdev_add", {"type": "tap", "id": "e", "ifname": "evil0", "script": "no", "downscript": "no"})
        ],
        "run a script for a tap": [
            ("netdev_add", {"type": "tap", "id": "e", "ifname": "tap-vm2", "script": "/bin/touch"})
        ],
        "write by a character device": [
            ("chardev-add", {"id": "e", "backend": {"type": "file", "data": {"out": str(target)}}})
        ],
        "open a pipe": [("chardev-add", {"id": "e", "backend": {"type": "pipe", "data": {"device": str(secret)}}})],
        "read a secret": [("object-add", {"qom-type": "secret", "id": "e", "file": str(secret)})],
        "map a file as memory": [
            ("object-add", {"qom-type": "memory-backend-file", "id": "e", "size": 4096, "mem-path": str(target)})
        ],
        "run a program by the human monitor": [
            ("human-monitor-command", {"command-line": f'migrate "exec:touch {target}"'})
        ],
        "write by the human monitor": [("human-monitor-command", {"command-line": f"pmemsave 0 4096 {target}"})],
        "take a host's device": [("device_add", {"driver": "vfio-pci", "host": "0000:00:01.0", "id": "e"})],
        "listen among the other guests' sockets": [
            (
                "chardev-add",
                {
                    "id": "e",
                    "backend": {
                        "type": "socket",
                        "data": {
                            "addr": {"type": "unix", "data": {"path": str(target)}},
                            "server": True,
                            "wait": False,
                        },
                    },
                },
            )
        ],
    }


@pytest.mark.usefixtures("netns", "tun")
def test_a_stolen_monitor_is_not_the_host(
    lab: Path, kvmrun: Cli, own_directories: Path, images: Path, tally: Tally
) -> None:
    row = tally.row("P-02", "abuses of a monitor in the wrong hands, each denied", 12)
    secret = own_directories / "secret"
    secret.write_text("QFI secret")
    secret.chmod(0o600)
    vault = own_directories / "vault"
    vault.mkdir(0o755)
    target = vault / "made"
    guests(lab, "vm1", "vm2", text=TCG + '[[drive]]\nimage = "NAME.raw"\nsize = "1M"\n')
    for name in ("vm1", "vm2"):
        guests(lab, name, text=TCG + f'display = "vnc"\n[[drive]]\nimage = "{name}.raw"\nsize = "1M"\n')
    kvmrun.ok("--paused", "vm1", "vm2")
    other = images / "vm2.raw"
    before, bystander = world()["links"], kvmrun.pid("vm2")
    for what, commands in abuses(secret, target, other).items():
        with row.case(what):
            stolen = until(lambda: _steal(kvmrun, own_directories / "run/vm/vm1/p"))
            try:
                for command, arguments in commands:
                    said = stolen.say(command, **arguments)
                    migrated = str(stolen.say("query-migrate")) if "migrate" in f"{command}{arguments}" else ""
                    denied = "error" in said or "gone" in said or "failed" in migrated or "gone" in migrated
                    denied = denied or (command == "human-monitor-command" and bool(said.get("return")))
                    assert denied, f"{command}: {said} {migrated}"
            finally:
                stolen.close()
            assert not target.exists()
            assert secret.read_text() == "QFI secret"
            assert not _children(bystander)
    with row.case("the links and the other guest are what they were"):
        kvmrun("--paused", "vm1")
        assert {one["ifname"] for one in world()["links"]} == {one["ifname"] for one in before}
        assert kvmrun.pid("vm2") == bystander


def _steal(kvmrun: Cli, path: Path) -> Stolen | None:
    """The monitor of vm1, started again where seccomp has ended it for trying to run a program."""
    kvmrun("--paused", "vm1")
    try:
        return Stolen(path)
    except OSError:
        return None


def _children(pid: int) -> str:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text()


REACHES = {
    "a signal": "import os; os.kill({pid}, 19)",
    "end it": "import os; os.kill({pid}, 9)",
    "its memory": "open('/proc/{pid}/mem', 'rb')",
    "trace it": "import ctypes, sys; sys.exit(0 if ctypes.CDLL(None).ptrace(16, {pid}, 0, 0) == 0 else 1)",
    "its environment": "open('/proc/{pid}/environ').read()",
    "what it has open": "import os; os.listdir('/proc/{pid}/fd')",
    "its descriptors": "import os; os.open('/proc/{pid}/fd/0', 0)",
    "its drive": "open('{images}/b.raw', 'rb')",
    "its drive, to write": "open('{images}/b.raw', 'r+b')",
    "its monitor": "import socket; socket.socket(socket.AF_UNIX).connect('{run}/vm/b/q')",
    "its console": "import socket; socket.socket(socket.AF_UNIX).connect('{run}/vm/b/c')",
    "its lock": "open('{run}/vm/b/life', 'r+')",
    "its record": "open('{run}/vm/b/record').read()",
    "the run directory": "import os; os.listdir('{run}')",
    "its log": "open('{state}/log/b/current').read()",
    "its tap": "import fcntl, struct; f = open('/dev/net/tun', 'r+b', buffering=0); "
    "fcntl.ioctl(f, 0x400454CA, struct.pack('16sH22x', b'tap-b', 0x5002))",
    "its packets": "import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 3)",
    "its priority": "import os; os.setpriority(os.PRIO_PROCESS, {pid}, 19)",
}


@pytest.mark.usefixtures("netns", "tun")
def test_one_guests_account_reaches_nothing_of_anothers(
    lab: Path, kvmrun: Cli, own_directories: Path, images: Path, tally: Tally
) -> None:
    row = tally.row("P-03", "what the account of one guest tries on another, each denied", 10)
    for name in ("a", "b"):
        guests(lab, name, text=TCG + f'[[drive]]\nimage = "{name}.raw"\nsize = "1M"\n')
    kvmrun.ok("--paused", "a", "b")
    pid, uid = kvmrun.pid("b"), int(status(kvmrun.pid("a"))["Uid"].split()[0])
    places = {"run": own_directories / "run", "state": own_directories / "state", "images": images}
    for what, text in REACHES.items():
        with row.case(what):
            done = subprocess.run(
                ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "/usr/bin/python3", "-I", "-c",
                 text.format(pid=pid, **places)],
                capture_output=True, check=False, timeout=30,
            )  # fmt: skip
            assert done.returncode != 0
            assert b"NameError" not in done.stderr
            assert kvmrun.pid("b") == pid
            assert status(pid)["State"][0] in "SRD"


EVIL = 'import os\nopen({mark!r}, "a").write(__name__ + chr(10))\n'
MODULES = (
    "json",
    "socket",
    "tomllib",
    "fcntl",
    "select",
    "re",
    "struct",
    "kvmrun",
    "rich",
    "pyroute2",
    "psutil",
    "asyncio",
)
TOOLS = (
    "nft",
    "capsh",
    "setpriv",
    "dnsmasq",
    "s6-log",
    "qemu-img",
    "qemu-system-x86_64",
    "python3",
    "sh",
    "ip",
    "env",
    "tail",
)


def _evil(place: Path, mark: Path, *more: str) -> Path:
    """A directory of modules that leave a mark when they are loaded."""
    place.mkdir(parents=True)
    for name in (*MODULES, "sitecustomize", "usercustomize", *more):
        (place / f"{name}.py").write_text(EVIL.format(mark=str(mark)))
    return place


def surroundings(root: Path, mark: Path) -> Iterator[tuple[str, dict[str, str], Path]]:
    """(what, environment, working directory) of a caller who means harm."""
    evil = _evil(root / "evil", mark)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    own = _evil(root / "home/.local/lib" / version / "site-packages", mark)
    (own / "evil.pth").write_text(f"import os; open({str(mark)!r}, 'a').write('pth')\n")
    (evil / "start.py").write_text(EVIL.format(mark=str(mark)))
    tools = root / "tools"
    tools.mkdir()
    for name in TOOLS:
        (tools / name).write_text(f"#!/bin/sh\necho {name} >> {mark}\n")
        (tools / name).chmod(0o755)
    (root / "empty").mkdir()
    path = {"PATH": f"{tools}:{os.environ['PATH']}"}
    empty = root / "empty"
    yield "modules in the current directory", {}, evil
    yield "PYTHONPATH", {"PYTHONPATH": str(evil)}, empty
    yield "PYTHONPATH of the current directory", {"PYTHONPATH": "."}, evil
    yield "an empty PYTHONPATH", {"PYTHONPATH": ":"}, evil
    yield "PYTHONHOME", {"PYTHONHOME": str(evil)}, empty
    yield "PYTHONUSERBASE", {"PYTHONUSERBASE": str(root / "home/.local")}, empty
    yield "HOME", {"HOME": str(root / "home")}, empty
    yield "PYTHONSTARTUP", {"PYTHONSTARTUP": str(evil / "start.py"), "PYTHONINSPECT": "1"}, empty
    yield "PYTHONPYCACHEPREFIX", {"PYTHONPYCACHEPREFIX": str(evil)}, empty
    yield "PYTHONBREAKPOINT and PYTHONWARNINGS", {"PYTHONBREAKPOINT": "json.x", "PYTHONWARNINGS": "error::json.X"}, evil
    yield "PATH", path, empty
    yield "a PATH of the current directory", {"PATH": f".:{os.environ['PATH']}"}, tools
    yield "all of it", {**path, "PYTHONPATH": str(evil), "HOME": str(root / "home")}, evil


@pytest.mark.usefixtures("netns", "tun")
def test_nothing_of_the_callers_is_loaded(lab: Path, kvmrun: Cli, own_directories: Path, tally: Tally) -> None:
    row = tally.row("P-09", "PYTHON* variables, PATH, HOME and the current directory of a caller who means harm", 10)
    program = Path(sys.executable).parent / "kvmrun"
    if not program.exists():
        pytest.skip("needs the installed command: scripts/check")
    guests(lab, "vm1", text=TCG)
    mark = own_directories / "mark"
    with row.case("the installed command is isolated from its first instruction"):
        assert program.read_text().split("\n")[0].endswith(" -I")
    installed = Cli([str(program), "-C", str(lab)])
    # as pip alone installs it: Python obeys the caller's variables, and doctor says so
    bare = own_directories / "bin/kvmrun"
    bare.parent.mkdir()
    bare.write_text(program.read_text().replace(" -I\n", "\n", 1))
    bare.chmod(0o755)
    by_pip = Cli([str(bare), "-C", str(lab)])
    for what, environ, here in surroundings(own_directories / "caller", mark):
        heeded = {"HOME", *(name for name in environ if name.startswith("PYTHON"))} & environ.keys()
        for cli in (installed,) if heeded else (installed, by_pip):
            with row.case(f"{what}, {'isolated' if cli is installed else 'by pip'}"):
                codes = [_from(here, cli, *words, **environ) for words in (("vm1",), ("list",), ("kill", "vm1"))]
                assert codes == [0, 0, 0]
                assert not mark.exists(), mark.read_text()
    with row.case("doctor tells of one by pip, and how to mend it"):
        mend = f"sed -i '1s/$/ -I/' {bare}"
        assert mend in by_pip("doctor").out
        subprocess.run(mend, shell=True, check=True)
        assert "PYTHON" not in by_pip("doctor").out
        assert (
            _from(own_directories / "caller/empty", by_pip, "list", PYTHONPATH=str(own_directories / "caller/evil"))
            == 0
        )
        assert not mark.exists()
    with row.case("a lab in the current directory that is somebody else's"):
        theirs = own_directories / "theirs"
        shutil.copytree(lab, theirs / "vms.d")
        os.chown(theirs, 4242, 4242)
        assert _from(theirs, Cli([str(program)]), "vm1") == 6


def _from(here: Path, cli: Cli, *words: str, **environ: str) -> int:
    done = subprocess.run(
        [*cli.words, *words], cwd=here, env={**os.environ, **environ}, capture_output=True, check=False, timeout=60
    )
    return done.returncode
