"""Another user of the host: what was there before us, what is exchanged under our hands, what is held, read, shown."""

import os
import shutil
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from support import hostile
from support.builders import TCG, guests
from support.cli import Cli
from support.tally import Tally
from support.world import until

from kvmrun.config.standard_paths import require_trusted_lab
from kvmrun.errors import KvmrunError
from kvmrun.host.rundir import rundir

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: to be another user"),
    pytest.mark.usefixtures("netns", "tun"),
]
THEIRS = 4242
DRIVE = TCG + '[[drive]]\nimage = "new.raw"\nsize = "1M"\n'


@pytest.fixture
def sticky(own_directories: Path) -> Path:
    """A directory like /tmp."""
    path = own_directories / "tmp"
    path.mkdir()
    path.chmod(0o1777)
    return path


@pytest.fixture
def victim(own_directories: Path) -> Path:
    """A directory of root's that nothing may be written into."""
    path = own_directories / "victim"
    path.mkdir(mode=0o755)
    return path


def _bind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as at:
        at.bind(str(path))


def before_us(victim: Path) -> dict[str, Callable[[Path], object]]:
    """What another may have put where our directory is to be."""
    return {
        "a directory of theirs": lambda path: path.mkdir(0o755),
        "a directory open to all": lambda path: (path.mkdir(), path.chmod(0o777)),
        "a link to root's": lambda path: path.symlink_to(victim),
        "a link to nothing": lambda path: path.symlink_to(victim / "made"),
        "a FIFO": os.mkfifo,
        "a file": lambda path: path.touch(),
        "a socket": _bind,
    }


@contextmanager
def as_them() -> Iterator[None]:
    """The block is another user's doing."""
    os.setegid(THEIRS)
    os.seteuid(THEIRS)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def test_what_they_put_there_before_is_not_used(
    lab: Path, kvmrun: Cli, sticky: Path, victim: Path, tally: Tally
) -> None:
    row = tally.row("X-01", "directories, links, FIFOs, files and sockets placed beforehand, for run and state", 14)
    guests(lab, "vm1", text=DRIVE)
    for key in ("KVMRUN_RUN_DIR", "KVMRUN_STATE_DIR"):
        for what, make in before_us(victim).items():
            path = sticky / "ours"
            with as_them():
                make(path)
            with row.case(f"{what} as {key}"):
                every = ["vm1"], ["list"], ["stop", "vm1"], ["kill", "vm1"], ["net", "up"], ["log", "vm1"]
                for words in every if tally.full else every[:2]:
                    result = kvmrun(*words, **{key: str(path)})
                    assert result.code == 6, (words, result)
                    assert str(path) in result.err
                assert not list(victim.iterdir())
                assert path.is_symlink() or not path.is_dir() or not list(path.iterdir())
            _remove(path)


RACER = """
import os, sys
os.setgid(4242); os.setuid(4242)
place, victim = sys.argv[1:]
ways = [lambda: os.symlink(victim, place), lambda: os.mkdir(place), lambda: os.mkfifo(place),
        lambda: os.symlink(victim + "/new", place),
        lambda: os.close(os.open(place, os.O_CREAT | os.O_EXCL | os.O_WRONLY))]
turn = 0
while True:
    turn += 1
    try:
        ways[turn % len(ways)]()
    except OSError:
        pass
    for remove in (os.unlink, os.rmdir):
        try:
            remove(place)
        except OSError:
            pass
"""
SWAPPER = """
import os, sys
os.setgid(4242); os.setuid(4242)
link, good, bad = sys.argv[1:]
turn = 0
while True:
    turn += 1
    os.symlink((good, bad)[turn % 2], link + ".new")
    os.rename(link + ".new", link)
"""


@contextmanager
def racing(text: str, *words: str) -> Iterator[None]:
    """Another user's process at work, until the block is left."""
    child = subprocess.Popen([sys.executable, "-I", "-S", "-c", text, *words])
    try:
        time.sleep(0.2)
        assert child.poll() is None
        yield
    finally:
        child.kill()
        child.wait()


def test_what_they_exchange_under_our_hands_is_never_used(
    own_directories: Path, sticky: Path, victim: Path, tally: Tally
) -> None:
    row = tally.row("X-02", "places exchanged while they are looked at and made: never one of theirs", 100_000)
    run, won = sticky / "run", 0
    half = row.count(4000) // 2
    with racing(RACER, str(run), str(victim)), row.case("the run directory"):
        for _ in range(half):
            row.cases += 1
            try:
                rundir.make_private(str(run))
            except (KvmrunError, OSError):
                continue
            found = os.lstat(run)
            assert stat.S_ISDIR(found.st_mode)
            assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (0, 0o700)
            won += 1
            os.rmdir(run)
    assert not list(victim.iterdir())
    assert stat.S_IMODE(victim.stat().st_mode) == 0o755
    lab, evil = own_directories / "good.d", own_directories / "evil.d"
    for path in (lab, evil):
        path.mkdir()
    (lab / "vm1.toml").touch()
    os.chown(evil, THEIRS, THEIRS)
    theirs = own_directories / "theirs"
    theirs.mkdir()
    os.chown(theirs, THEIRS, THEIRS)
    link = own_directories / "vms"
    link.symlink_to(theirs / "link")
    with racing(SWAPPER, str(theirs / "link"), str(lab), str(evil)), row.case("the way to a lab"):
        for _ in range(half):
            row.cases += 1
            with suppress(KvmrunError):
                require_trusted_lab(str(link), {})
                raise AssertionError("believed")


def _sockets(place: Path) -> list[Path]:
    return [path for path in place.rglob("*") if stat.S_ISSOCK(path.lstat().st_mode)]


def test_they_cannot_connect_to_anything_of_ours(lab: Path, kvmrun: Cli, own_directories: Path, tally: Tally) -> None:
    row = tally.row("X-03", "sockets, locks and records, opened by another user", 10)
    guests(lab, "vm1", text=TCG + 'display = "vnc"\n')
    kvmrun.ok("--paused", "vm1")
    place = own_directories / "run/vm/vm1"
    found = _sockets(place)
    assert len(found) >= 5
    for path in found:
        with row.case(path.name), as_them(), socket.socket(socket.AF_UNIX) as at, pytest.raises(PermissionError):
            at.connect(str(path))
        with row.case(f"the mode of {path.name}"):
            assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    for path in (place / "life", place / "op", place / "record", own_directories / "run", place):
        with row.case(path.name), as_them(), pytest.raises(PermissionError):
            os.open(path, os.O_RDONLY)


def _readable(root: Path) -> Iterator[Path]:
    """Every file below a directory that another user may open."""
    for place, _, names in os.walk(root):
        for name in names:
            path = Path(place, name)
            if os.access(path, os.R_OK, effective_ids=True) and path.is_file():
                yield path


def test_they_read_no_secret_of_ours(lab: Path, kvmrun: Cli, own_directories: Path, tally: Tally) -> None:
    row = tally.row("X-04", "a planted secret, looked for where another user may read", 6)
    secret = "planted-" + os.urandom(8).hex()
    guests(lab, "vm1", text=TCG + f'description = "{secret}"\ngroups = []\n')
    (lab / "networks.toml").write_text(f'seed = "{secret}"\n')
    for path in lab.iterdir():
        path.chmod(0o600)
    kvmrun.ok("vm1", KVMRUN_SECRET=secret)
    (own_directories / "state/log/vm1").stat()
    pid = kvmrun.pid("vm1")
    with as_them():
        with row.case("command lines"):
            for one in Path("/proc").glob("[0-9]*/cmdline"):
                with suppress(OSError):
                    assert secret.encode() not in one.read_bytes() or one.parent.name == str(os.getpid())
        with row.case("environments"), pytest.raises(PermissionError):
            Path(f"/proc/{pid}/environ").read_bytes()
        for root in ("run", "state", "vms.d"):
            with row.case(root):
                assert not [
                    path for path in _readable(own_directories / root) if secret in path.read_text(errors="replace")
                ]
    with row.case("our own environment went to nobody"):
        assert secret.encode() not in Path(f"/proc/{pid}/environ").read_bytes()


HOLDER = """
import fcntl, os, struct, sys, time
os.setgid(4242); os.setuid(4242)
held = []
for root in sys.argv[1:]:
    for place, directories, files in os.walk(root):
        for name in [".", *directories, *files]:
            for flags in (os.O_RDWR, os.O_RDONLY):
                try:
                    fd = os.open(os.path.join(place, name), flags | os.O_NONBLOCK)
                except OSError:
                    continue
                held.append(fd)
                for lock in (lambda: fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB),
                             lambda: fcntl.fcntl(fd, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", 1, 0, 0, 0, 0))):
                    try:
                        lock()
                    except OSError:
                        pass
print(len(held), flush=True)
time.sleep(600)
"""


def test_no_lock_of_theirs_stops_us(lab: Path, kvmrun: Cli, own_directories: Path, tally: Tally) -> None:
    row = tally.row("X-05", "commands while another user holds every lock there is to have", 8)
    guests(lab, "vm1", "vm2", text=DRIVE.replace("new.raw", "NAME.raw"))
    for name in ("vm1", "vm2"):
        guests(lab, name, text=DRIVE.replace("new.raw", f"{name}.raw"))
    kvmrun.ok("vm2")
    places = [str(own_directories / name) for name in ("run", "state", "vms.d")] + ["/dev/net"]
    with subprocess.Popen([sys.executable, "-I", "-c", HOLDER, *places], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout
        assert int(child.stdout.readline()) > 0
        try:
            for words in (["vm1"], ["list"], ["pause", "vm1"], ["resume", "vm1"], ["stop", "--force", "vm1"],
                          ["kill", "vm2"], ["net", "down"], ["check"], ["vm2"]):  # fmt: skip
                with row.case(words):
                    assert kvmrun(*words).code == 0
        finally:
            child.kill()


USERS = """
import sys
from kvmrun.cli import main as cli
from kvmrun.api.status import live_status
live_status._USERS = sys.argv[1]
sys.exit(cli.run(sys.argv[2:]))
"""


def _listening(path: Path) -> None:
    """A monitor at which nobody listens, that connects."""
    at = socket.socket(socket.AF_UNIX)
    at.bind(str(path))
    at.listen(4)
    _KEPT.append(at)


_KEPT: list[socket.socket] = []


def _user_guest(run: Path, name: str, **parts: Callable[[Path], object]) -> None:
    place = run / "vm" / name
    place.mkdir(parents=True)
    for part, make in parts.items():
        make(place / part)


def odd_users() -> dict[str, Callable[[Path], object]]:
    """What a user's own run directory may be, by name."""
    record = (
        '{"name": "\\u001b[31m", "uuid": "\\u202e", "accel": "\\u0007", "cpus": 1, "memory": 1, "pid": 1, "ports": []}'
    )
    return {
        "vm is a file": lambda run: (run / "vm").touch(),
        "vm is a link to itself": lambda run: (run / "vm").symlink_to("vm"),
        "vm leads to root's": lambda run: (run / "vm").symlink_to("/root"),
        "life is a directory": lambda run: _user_guest(run, "u1", life=lambda path: path.mkdir()),
        "life is a link": lambda run: _user_guest(run, "u1", life=lambda path: path.symlink_to("/dev/zero")),
        "life is a FIFO": lambda run: _user_guest(run, "u1", life=os.mkfifo),
        "life is a socket": lambda run: _user_guest(run, "u1", life=_bind),
        "record is a FIFO": lambda run: _user_guest(run, "u1", record=os.mkfifo),
        "record is a directory": lambda run: _user_guest(run, "u1", record=lambda path: path.mkdir()),
        "record is zeros": lambda run: _user_guest(run, "u1", record=lambda path: path.symlink_to("/dev/zero")),
        "record acts on terminals": lambda run: _user_guest(
            run, "u1", life=lambda path: path.touch(), record=lambda path: path.write_text(record)
        ),
        "a guest is a link": lambda run: ((run / "vm").mkdir(), (run / "vm/u1").symlink_to("/")),
        "a guest is a file": lambda run: ((run / "vm").mkdir(), (run / "vm/u1").touch()),
        "names that are none": lambda run: [
            _user_guest(run, name) for name in hostile.strings()
            if "/" not in name and name not in {"..", "."} and "\0" not in name and len(name) < 50
            and not any(0xD800 <= ord(char) < 0xE000 for char in name)
        ],
        "five hundred guests": lambda run: [_user_guest(run, f"u{number}") for number in range(500)],
        "the name of a guest of root's": lambda run: _user_guest(run, "vm1", life=lambda path: path.touch()),
        "monitors that are silent": lambda run: _user_guest(run, "u1", life=lambda path: path.touch(), q=_listening),
    }  # fmt: skip


def test_a_users_own_directory_costs_the_user_alone(
    lab: Path, kvmrun: Cli, own_directories: Path, tally: Tally
) -> None:
    row = tally.row("X-09", "root's list over a run directory of a user who means harm", 17)
    guests(lab, "vm1", text=TCG + "nic = []\n")
    kvmrun.ok("--paused", "vm1")
    users = own_directories / "user"
    users.mkdir(mode=0o755)
    roots = Cli([sys.executable, "-c", USERS, str(users), "-C", str(lab)])
    for what, make in odd_users().items():
        run = users / "4242/kvmrun"
        (users / "4242").mkdir(mode=0o700)
        os.chown(users / "4242", THEIRS, THEIRS)
        with as_them():
            run.mkdir()
            make(run)
            holder = (
                _hold(run / "vm/u1/life") if what in {"record acts on terminals", "monitors that are silent"} else None
            )
        with row.case(what):
            result = roots("list", "-o", "json")
            assert result.code == 0, result.err
            found = {one["name"]: one for one in result.json()["guests"]}
            assert found["vm1"]["state"] == "paused"
            table = roots("list", "-v")
            assert table.code == 0
            assert not hostile.harm(result.out + table.out + table.err)
        if holder:
            holder.kill()
            holder.wait()
        shutil.rmtree(users / "4242")
    for at in _KEPT:
        at.close()
    _KEPT.clear()
    assert kvmrun.rows()["vm1"]["state"] == "paused"


def _hold(life: Path) -> subprocess.Popen[bytes]:
    """A process of theirs that holds the lock of a guest by inheritance, as a QEMU does."""
    text = "import fcntl, os, struct, sys, time; f = open(sys.argv[1], 'r+'); os.set_inheritable(f.fileno(), True); "
    text += (
        "fcntl.fcntl(f, fcntl.F_OFD_SETLK, struct.pack('hhqqi4x', 1, 0, 0, 0, 0)); print(flush=True); time.sleep(600)"
    )
    child = subprocess.Popen(
        [sys.executable, "-I", "-c", text, str(life)], stdout=subprocess.PIPE, user=THEIRS, group=THEIRS
    )
    assert child.stdout
    child.stdout.readline()
    child.stdout.close()
    return child


def test_an_image_they_could_exchange_is_not_opened(
    lab: Path, kvmrun: Cli, own_directories: Path, sticky: Path, tally: Tally
) -> None:
    row = tally.row("X-07", "images in places where another user could put another file in their place", 10)
    secret = own_directories / "secret.raw"
    secret.write_bytes(bytes(1 << 20))
    secret.chmod(0o600)
    home = own_directories / "home"
    home.mkdir()
    os.chown(home, THEIRS, THEIRS)
    (own_directories / "loose").mkdir()
    (own_directories / "loose").chmod(0o777)
    with as_them():
        (home / "link.raw").symlink_to(secret)
        (home / "own.raw").write_bytes(bytes(1 << 20))
        (sticky / "link.raw").symlink_to(secret)
    (own_directories / "ours.raw").symlink_to(home / "link.raw")
    (own_directories / "loose/x.raw").write_bytes(bytes(1 << 20))
    for path in (home / "link.raw", home / "own.raw", sticky / "link.raw", own_directories / "ours.raw",
                 own_directories / "loose/x.raw"):  # fmt: skip
        for text in (f'[[drive]]\nimage = "{path}"\n', f'boot = {{ kernel = "{path}" }}\n'):
            guests(lab, "vm1", text=TCG + text)
            with row.case(f"{path.parent.name}/{path.name} as {text.split()[0]}"):
                result = kvmrun("--paused", "vm1")
                assert result.code == 6, result
                assert str(path.parent) in result.err or str(home) in result.err
    guests(lab, "vm1", text=TCG + f'[[drive]]\nimage = "{secret}"\n')
    os.chown(secret, THEIRS, THEIRS)  # whose it is does not matter: what it is in does
    with row.case("a file of theirs in a place of root's"):
        kvmrun.ok("--paused", "vm1")
    with row.case("the caller's own place, by sudo"):
        kvmrun.ok("kill", "vm1")
        guests(lab, "vm1", text=TCG + f'[[drive]]\nimage = "{home}/own.raw"\n')
        kvmrun.ok("--paused", "vm1", SUDO_UID=str(THEIRS))
        until(lambda: kvmrun.rows()["vm1"]["state"] == "paused")
