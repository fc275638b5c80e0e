"""Definitions that mean harm: any bytes, any names, any kind of file, any owner. One row each, soon, and no bug."""

import json
import os
import random
import re
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import hostile
from support.cli import Cli, Result
from support.tally import Tally

from kvmrun.config.load_lab import load_lab
from kvmrun.model import derive
from kvmrun.model.printable import printable
from kvmrun.model.scalars import GuestName

SOON = 0.5
IMAGES = "/images"
STEMS = ("vm1", "networks", "defaults")
KEYS = re.findall(
    r"\S+",
    """description os
    machine accel cpu cpus memory boot boot.kernel boot.cmdline boot.order drive nic console display args
    uuid user uplink groups autostart after ready protect on_reboot on_crash watchdog image base format size media
    network mac address model queues guard forwarding seed firewall network.lan network.lan.dhcp network.lan.dns
    network.lan.bridge network.lan.subnet network.lan.host network.lan.forward network.lan.nat network.lan.ipv6
    network.lan.mtu uplink.wan uplink.wan.interface uplink.wan.table x x.y.z""",
)
VALUES = re.findall(
    r"\S+",
    """true false 0 -1 1 255 65536 9223372036854775807 18446744073709551616 1.5 nan inf -inf 0xff 0b1 1e400 [] {} [[]]
    [{}] [1,"a"] {a=1} "" "kvm" "a.raw" "a.qcow2" "1G" "0G" "999999999999T" "lan" "10.0.0.0/24" "10.0.0.1" "::1"
    "52:54:00:00:00:01" "52:54:00:00:00:01\\n" "host" "port:22" "port:0" "console:" "tcp\\u00201\\u0020->vm1:2" "@lab"
    1979-05-27 1979-05-27T07:32:00Z 07:32:00 '''\\nx''' [[[[[[[[1]]]]]]]] {a={b={c={d=1}}}} "vm1" [ ] " = """,
)


def toml(word: str) -> str:
    """A TOML string of any text TOML can hold."""
    return '"' + "".join(f"\\U{ord(c):08x}" for c in word if not 0xD800 <= ord(c) < 0xE000) + '"'


def trees(chance: random.Random, depth: int = 3) -> str:
    """A value of any type, as TOML."""
    kind = chance.randrange(6 if depth else 4)
    if kind == 4:
        return f"[{', '.join(trees(chance, depth - 1) for _ in range(chance.randrange(4)))}]"
    if kind == 5:
        names = dict.fromkeys(chance.choice(KEYS).split(".")[-1] for _ in range(chance.randrange(3)))
        return "{" + ", ".join(f"{name} = {trees(chance, depth - 1)}" for name in names) + "}"
    return (chance.choice(VALUES), toml(hostile.text(chance)), str(chance.randrange(-9, 1 << 65)), "true")[kind]


def generated(chance: random.Random) -> bytes:
    """A file of one of three kinds: bytes, text that looks like TOML, and a tree of values that is TOML."""
    kind = chance.randrange(3)
    if kind == 0:
        return chance.randbytes(chance.randrange(300))
    if kind == 1:
        marks = ["=", "[", "]", "{", "}", '"', "'", '"""', "\n", "#", ".", ",", "\\", "\\u00", " ", "\0", "\ufeff"]
        return "".join(chance.choice([*marks, *KEYS, *VALUES]) for _ in range(chance.randrange(60))).encode()
    lines = dict.fromkeys(chance.choice(KEYS) for _ in range(chance.randrange(6)))
    heads = [chance.choice(["", "[drive]", "[[drive]]", "[[nic]]", "[boot]", "[network.lan]", "[uplink.a]"])]
    return "\n".join([*heads, *(f"{key} = {trees(chance)}" for key in lines)]).encode()


def curated() -> dict[str, bytes]:
    """More than five hundred, by name: each key with each value it could choke on, and files that are hardly files."""
    found: dict[str, bytes] = {}
    for key in KEYS[:34]:
        head = "[[drive]]\n" if key in {"image", "base", "format", "size", "media"} else ""
        head = "[[nic]]\n" if key in {"network", "mac", "address", "model", "queues", "guard", "forwarding"} else head
        for value in VALUES[:20]:
            found[f"{key} = {value}"] = f"{head}{key} = {value}\n".encode()
    for word in hostile.strings():
        found[f"description {word[:20]!r}"] = f"description = {toml(word)}\n".encode()
        found[f"image {word[:20]!r}"] = f"[[drive]]\nimage = {toml(word)}\n".encode()
        found[f"key {word[:20]!r}"] = f"{toml(word)} = 1\n".encode()
    for size in (100, 5000, 16000):
        for mark in (
            "[",
            "{a=",
            "a.",
            '"".',
            "[[",
            "'",
            '"',
            "\\",
            "=",
            "\0",
            "\n",
            "#",
            "9",
            "0x",
            "é",
            "[x]\n",
            "x=1\n",
        ):
            found[f"{size} of {mark!r}"] = (mark * (size // len(mark))).encode()
    return found


def judge(lab: Path, content: bytes, stem: str = "vm1") -> None:
    """Load the lab with `content` as the one file that means harm; raises what is wrong with how that went."""
    for name in STEMS:
        (lab / f"{name}.toml").write_bytes(content if name == stem else b"")
    began = time.process_time()
    found = load_lab(str(lab), IMAGES)
    took = time.process_time() - began
    assert took < SOON, f"{took:.2f} s"
    assert {*found.invalid, *found.guests} == {"vm1"}, "not one row"
    assert found.problems or not found.invalid, "invalid and not a word why"
    assert all(problem.file and printable(problem) == str(problem) for problem in found.problems)


def well(result: Result, *codes: int) -> None:
    """A command ended as documented: one of the codes, and no traceback."""
    assert result.code in codes, f"exit {result.code}: {result.out}{result.err}"
    assert "Traceback" not in result.out + result.err


def test_any_file_is_a_definition_or_a_row_that_says_why(lab: Path, kvmrun: Cli, tally: Tally) -> None:
    row = tally.row("V-01", "generated definitions: bytes, text and trees", 10_000)
    whole = tally.row("V-01", "generated definitions: bytes, text and trees", 60)
    for seed in range(row.count(600)):
        chance = random.Random(seed)
        content, stem = generated(chance), chance.choice(STEMS)
        with row.case(f"{stem} {seed}"):
            judge(lab, content, stem)
    for seed in range(whole.count(2)):
        judge(lab, generated(random.Random(seed)))
        with whole.case(f"check {seed}"):
            found = hostile.measured([*kvmrun.words, "check", "-o", "json"], str(lab.parent / "note"))
            well(Result(found.code, found.out, found.err), 0, 5)
            json.loads(found.out)
            assert found.rss < 64 << 10, f"{found.rss} KiB"


def test_curated_files_cost_their_row(lab: Path, tally: Tally) -> None:
    files = curated()
    row = tally.row("V-02", "curated hostile definitions", 500)
    chosen = files if tally.full else random.Random(1).sample(sorted(files), row.count(200))
    for name in chosen:
        with row.case(name):
            judge(lab, files[name])


def test_one_bad_file_never_hides_two_hundred_good_ones(lab: Path, kvmrun: Cli, tally: Tally) -> None:
    row = tally.row("V-03", "one hostile definition among 200 good ones", 500)
    for number in range(200):
        (lab / f"vm{number}.toml").touch()
    files = curated()
    for name in random.Random(2).sample(sorted(files), row.count(4)):
        (lab / "bad.toml").write_bytes(files[name])
        with row.case(name):
            began = time.process_time()
            found = load_lab(str(lab), IMAGES)
            assert time.process_time() - began < 3
            good = {f"vm{number}" for number in range(200)}
            assert good <= {*found.guests} or any(one.file == "vm1.toml" for one in found.problems)
            assert {*found.guests, *found.invalid} == {*good, "bad"}
    with row.case("the list itself"):
        (lab / "bad.toml").write_bytes(b"cpus = [")
        states = [one["state"] for one in kvmrun.rows().values()]
        assert (states.count("stopped"), states.count("invalid")) == (200, 1)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as at:
        at.bind(str(path))


def _big(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 30)


SPECIAL: dict[str, Callable[[Path], object]] = {
    "FIFO": os.mkfifo,
    "socket": _socket,
    "device": lambda path: os.mknod(path, 0o020600, os.makedev(1, 5)),
    "tty": lambda path: path.symlink_to("/dev/tty"),
    "directory": lambda path: path.mkdir(),
    "dangling link": lambda path: path.symlink_to("nowhere"),
    "looping link": lambda path: path.symlink_to(path),
    "link to zeros": lambda path: path.symlink_to("/dev/zero"),
    "link to memory": lambda path: path.symlink_to("/proc/self/mem"),
    "link to the kernel's log": lambda path: path.symlink_to("/proc/kmsg"),
    "nothing in it": lambda path: path.touch(),
    "1 GiB": _big,
}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: to make a device")
def test_what_is_no_file_is_a_row_at_once(lab: Path, kvmrun: Cli, tally: Tally) -> None:
    row = tally.row("V-04", "special files in the place of a definition", 24)
    (lab / "good.toml").touch()
    for kind, make in SPECIAL.items():
        for stem in ("vm1", "networks"):
            make(lab / f"{stem}.toml")
            with row.case(f"{kind} as {stem}"):
                found = load_lab(str(lab), IMAGES)
                assert "good" in {*found.guests, *found.invalid}
                assert bool(found.problems) != (kind == "nothing in it")
            if (lab / f"{stem}.toml").is_dir() and not (lab / f"{stem}.toml").is_symlink():
                (lab / f"{stem}.toml").rmdir()
            else:
                (lab / f"{stem}.toml").unlink()
    os.mkfifo(lab / "fifo.toml")
    assert kvmrun.rows()["fifo"]["state"] == "invalid"


def names() -> list[str]:
    """Names that are none: of paths, options, formats, terminals, and those that are almost right."""
    almost = [
        "",
        "-",
        "--",
        "-x",
        "x-",
        "X",
        "Vm1",
        "a_b",
        "a.b",
        "a b",
        "a\n",
        "\na",
        "a\0",
        "é",
        "\uff41",
        "1" * 33,
        "a" * 64,
    ]
    almost += [
        "a" * 33,
        "vm1\r",
        "vm1 ",
        " vm1",
        "vm1\t",
        "\u0430",
        "\u0131",
        "ß",
        "vm\u200b1",
        "²",
        "\u0661",
        "vm1/",
        "/vm1",
        "./vm1",
    ]
    paths = [
        "..",
        ".",
        "../x",
        "../../etc/passwd",
        "/etc/passwd",
        "x/../y",
        "a/b",
        "~",
        "~root",
        "\\",
        "C:\\x",
        "a" * 300,
    ]
    paths += ["../vm/vm1", "vm1/../vm2", "vm1/life", ".vm1", "..vm1", "vm1..", "vm1.toml", "vm1\\x00"]
    return list(dict.fromkeys([*almost, *paths, *(word for word in hostile.strings() if not _is_name(word))]))


def _is_name(word: str) -> bool:
    try:
        return bool(GuestName.parse(word))
    except ValueError:
        return False


def test_a_name_that_is_none_is_refused_wherever_it_comes_from(
    lab: Path, kvmrun: Cli, own_directories: Path, tally: Tally
) -> None:
    row = tally.row("V-05", "names that are none: on the command line, as a file, in the run directory", 120)
    (lab / "good.toml").touch()
    chosen = names()
    chosen = chosen if tally.full else random.Random(5).sample(chosen, row.count(60))
    for name in chosen:
        with row.case(f"file {name[:40]!r}"):
            assert not _is_name(name)
            _as_file(lab, name)
    for number, name in enumerate(one for one in chosen if "\0" not in one and _encodes(one)):
        if tally.full or number % 12 == 0:
            with row.case(f"word {name[:40]!r}"):
                for command in ("show", "stop") if tally.full else ("stop",):
                    well(kvmrun(command, "--", name) if name.startswith("-") else kvmrun(command, name), 2, 4)
    vm = own_directories / "run/vm"
    vm.mkdir(parents=True, mode=0o700)
    made = [name for name in chosen if _makes(vm, name)]
    for name in made:
        with row.case(f"in the run directory {name[:40]!r}"):
            assert name not in kvmrun.words
    assert set(kvmrun.rows()) == {"good"}


def _encodes(name: str) -> bool:
    try:
        return len(os.fsencode(name)) < 4000
    except UnicodeEncodeError:
        return False


def _makes(place: Path, name: str) -> bool:
    """Make a directory of that name in `place`; False where the kernel has no such name."""
    if "/" in name or name in {"", ".", ".."}:
        return False
    try:
        (place / name).mkdir()
    except (OSError, ValueError):
        return False
    return True


def _as_file(lab: Path, name: str) -> None:
    if "/" in name or not _encodes(name):
        return
    path = lab / f"{name}.toml"
    try:
        path.touch()
    except (OSError, ValueError):
        return
    try:
        found = load_lab(str(lab), IMAGES)
        assert list(found.guests) == ["good"]
        assert len(found.invalid) == (0 if name.startswith(".") or not name else 1)
        assert all(hostile.harm(text) == "" for text in (*found.invalid, *map(str, found.problems)))
    finally:
        path.unlink()


def test_no_socket_has_a_path_too_long(lab: Path, own_directories: Path, tally: Tally) -> None:
    from kvmrun.errors import Refused
    from kvmrun.host.rundir import rundir
    from kvmrun.model.machine.chardevs import CONSOLE, MONITORS

    row = tally.row("V-07", "longest names below the longest run directory", 40)
    guest = "a" * 32
    for length in range(24, 107):
        run = str(own_directories / "run")
        run += "x" * (length - len(run))
        try:
            rundir.prepare(run)
        except Refused:
            continue
        with row.case(f"{length} bytes"):
            names = (*MONITORS, CONSOLE, f"{CONSOLE}.new", "a")
            for path in (f"{run}/vm/{guest}/{name}" for name in names):
                assert len(os.fsencode(path)) <= 107, path
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with socket.socket(socket.AF_UNIX) as at:
                    at.bind(path)
                os.unlink(path)


def _owned(kind: str) -> Iterator[tuple[str, int, int]]:
    """(which component, its mode, its owner) that root must not believe."""
    for which in ("file", "directory", "parent", "grandparent", "networks.toml"):
        yield which, 0o777 if kind == "directory" else 0o666, 0
        yield which, 0o775, 0
        yield which, 0o755, 4242
    yield "parent", 0o1777, 4242


def _point(tree: Path, at: str, to: Path) -> Path:
    """A link below the tree at `at`."""
    (tree / at).symlink_to(to)
    return tree / at


def test_what_another_could_have_written_root_does_not_read(own_directories: Path, tally: Tally) -> None:
    from kvmrun.config.standard_paths import is_distrusted, require_trusted_lab
    from kvmrun.errors import Refused

    if os.geteuid() != 0:
        pytest.skip("needs root: to give files away")
    row = tally.row("V-08", "labs that another user could have written, the component named", 22)
    grand = own_directories / "grand"
    lab = grand / "parent" / "vms.d"
    lab.mkdir(parents=True, mode=0o755)
    parts = {"grandparent": grand, "parent": lab.parent, "directory": lab}
    parts |= {name: lab / name for name in ("vm1.toml", "networks.toml")}
    for path in parts.values():
        if path.suffix:
            path.touch(mode=0o644)
    parts["file"] = parts.pop("vm1.toml")
    require_trusted_lab(str(lab), {})
    for which, mode, owner in _owned(""):
        path = parts[which]
        before = path.stat().st_mode & 0o7777
        path.chmod(mode)
        os.chown(path, owner, 0)
        with row.case(f"{which} {mode:o} of {owner}"):
            if which == "file":
                assert str(path) in is_distrusted(str(lab), {})["vm1.toml"]
            else:
                with pytest.raises(Refused) as reason:
                    require_trusted_lab(str(lab), {})
                assert str(path) in reason.value.message + reason.value.fix + reason.value.reason
        path.chmod(before)
        os.chown(path, 0, 0)
    require_trusted_lab(str(lab), {})
    for name, made in _ways_by_links(own_directories, lab):
        if made == lab:
            with row.case(name):
                assert list(is_distrusted(str(lab), {})) == ["vm9.toml"]
            continue
        with row.case(name), pytest.raises(Refused):
            require_trusted_lab(str(made), {})


def _ways_by_links(root: Path, lab: Path) -> Iterator[tuple[str, Path]]:
    """Links by which another user could lead us elsewhere after the look."""
    theirs = root / "theirs"
    theirs.mkdir()
    other = root / "other"
    other.mkdir()
    own = _point(theirs, "own", lab)
    os.chown(theirs, 4242, 4242)
    os.chown(own, 4242, 4242, follow_symlinks=False)
    yield "a link of theirs", own
    yield "a link of ours to a link of theirs", _point(other, "first", own)
    yield "a directory behind a link of theirs", _point(other, "second", theirs / "own")
    through = _point(theirs, "up", lab.parent)
    os.chown(through, 4242, 4242, follow_symlinks=False)
    yield "a link of theirs on the way", through / "vms.d"
    yield "a link of ours to that way", _point(other, "third", through / "vms.d")
    way = _point(lab, "vm9.toml", theirs / "own" / "vm1.toml")
    yield "a definition behind a link of theirs", lab
    way.unlink()


def test_no_two_guests_are_one_without_a_word(lab: Path, tally: Tally) -> None:
    row = tally.row("V-09", "names whose MACs, UUIDs, taps and accounts are derived: what coincides is told", 1_000_000)
    count = row.count(100_000)
    seen: dict[str, str] = {}
    accounts: dict[int, str] = {}
    twins: list[tuple[str, str]] = []
    same: list[tuple[str, str]] = []
    for number in range(count):
        name = f"vm{number}"
        row.cases += 1
        if (other := seen.setdefault(derive.mac("", name, "eth0"), name)) != name:
            twins.append((other, name))
        if (other := accounts.setdefault(derive.uid("", name), name)) != name:
            same.append((other, name))
    # 32 bits of MAC: n*n/2/2^32 pairs; 27 bits of account: n*n/2/2^27
    for found, bits, what in ((twins, 32, "MACs"), (same, 27, "accounts")):
        odds = count * count / 2 / (1 << bits)
        with row.case(f"{len(found)} pairs of {what}, {odds:.0f} to be expected"):
            assert odds / 2 - 5 <= len(found) <= odds * 2 + 5
    (lab / "networks.toml").write_text('[network.lan]\nsubnet = "10.0.0.0/16"\n')
    for pair in [*twins[:20], *same[:20]]:
        for name in pair:
            (lab / f"{name}.toml").touch()
        with row.case(pair):
            told = load_lab(str(lab), IMAGES)
            assert any(one.file[:-5] in pair and not one.warning for one in told.problems), "not a word"
        for name in pair:
            (lab / f"{name}.toml").unlink()
