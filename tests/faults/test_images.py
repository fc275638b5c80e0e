"""Images that mean harm, one image for two guests, and strings that would be options: opened as what they are named."""

import json
import os
import random
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support import hostile, proc
from support.builders import TCG, guests
from support.cli import Cli
from support.tally import Tally
from support.world import difference, until, world, world_after

from kvmrun.config.load_lab import load_lab
from kvmrun.model.guest import qemu_option
from kvmrun.model.guest.guest import Guest
from kvmrun.model.paths import Paths

MIB = 1 << 20
_JSON = {"-blockdev", "-device", "-netdev", "-object"}


def _img(*words: object) -> None:
    subprocess.run(["qemu-img", "create", "-q", *map(str, words)], check=True)


def drive(image: object, **keys: str) -> str:
    """A guest with one drive of that image, as TOML."""
    text = f"[[drive]]\nimage = {_toml(str(image))}\n"
    return TCG + "nic = []\n" + text + "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())


def two(images: Path, root: Path) -> Iterator[tuple[str, str, str]]:
    """(what, the first guest, the second) of every way to one image."""
    _img("-f", "raw", images / "a.raw", "1M")
    os.link(images / "a.raw", images / "hard.raw")
    (images / "soft.raw").symlink_to("a.raw")
    mounted = root / "mounted"
    mounted.mkdir()
    subprocess.run(["mount", "--bind", images, mounted], check=True)
    _img("-f", "qcow2", images / "base.qcow2", "1M")
    for name in ("over", "other"):
        _img("-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", images / f"{name}.qcow2")
    first = drive("a.raw")
    yield "the same name", first, drive(images / "." / "a.raw")
    yield "a hard link", first, drive("hard.raw")
    yield "a link", first, drive("soft.raw")
    yield "a bind mount", first, drive(mounted / "a.raw")
    yield "a second that only reads", first, drive("hard.raw").replace("[[drive]]", "[[drive]]\nreadonly = true")
    yield (
        "a first that only reads",
        drive("a.raw").replace("[[drive]]", "[[drive]]\nreadonly = true"),
        drive("hard.raw"),
    )
    yield "a base under an overlay that runs", drive("over.qcow2", base="base.qcow2"), drive(mounted / "base.qcow2")
    yield "an overlay over a base that runs", drive("base.qcow2"), drive("over.qcow2", base=str(mounted / "base.qcow2"))
    yield "a path by a descriptor", first, drive(f"/proc/{os.getpid()}/root{images}/a.raw")


@pytest.mark.usefixtures("netns", "tun")
@pytest.mark.timeout(900)
def test_two_guests_never_write_one_image(
    lab: Path, kvmrun: Cli, own_directories: Path, images: Path, tally: Tally
) -> None:
    row = tally.row("D-01", "ways of two guests to one image: the second refused, nothing made", 160)
    rounds = 20 if tally.full else 1
    try:
        for what, first, second in two(images, own_directories):
            for turn in range(rounds):
                guests(lab, "vm1", text=first)
                guests(lab, "vm2", text=second.replace("nic = []\n", "") + "[[nic]]\n")
                invalid = "vm2" in load_lab(str(lab), str(images)).invalid
                (lab / "vm2.toml").rename(own_directories / "vm2.toml") if invalid else None
                kvmrun.ok("--paused", "vm1")
                if invalid:  # told at once: what is tried is a lab that did not know it when the first was started
                    (own_directories / "vm2.toml").rename(lab / "vm2.toml")
                until(lambda: world() == world())  # of the turn before a process may still be ending
                before = world()
                with row.case(f"{what}, {turn}"):
                    result = kvmrun("--paused", "vm2")
                    assert result.code in {5, 6}, result
                    moved = difference(before, world_after(before))
                    assert not moved, moved
                kvmrun.ok("kill", "vm1")
                (lab / "vm2.toml").unlink()
    finally:
        subprocess.run(["umount", own_directories / "mounted"], check=False)


def forged(kind: str, secret: Path) -> bytes:
    """The first sectors of a qcow2 image that names a file of the host."""
    version, extra = (2, b"") if kind == "version 2" else (3, b"")
    name = {"json": f'json:{{"driver":"file","filename":"{secret}"}}', "nbd": "nbd:127.0.0.1:1"}.get(kind, str(secret))
    incompatible = 4 if kind == "data file" else 0
    head = struct.pack(
        ">4sIQIIQIIQQIIQ", b"QFI\xfb", version, 0x200, len(name), 16, MIB, 0, 1, 0x10000, 0x20000, 1, 0, 0
    )
    head += struct.pack(">QQQII", incompatible, 0, 0, 4, 104) + extra
    if kind == "data file":
        head += struct.pack(">II", 0x44415441, len(name)) + name.encode().ljust((len(name) + 7) & ~7, b"\0")
    return head.ljust(0x200, b"\0") + name.encode()


@pytest.mark.usefixtures("netns", "tun")
def test_a_raw_image_is_raw_whatever_its_guest_wrote(
    lab: Path, kvmrun: Cli, own_directories: Path, images: Path, tally: Tally
) -> None:
    row = tally.row(
        "D-04", "raw images that begin like qcow2 naming a secret, an overlay, a loop: read as they are", 20
    )
    secret = own_directories / "secret"
    secret.write_bytes(b"SECRET" * 1000)
    secret.chmod(0o644)
    heads = {kind: forged(kind, secret) for kind in ("version 2", "version 3", "json", "nbd", "data file")}
    heads |= {
        "vmdk": b"KDMV" + bytes(508),
        "vhdx": b"vhdxfile",
        "vdi": b"<<< Oracle VM".ljust(64) + b"\x7f\x10\xda\xbe",
    }
    heads |= {"luks": b"LUKS\xba\xbe", "qed": b"QED\0", "bochs": b"Bochs Virtual HD Image"}
    for kind in heads if tally.full else ["version 3", "json", "data file", "vmdk", "luks"]:
        head = heads[kind]
        (images / "guest.raw").write_bytes(head.ljust(MIB, b"\0"))
        guests(lab, "vm1", text=drive("guest.raw"))
        with row.case(f"{kind}, where the file does not say that it is raw"):
            refused = kvmrun("--paused", "vm1")
            assert (refused.code, 'format = "raw"' in refused.err) == ((0, False) if kind == "luks" else (6, True))
        kvmrun("kill", "vm1")
        guests(lab, "vm1", text=drive("guest.raw", format="raw"))
        with row.case(kind):
            kvmrun.ok("--paused", "vm1")
            nodes = json.dumps(_ask(own_directories / "run/vm/vm1/p", "query-named-block-nodes"))
            assert str(secret) not in nodes
            drivers = {one["drv"] for one in json.loads(nodes)}
            assert drivers == {"raw", "file"}, drivers
            (disk,) = {one["image"]["virtual-size"] for one in json.loads(nodes) if one["drv"] == "raw"}
            assert disk == MIB
            assert str(secret) not in proc.held(kvmrun.pid("vm1")).values()
        kvmrun.ok("kill", "vm1")


def _ask(at_path: Path, command: str, **arguments: object) -> Any:
    """One question to a QEMU."""
    with socket.socket(socket.AF_UNIX) as at:
        at.settimeout(20)
        at.connect(str(at_path))
        with at.makefile("rw") as file:
            file.readline()
            for one in ({"execute": "qmp_capabilities"}, {"execute": command, "arguments": arguments}):
                file.write(json.dumps(one) + "\n")
                file.flush()
                while "event" in (said := json.loads(file.readline())):
                    pass
    return said.get("return", said)


def chains(images: Path, secret: Path) -> Iterator[tuple[str, Callable[[Path], object]]]:
    """Images with parts elsewhere, by what they do."""
    base = images / "base.qcow2"
    _img("-f", "qcow2", base, "1M")
    names = (str(secret), "base.qcow2", "../../etc/shadow", "json:{}", f'json:{{"driver":"raw","file":"{secret}"}}',
             "nbd:127.0.0.1:10809", "nbd+unix:///x?socket=/x", "ssh://root@127.0.0.1/etc/shadow", "https://127.0.0.1/x",
             "fat:/etc", "vvfat:rw:/etc", "blkdebug::/etc/shadow", "rbd:x/y", "iscsi://x/y/1", "/dev/fdset/0",
             "/proc/self/fd/0", "/dev/stdin", "file:/etc/shadow", "host_device:/dev/sda", "x" * 1000)  # fmt: skip
    for name in names:
        for kind in ("qcow2", "raw"):
            yield (
                f"backing {name[:30]} {kind}",
                lambda path, name=name, kind=kind: _img("-f", "qcow2", "-u", "-b", name, "-F", kind, path, "1M"),
            )
    yield "data file", lambda path: path.write_bytes(forged("data file", secret).ljust(MIB, b"\0"))
    yield "a loop", lambda path: _img("-f", "qcow2", "-u", "-b", path.name, "-F", "qcow2", path, "1M")
    for size in (0, 3, 4, 8, 71, 72, 79, 80, 104):
        yield f"cut at {size}", lambda path, size=size: path.write_bytes(forged("version 3", secret)[:size])
    yield "another format", lambda path: path.write_bytes(b"KDMV" + bytes(508))
    yield "a size of 8 EiB", lambda path: path.write_bytes(
        forged("version 3", secret)[:24] + struct.pack(">Q", 1 << 63) + forged("version 3", secret)[32:])  # fmt: skip


@pytest.mark.usefixtures("netns", "tun")
@pytest.mark.timeout(900)
def test_an_image_with_parts_elsewhere_is_not_followed(
    lab: Path, kvmrun: Cli, own_directories: Path, images: Path, tally: Tally
) -> None:
    row = tally.row(
        "D-05", "overlays, data files, loops, protocols and cut headers that a definition does not name", 30
    )
    secret = own_directories / "secret"
    secret.write_bytes(b"SECRET")
    secret.chmod(0o644)
    every = list(chains(images, secret))
    before = world()
    for what, make in every if tally.full else random.Random(6).sample(every, 6):
        path = images / "evil.qcow2"
        make(path)
        guests(lab, "vm1", text=drive(path.name))
        with row.case(what):
            result = kvmrun("--paused", "vm1")
            assert result.code in {1, 6}, result
            assert "Traceback" not in result.err
            assert not hostile.harm(result.err)
        path.unlink()
    with row.case("nothing is left of them"):
        assert world() == before


ODD = (",x", "a,b.raw", "a,,b", "a=b", "file=x", "a:b", "nbd:x", "a b", " a", "-a", "--", "a'b", 'a"b', "a\\b",
       "$(id)", "`x`", ";x", "&", "|x", "*", "?", "[x]", "{x}", "~", "#x", "%s", "on", "off", "null", "a.qcow2.raw",
 "é", "日本", "json:{}", "fd:1", "fdset:1",
       "id=x,readonly=on", "a,file.filename=b", "x.raw,format=qcow2", "exec:x", "@x")  # fmt: skip


@pytest.mark.usefixtures("netns", "tun")
@pytest.mark.timeout(900)
def test_an_odd_name_is_opened_as_it_is_written(
    lab: Path, kvmrun: Cli, own_directories: Path, images: Path, tally: Tally
) -> None:
    row = tally.row("D-06", "names of images that look like options, protocols or paths: opened literally", 40)
    for name in ODD if tally.full else ODD[::9]:
        path = images / "odd" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(MIB))
        guests(lab, "vm1", text=drive(path, format="raw"))
        with row.case(name):
            kvmrun.ok("--paused", "vm1")
            assert str(path) in proc.held(kvmrun.pid("vm1")).values()
            assert f"/vm/vm1/vm1{path.name}" not in str(list(own_directories.rglob("*")))
        kvmrun.ok("kill", "vm1")
        path.unlink()


FIELDS = {
    "description": "description = @\n",
    "image": "[[drive]]\nimage = @\nformat = 'raw'\n",
    "base": "[[drive]]\nimage = 'NAME.qcow2'\nbase = @\nbase_format = 'raw'\n",
    "kernel": "boot = { kernel = @ }\n",
    "initrd": "boot = { kernel = 'k', initrd = @ }\n",
    "cmdline": "boot = { kernel = 'k', cmdline = @ }\n",
    "cpu": "cpu = @\n",
    "user": "user = @\n",
    "uuid": "uuid = @\n",
    "mac": "[[nic]]\nmac = @\n",
    "nic": "[[nic]]\nname = @\n",
    "network": "[[nic]]\nnetwork = @\n",
    "ready": "ready = @\n",
    "memory": "memory = @\n",
    "machine": "machine = @\n",
    "watchdog": "watchdog = @\n",
}


def reader(words: list[str]) -> list[tuple[str, Any]]:
    """A QEMU command line read by somebody else: (flag, keys and values)."""
    found: list[tuple[str, Any]] = []
    left = iter(words)
    for flag in left:
        assert flag.startswith("-"), flag
        if flag in {"-nodefaults", "-no-user-config", "-enable-kvm", "-S"}:
            found.append((flag, None))
        elif flag in _JSON:
            found.append((flag, json.loads(next(left))))
        elif flag in {"-append", "-kernel", "-initrd", "-uuid", "-vnc"}:
            found.append((flag, next(left)))
        else:
            pieces = next(left).replace(",,", "\0").split(",")
            found.append((flag, [piece.replace("\0", ",").partition("=") for piece in pieces]))
    return found


def shape(value: object) -> object:
    """The keys of a value, without what is in them."""
    if isinstance(value, dict):
        return {key: shape(one) for key, one in value.items()}
    if isinstance(value, list):
        return [(one[0], one[1]) if isinstance(one, tuple) else shape(one) for one in value]
    return type(value).__name__


def _argv(guest: Guest, lab: Any, place: Any) -> list[str]:
    """The words as run, each handle given a number."""
    options = tuple(guest.options(place, vhost=False))
    table = {handle: [number] for number, handle in enumerate({h for one in options for h in one.handles()}, 10)}
    return [word for one in qemu_option.argv(options, table) for word in one]


def test_no_string_is_more_than_one_value(lab: Path, own_directories: Path, tally: Tally) -> None:
    row = tally.row("V-06", "strings in every free field: no key and no option more than with a plain one", 10_000)
    where = Paths(vms=str(lab), run=str(own_directories / "run"), state=str(own_directories / "state"), root=True)
    taken = dict.fromkeys(FIELDS, 0)
    for seed in range(row.count(400)):
        chance = random.Random(seed)
        field = list(FIELDS)[seed % len(FIELDS)]
        word = hostile.text(chance) if chance.random() < 0.6 else chance.choice(hostile.strings())
        word = _whole(word) or "x"
        with row.case(f"{field} {word!r:.60}"):
            for name, value in (("g1", word), ("g2", _plain(field))):
                (lab / f"{name}.toml").write_text(FIELDS[field].replace("NAME", name).replace("@", _toml(value)))
            found = load_lab(str(lab), where.images)
            assert "g2" in found.guests, found.problems
            if "g1" not in found.guests:
                continue
            taken[field] += 1
            places = found.derived_runtimes(where)
            one, other = (reader(_argv(found.guests[name], found, places[name])) for name in ("g1", "g2"))
            assert [flag for flag, _ in one] == [flag for flag, _ in other]
            if field not in {"cpu", "machine"}:
                assert [shape(value) for _, value in one] == [shape(value) for _, value in other]
            if field == "cmdline":
                assert dict(one)["-append"] == word
    with row.case("strings that were taken"):
        assert sum(taken.values()) > row.cases / 20, taken


def _whole(word: str) -> str:
    """Without half characters, which TOML has not."""
    return "".join(char for char in word if not 0xD800 <= ord(char) < 0xE000)


def _toml(word: str) -> str:
    """Any text as a TOML string."""
    return '"' + "".join(f"\\U{ord(char):08x}" for char in _whole(word)) + '"'


def _plain(field: str) -> str:
    plain = {
        "mac": "52:54:00:00:00:77",
        "uuid": "6b766d72-756e-4d8a-9c0e-5b3f1d2a7c64",
        "memory": "32M",
        "machine": "q35",
    }
    plain |= {"network": "lan", "ready": "running", "watchdog": "none", "cpu": "max", "nic": "wan", "base": "b.raw"}
    return plain.get(field, "plain")


@pytest.mark.usefixtures("netns", "tun")
@pytest.mark.timeout(1800)
def test_qemu_itself_knows_no_key_more(
    lab: Path, kvmrun: Cli, own_directories: Path, images: Path, tally: Tally
) -> None:
    row = tally.row("V-06", "strings in every free field: no key and no option more than with a plain one", 200)
    (images / "k").write_bytes(bytes(MIB))
    words = [word for word in hostile.strings() if word.isprintable() and 0 < len(word) < 200]
    chance = random.Random(8)
    plain: dict[str, Any] = {}
    for number in range(row.count(2) + 1):
        word = "plain" if number == 0 else "".join(chance.choice(words) for _ in range(chance.randint(1, 3)))
        name = f"{word}"[:100].replace("/", "_").strip(".") or "x"
        (images / "odd").mkdir(exist_ok=True)
        (images / "odd" / name).write_bytes(bytes(MIB))
        text = f"description = {_toml(word)}\nboot = {{ kernel = 'k', cmdline = {_toml(word)} }}\n"
        guests(lab, "vm1", text=text + drive(images / "odd" / name, format="raw"))
        with row.case(f"{word!r:.60}"):
            kvmrun.ok("--paused", "vm1")
            told = _told(own_directories / "run/vm/vm1/p")
            assert told.pop("append") == word
            plain = plain or told
            assert told == plain, {key: (told[key], plain[key]) for key in plain if told[key] != plain[key]}
        kvmrun("kill", "vm1")
        (images / "odd" / name).unlink()


def _told(path: Path) -> dict[str, Any]:
    """What a QEMU says it was given, but for the words that were."""
    return {
        "append": _ask(path, "qom-get", path="/machine", property="append"),
        "name": _ask(path, "query-name"),
        "uuid": _ask(path, "query-uuid"),
        "chardevs": sorted(one["label"] for one in _ask(path, "query-chardev")),
        "blocks": sorted((one["node-name"][:2], one["drv"]) for one in _ask(path, "query-named-block-nodes")),
        "devices": sorted(one["name"] for one in _ask(path, "qom-list", path="/machine/peripheral")),
        "objects": sorted(one["name"] for one in _ask(path, "qom-list", path="/objects")),
        "more": sorted(one["name"] for one in _ask(path, "qom-list", path="/machine/peripheral-anon")),
    }
