"""Every command that writes, at every place that another user has prepared: nothing of root's is harmed.

A new command that writes is one line in WRITERS; a new trick is one function in PLANTS.
"""

import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.builders import TCG, guests
from support.cli import Cli
from support.tally import Tally

from kvmrun.api.conversation import agent_copy
from kvmrun.api.conversation import screenshot as screenshot_api
from kvmrun.api.conversation.agent_copy import CopyOptions
from kvmrun.api.report import discard
from kvmrun.cli.commands import screenshot
from kvmrun.errors import KvmrunError
from kvmrun.host.disk import image_files
from kvmrun.host.files import export_files, safe_directory
from kvmrun.model.deadline import NEVER
from kvmrun.monitor.agent import agent_files
from kvmrun.plan.steps.guest_steps import MakeImage

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: to be another user"),
    pytest.mark.usefixtures("netns", "tun"),
    pytest.mark.timeout(3600),
]
THEIRS = 12345
SECRET = b"what belongs to root\n"
PNG = b"\x89PNG\r\n\x1a\n and the rest"


class Scene:
    """A directory of another user's, a sticky one, and a file and a directory of root's that they are after."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.theirs = top / "theirs"
        self.theirs.mkdir(mode=0o755)
        os.chown(self.theirs, THEIRS, THEIRS)
        self.sticky = top / "sticky"
        self.sticky.mkdir()
        self.sticky.chmod(0o1777)
        self.open = top / "open"
        self.open.mkdir()
        self.open.chmod(0o777)
        self.root = top / "root"
        self.root.mkdir(mode=0o700)
        self.secret = self.root / "secret"
        self.secret.write_bytes(SECRET)
        self.before = self._seen()

    def link(self, path: Path, target: str | Path) -> None:
        path.symlink_to(target)
        os.chown(path, THEIRS, THEIRS, follow_symlinks=False)

    def _seen(self) -> tuple[Any, ...]:
        found = self.secret.lstat()
        kept = found.st_mode, found.st_uid, found.st_gid, found.st_ino, found.st_size
        return self.secret.read_bytes(), kept, sorted(os.listdir(self.root)), self.root.lstat().st_mode

    def unharmed(self) -> None:
        assert self._seen() == self.before
        made = [one for one in self.theirs.rglob("*") if one.lstat().st_uid == 0 and not _planted(one)]
        assert not made, f"made in another user's directory: {made}"


def _planted(path: Path) -> bool:
    return path.name.startswith("planted") or path.is_symlink() or not (path.is_file() or path.is_dir())


def _device(path: Path) -> None:
    os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 3))


def _at(where: str, make: Callable[[Scene, Path], object]) -> Callable[[Scene, str], Path]:
    def plant(scene: Scene, name: str) -> Path:
        path: Path = getattr(scene, where) / name
        make(scene, path)
        return path

    return plant


def _temporary(scene: Scene, path: Path) -> None:
    """Links at the names that a careless program would write to first."""
    names = (f"{path.name}.part", f"{path.name}.new", f".{path.name}.part", f".{path.name}.tmp", f"{path.name}~")
    for name in names:
        scene.link(path.with_name(name), scene.secret)


def _component(scene: Scene, name: str) -> Path:
    scene.link(scene.theirs / "sub", scene.root)
    return scene.theirs / "sub" / name


def _component_in_sticky(scene: Scene, name: str) -> Path:
    scene.link(scene.sticky / "sub", scene.root)
    return scene.sticky / "sub" / name


def _circle(scene: Scene, name: str) -> Path:
    scene.link(scene.theirs / "one", scene.theirs / "two")
    scene.link(scene.theirs / "two", scene.theirs / "one")
    return scene.theirs / "one" / name


def _long_chain(scene: Scene, name: str) -> Path:
    """Root's own links, more than the kernel would follow."""
    at = scene.root
    for number in range(60):
        link = scene.top / f"chain{number}"
        link.symlink_to(at)
        at = link
    return at / name


def _hard(scene: Scene, path: Path) -> None:
    os.link(scene.secret, path)
    scene.before = scene._seen()


PLANTS: dict[str, Callable[[Scene, str], Path]] = {
    "a link to root's file": _at("theirs", lambda scene, path: scene.link(path, scene.secret)),
    "a link to nothing yet": _at("theirs", lambda scene, path: scene.link(path, scene.root / "made")),
    "links at temporary names": _at("theirs", _temporary),
    "their directory": _at("theirs", lambda scene, path: None),
    "a new directory in theirs": lambda scene, name: scene.theirs / "new" / name,
    "a link as a component": _component,
    "a hard link": _at("theirs", _hard),
    "a FIFO": _at("theirs", lambda scene, path: os.mkfifo(path)),
    "a device": _at("theirs", lambda scene, path: _device(path)),
    "a directory of theirs there": _at("theirs", lambda scene, path: (path.mkdir(), os.chown(path, THEIRS, THEIRS))),
    "sticky: a link to root's file": _at("sticky", lambda scene, path: scene.link(path, scene.secret)),
    "sticky: a link to nothing yet": _at("sticky", lambda scene, path: scene.link(path, scene.root / "made")),
    "sticky: links at temporary names": _at("sticky", _temporary),
    "sticky: a link as a component": _component_in_sticky,
    "sticky: a hard link": _at("sticky", _hard),
    "sticky: their directory": _at("sticky", lambda scene, path: (path.mkdir(), os.chown(path, THEIRS, THEIRS))),
    "open to all": _at("open", lambda scene, path: None),
    "open to all: a link": _at("open", lambda scene, path: scene.link(path, scene.secret)),
    "a circle of links": _circle,
    "a chain of links": _long_chain,
    "a name that ends in a slash": lambda scene, name: scene.theirs / f"{name}" / ".",
}

Write = Callable[[Cli, Path, str], object]
"""Runs one command that is to write to a path; gives its result, or raises KvmrunError where it is called directly."""


def _started(drive: str) -> Write:
    def write(kvmrun: Cli, lab: Path, path: str) -> object:
        (lab / "vm1.toml").write_text(TCG + "nic = []\n[[drive]]\n" + drive.format(path=path))
        result = kvmrun("vm1", "--paused")
        if result.code == 0:
            kvmrun("kill", "vm1")
        return result

    return write


def _run(*words: str, **environ: str) -> Write:
    def write(kvmrun: Cli, lab: Path, path: str) -> object:
        guests(lab, "vm1", text=TCG + "nic = []\n")
        result = kvmrun(
            *(word.format(path=path) for word in words), **{key: one.format(path=path) for key, one in environ.items()}
        )
        if result.code == 0 and "vm1" in words:
            kvmrun("kill", "vm1")
        return result

    return write


def _screenshot(_: Cli, lab: Path, path: str) -> object:
    args = SimpleNamespace(file=path, guest="vm1", timeout=None, quiet=True, vms=str(lab))
    return screenshot.run(args)  # type: ignore[arg-type]


def _fetched(_: Cli, lab: Path, path: str) -> object:
    copy = agent_copy._Copy(("vm1:/etc/hostname", path), None, NEVER, (CopyOptions(), discard))  # type: ignore[arg-type]
    return copy.download("/etc/hostname", path)


WRITERS: dict[str, Write] = {
    "an image": _started('image = "{path}"\nformat = "qcow2"\nsize = "1M"\n'),
    "a raw image": _started('image = "{path}"\nformat = "raw"\nsize = "1M"\n'),
    "an overlay": _started(
        'image = "{path}"\nformat = "qcow2"\nbase = "/dev/null"\nbase_format = "raw"\nsize = "1M"\n'
    ),
    "init": _run("init", "{path}"),
    "export shorewall": _run("export", "shorewall", "{path}"),
    "export systemd": _run("export", "systemd", "{path}"),
    "export systemd --force": _run("export", "systemd", "--force", "{path}"),
    "metrics": _run("metrics", "{path}"),
    "ssh-config": _run("ssh-config", "{path}"),
    "new in a lab there": _run("-C", "{path}", "new", "vm7"),
    "the state directory": _run("vm1", "--paused", KVMRUN_STATE_DIR="{path}"),
    "the run directory": _run("vm1", "--paused", KVMRUN_RUN_DIR="{path}"),
    "the text that is edited": _run("edit", "vm1", TMPDIR="{path}", VISUAL="sed -i s/32M/33M/"),
    "screenshot": _screenshot,
    "cp out of a guest": _fetched,
}


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> None:
    """A guest's agent and display that give something at once."""

    def fetch(_line: object, _path: str, fd: int, _moved: object) -> None:
        os.write(fd, b"from the guest")

    monkeypatch.setattr(agent_files, "download", fetch)
    monkeypatch.setattr(screenshot_api, "require_running", lambda *_: "/nowhere")
    monkeypatch.setattr(screenshot_api, "_draw", lambda *_: PNG)


def _told(write: Write, kvmrun: Cli, lab: Path, path: str) -> None:
    """The command ends in words, whatever it is told to write to."""
    result: object = None
    with suppress(KvmrunError):
        result = write(kvmrun, lab, path)
    if hasattr(result, "code"):
        assert result.code in {0, 1, 2, 5, 6, 77}, result
        assert "this is a bug" not in result.err, result
        assert "Traceback" not in result.err, result
        assert not [word for word in ("chown", "chmod", "rm ") if f"fix: {word}" in result.err], result


def test_every_writing_command_at_every_prepared_place(
    lab: Path, kvmrun: Cli, own_directories: Path, pretended: None, tally: Tally
) -> None:
    row = tally.row("X-10", "commands that write, at places that another user has prepared", len(WRITERS) * len(PLANTS))
    cases = [(writer, plant) for writer in WRITERS for plant in PLANTS]
    chosen = cases if tally.full else [one for number, one in enumerate(cases) if number % 13 == 3]
    for number, (writer, plant) in enumerate(chosen):
        top = own_directories / f"case{number}"
        top.mkdir(mode=0o755)
        scene = Scene(top)
        path = PLANTS[plant](scene, "planted")
        with row.case(f"{writer}: {plant}"):
            _told(WRITERS[writer], kvmrun, lab, str(path))
            scene.unharmed()
        shutil.rmtree(top)


def test_an_image_is_not_made_where_another_user_has_put_a_link(lab: Path, kvmrun: Cli, own_directories: Path) -> None:
    scene = Scene(own_directories)
    scene.link(scene.theirs / "d.qcow2.part", scene.secret)
    path = scene.theirs / "d.qcow2"
    (lab / "vm1.toml").write_text(TCG + f'nic = []\n[[drive]]\nimage = "{path}"\nsize = "1M"\n')
    result = kvmrun("vm1")
    assert (result.code, f"vm1 cannot use {path}" in result.err) == (6, True), result
    assert 'fix: image = "d.qcow2"' in result.err
    assert str(THEIRS) in result.err
    scene.unharmed()


SWAPPER = """
import os, sys
os.setgid(12345); os.setuid(12345)
place, good, bad = sys.argv[1:]
turn = 0
while True:
    turn += 1
    other = f"{place}.{turn}"
    try:
        os.symlink(bad if turn % 2 else good, other)
        os.rename(other, place)
    except OSError:
        pass
"""


@contextmanager
def swapping(place: Path, good: Path, bad: Path) -> Iterator[None]:
    """Another user's process that exchanges a component all the time, until the block is left."""
    child = subprocess.Popen([sys.executable, "-I", "-S", "-c", SWAPPER, str(place), str(good), str(bad)])
    try:
        while not place.is_symlink():
            time.sleep(0.01)
        yield
    finally:
        child.kill()
        child.wait()


def test_a_component_that_is_exchanged_between_look_and_use(own_directories: Path, tally: Tally) -> None:
    row = tally.row("X-11", "files made while another user exchanges a component of their path", 20_000)
    scene = Scene(own_directories)
    good = scene.sticky / "good"
    good.mkdir(mode=0o755)
    place = scene.sticky / "place"
    # what the lab names is a link of root's own to a link of theirs: as far as a look by name goes, all may be well
    named = own_directories / "named"
    named.symlink_to(place)
    step = MakeImage(path=str(named / "new.raw"), format="raw", size=512)
    ways: list[Callable[[], object]] = [
        lambda: export_files.put(str(named / "file.prom"), "text"),
        lambda: export_files.write(str(named), {"a": "b"}, "mark", force=True),
        lambda: safe_directory.made(str(named / "new")),
        lambda: os.close(safe_directory.located(str(named / "secret"))),
    ]
    with swapping(place, good, scene.root), row.case("exchanged"):
        for number in range(row.count(400)):
            row.cases += 1
            with suppress(KvmrunError, OSError):
                ways[number % len(ways)]()
                raise AssertionError("a link of another user was followed")
        with suppress(KvmrunError):
            image_files.make_image(step)
    scene.unharmed()


def test_a_directory_that_becomes_theirs_on_the_way(own_directories: Path) -> None:
    """What was right when it was looked at by name is judged again when it is used."""
    place = own_directories / "place"
    place.mkdir(mode=0o755)
    with safe_directory.opened(str(place)) as found:
        place.rename(own_directories / "moved")
        (own_directories / "place").symlink_to("/root")
        found.write_new("file", b"text", 0o644)
    assert (own_directories / "moved/file").read_text() == "text"


@pytest.mark.parametrize("name", ["/dev/null", "/dev/stdout", "/dev/fd/1", "fifo", "directory"])
def test_only_a_regular_file_is_replaced(own_directories: Path, kvmrun: Cli, name: str) -> None:
    os.mkfifo(own_directories / "fifo")
    (own_directories / "directory").mkdir()
    path = own_directories / name
    before = path.lstat()
    for write in (_screenshot_of(path), lambda: export_files.put(str(path), "text")):
        with pytest.raises((KvmrunError, OSError)):
            write()
        assert (path.lstat().st_mode, path.lstat().st_ino) == (before.st_mode, before.st_ino)


def _screenshot_of(path: Path) -> Callable[[], object]:
    def draw() -> None:
        with safe_directory.replacing(str(path)) as (parent, name), parent.part(name) as (_, part):
            parent.move(part, name)

    return draw


DELETED = (
    *(("list",), ("check",), ("init", "lab"), ("export", "systemd", "out"), ("metrics", "file")),
    *(
        ("-C", "lab", "list"),
        ("show", "vm1"),
        ("new", "vm7", "--image", "x.raw"),
        ("cp", "vm1:/x", "y"),
        ("cp", "-r", "vm1:/x", "y"),
    ),
    *(("screenshot", "vm1", "a.png"), ("edit", "vm1"), ("up", "vm1", "-n"), ("doctor",)),
)


@pytest.mark.parametrize("words", DELETED, ids=" ".join)
def test_a_current_directory_that_was_removed(lab: Path, kvmrun: Cli, own_directories: Path, words: list[str]) -> None:
    guests(lab, "vm1", text=TCG)
    gone = own_directories / "gone"
    gone.mkdir()
    script = 'cd "$1"; rmdir "$1"; shift; exec "$@"'
    environ = {**os.environ, "KVMRUN_VMS": str(lab), "VISUAL": "true"}
    done = subprocess.run(
        ["sh", "-c", script, "sh", str(gone), *kvmrun.words, *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=environ,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode != 70, done.stderr
    assert "Traceback" not in done.stderr


PLACED = ("sticky: a hard link", "sticky: a link to root's file", "a hard link", "a link as a component")


@pytest.mark.parametrize("plant", PLACED)
def test_what_another_user_has_placed_is_no_image(lab: Path, kvmrun: Cli, own_directories: Path, plant: str) -> None:
    """Where fs.protected_hardlinks is off, everybody may give root's own file another name."""
    scene = Scene(own_directories)
    path = PLANTS[plant](scene, "secret" if plant == "a link as a component" else "planted")
    for more in ("", "readonly = true\n"):
        (lab / "vm1.toml").write_text(f'{TCG}nic = []\n[[drive]]\nimage = "{path}"\nformat = "raw"\n{more}')
        result = kvmrun("vm1", "--paused")
        assert (result.code, f"vm1 cannot use {path}" in result.err) == (6, True), result
        assert f" cp --no-clobber {path} " in result.err
    (lab / "vm1.toml").write_text(f'{TCG}nic = []\n[boot]\nkernel = "{path}"\n')
    assert kvmrun("vm1", "--paused").code == 6
    scene.unharmed()


def test_a_link_of_roots_own_to_an_image_is_followed(lab: Path, kvmrun: Cli, own_directories: Path) -> None:
    (own_directories / "disk.raw").write_bytes(bytes(1 << 20))
    (own_directories / "first").symlink_to("disk.raw")
    (own_directories / "second").symlink_to(own_directories / "first")
    (lab / "vm1.toml").write_text(f'{TCG}nic = []\n[[drive]]\nimage = "{own_directories}/second"\nformat = "raw"\n')
    kvmrun.ok("vm1", "--paused")
    kvmrun.ok("kill", "vm1")
