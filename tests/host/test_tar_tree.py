"""Directories in archives: hostile ones in a table, what an honest one keeps, and nothing left of one that fails."""

import io
import os
import shutil
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from support.table import each

from kvmrun.errors import Refused
from kvmrun.host.files import tar_tree
from kvmrun.host.files.safe_directory import opened

Entry = tuple[str, bytes, str]
"""The name, the type, and the target of a link or the bytes of a file."""
FILE, HARD, LINK, DIRECTORY = tarfile.REGTYPE, tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE
TOP: Entry = ("./", DIRECTORY, "")


def archived(*entries: Entry, form: int = tarfile.GNU_FORMAT, mode: int = 0o644) -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w", format=form) as tar:
        for name, kind, text in entries:
            info = tarfile.TarInfo(name)
            info.type, info.mode = kind, mode | (0o111 if kind == DIRECTORY else 0)
            info.linkname = text if kind in {HARD, LINK} else ""
            info.size = len(text) if kind == FILE else 0
            tar.addfile(info, io.BytesIO(text.encode()) if kind == FILE else None)
    return held.getvalue()


def header(change: Callable[[bytearray], None], data: bytes = b"") -> bytes:
    """An archive of one file whose header was changed, with a right checksum."""
    head = bytearray(archived(("x", FILE, ""))[:512])
    change(head)
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head) + data + b"\0" * (-len(data) % 512 + 1024)


def placed(head: bytearray, at: int, data: bytes) -> None:
    head[at : at + len(data)] = data


def extended(records: bytes, data: bytes = b"") -> bytes:
    """An extended header of POSIX with these bytes, before a file."""

    def change(head: bytearray) -> None:
        placed(head, 156, b"x")
        placed(head, 124, b"%011o\0" % len(records))

    return header(change, records)[:-1024] + archived(("x", FILE, data.decode()))


def unpacked(data: bytes, place: Path, name: str = "copy") -> tar_tree.Contents:
    source = place.parent / "archive"
    source.write_bytes(data)
    with opened(str(place)) as directory, source.open("rb") as file:
        return tar_tree.unpack_tree(directory, name, file.fileno())


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "place").mkdir()
    (tmp_path / "outside").write_text("mine")
    return tmp_path / "place"


DEEP = "a/" * 100_000
REFUSED = {
    "traversal": archived(("../outside", FILE, "x")),
    "traversal within": archived(("a/../../outside", FILE, "x")),
    "traversal of a directory": archived(("..", DIRECTORY, "")),
    "absolute": archived(("/tmp/kvmrun-test-outside", FILE, "x")),
    "link, then a file through it": archived(TOP, ("l", LINK, "."), ("l/x", FILE, "x")),
    "link to outside, then a link of its name": archived(("l", LINK, "a"), ("l", LINK, "b")),
    "file where a link is": archived(("l", FILE, "x"), ("l", LINK, "b")),
    "hard link to a file of the host": archived(("x", HARD, "/etc/shadow")),
    "hard link upwards": archived(("x", HARD, "../outside")),
    "hard link to nothing": archived(("x", HARD, "y")),
    "hard link to a directory": archived(TOP, ("d", DIRECTORY, ""), ("x", HARD, "d")),
    "hard link to the top": archived(TOP, ("x", HARD, ".")),
    "hard link to a link": archived(("l", LINK, "../outside"), ("x", HARD, "l")),
    "hard links to many bytes": archived(("x", FILE, "x" * 100_000), *((f"{n}", HARD, "x") for n in range(200))),
    "duplicate names": archived(("x", FILE, "1"), ("./x", FILE, "2")),
    "file, then a directory": archived(("x", FILE, "1"), ("x/y", FILE, "2")),
    "directory, then a file": archived(("x", DIRECTORY, ""), ("x", FILE, "2")),
    "top is a file": archived((".", FILE, "1")),
    "top is a link": archived((".", LINK, "/etc")),
    "no name": archived(("", FILE, "1")),
    "nested": archived((DEEP, DIRECTORY, "")),
    "nested in the limit of a name": archived(("a/" * 2000, DIRECTORY, "")),
    "nested, extended": extended(b"%d path=%s\n" % (len(DEEP) + 13, DEEP.encode())),
    "directories out of nothing": archived(*((f"{n}/" + "a/" * 150, DIRECTORY, "") for n in range(3))),
    "long component": archived(("a" * 300, FILE, "x")),
    "NUL": extended(b"12 path=a\0b\n"),
    "traversal, extended": extended(b"19 path=../outside\n"),
    "extended size": extended(b"16 size=9999999\n"),
    "extended size below zero": extended(b"11 size=-5\n"),
    "record below zero": extended(b"-9 path=a\n"),
    "record of nothing": extended(b"0 path=a\n"),
    "record too long": extended(b"99 path=a\n"),
    "record of digits": extended(b"9" * 5000),
    "sparse, extended": extended(b"22 GNU.sparse.major=1\n"),
    "sparse": header(lambda head: placed(head, 156, b"S")),
    "huge": header(lambda head: placed(head, 124, b"77777777777\0")),
    "huger": header(lambda head: placed(head, 124, b"\x80" + b"\xff" * 11)),
    "below zero": header(lambda head: placed(head, 124, b"\xff" * 12)),
    "no number": header(lambda head: placed(head, 124, b"12x\0")),
    "huge long name": header(lambda head: (placed(head, 156, b"L"), placed(head, 124, b"\x80" + b"\xff" * 11))[0]),
    "wrong checksum": archived(("x", FILE, "1")).replace(b"x", b"y", 1),
    "truncated in a file": archived(("x", FILE, "x" * 5000))[:2000],
    "truncated in a header": archived(("x", FILE, ""), ("y", FILE, ""))[:700],
    "truncated between files": archived(("x", FILE, ""), ("y", FILE, ""))[:1024],
    "empty": b"",
    "no archive": os.urandom(10_000),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_hostile_archive_is_refused_and_leaves_nothing(what: str, place: Path) -> None:
    with pytest.raises(Refused):
        unpacked(REFUSED[what], place)
    assert list(place.iterdir()) == []
    assert (place.parent / "outside").read_text() == "mine"
    assert not Path("/tmp/kvmrun-test-outside").exists()


def test_any_damage_is_refused_or_stays_inside(place: Path) -> None:
    entries = (TOP, ("d", DIRECTORY, ""), ("d/x", FILE, "1"), ("d/l", LINK, "x"), ("n" * 120, FILE, ""))
    whole = archived(*entries)

    def check(at: int) -> None:
        shutil.rmtree(place)
        place.mkdir()
        data = bytearray(whole)
        data[at % len(data)] ^= 0xFF
        try:
            unpacked(bytes(data), place)
        except Refused:
            assert list(place.iterdir()) == []
        assert {path.name for path in place.iterdir()} <= {"copy"}
        assert sorted(path.name for path in place.parent.iterdir()) == ["archive", "outside", "place"]

    each(range(0, 4096, 37), check)


@pytest.mark.parametrize(
    "target", ["/etc/passwd", "..", "../x", "../../x", "d/../../x", "d/../x", "./../x", "", "/", "d/e/../../../x"]
)
def test_a_link_that_could_lead_outside_is_skipped(target: str, place: Path) -> None:
    done = unpacked(archived(TOP, ("x", FILE, "1"), ("l", LINK, target)), place)
    assert [path.name for path in (place / "copy").iterdir()] == ["x"]
    assert len(done.skipped) == 1
    assert done.skipped[0].startswith("l: ")


def test_no_file_goes_through_a_link_to_outside(place: Path) -> None:
    done = unpacked(archived(TOP, ("l", LINK, "../.."), ("l/outside", FILE, "x")), place)
    assert (place / "copy/l/outside").read_text() == "x"
    assert (place.parent / "outside").read_text() == "mine"
    assert len(done.skipped) == 1


def test_a_name_at_the_top_can_be_left_out(place: Path) -> None:
    (place.parent / "archive").write_bytes(archived(TOP, ("own/x", FILE, "1"), ("a/own", FILE, "2"), ("b", FILE, "3")))
    with opened(str(place)) as directory, (place.parent / "archive").open("rb") as file:
        tar_tree.unpack_tree(directory, "copy", file.fileno(), b"own")
    assert {str(path.relative_to(place)) for path in place.rglob("*")} == {"copy", "copy/a", "copy/a/own", "copy/b"}


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, b"Z"])
def test_what_is_no_file_is_skipped(kind: bytes, place: Path) -> None:
    done = unpacked(archived(TOP, ("device", kind, ""), ("x", FILE, "1")), place)
    assert [path.name for path in (place / "copy").iterdir()] == ["x"]
    assert done.skipped[0].startswith("device: ")


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
def test_an_honest_archive_of_each_format(form: int, place: Path) -> None:
    long = f"{'d' * 90}/{'n' * 90}"
    entries = (
        TOP,
        ("d" * 90, DIRECTORY, ""),
        (long, FILE, "long"),
        ("e", DIRECTORY, ""),
        ("e/up", LINK, "../" + "d" * 90),
    )
    shared = (("e/x", FILE, "data"), ("e/same", HARD, "e/x"))
    done = unpacked(archived(*entries, *shared, form=form, mode=0o6755), place)
    copy = place / "copy"
    assert (copy / long).read_text() == (copy / "e/up" / ("n" * 90)).read_text() == "long"
    assert (copy / "e/x").read_text() == (copy / "e/same").read_text() == "data"
    assert (copy / "e/same").stat().st_nlink == 1
    assert {stat.S_IMODE(path.lstat().st_mode) for path in (copy, copy / "e", copy / long)} == {0o700}
    assert f"{done}" == "3 files, 12 bytes"


@pytest.mark.parametrize("make", [Path.mkdir, Path.touch, lambda path: path.symlink_to("nowhere")])
def test_an_existing_name_is_refused(make: Callable[[Path], None], place: Path) -> None:
    make(place / "copy")
    with pytest.raises(Refused, match="copy"):
        unpacked(archived(TOP, ("x", FILE, "1")), place)
    assert [path.name for path in place.iterdir()] == ["copy"]
    assert not (place / "copy/x").exists()


def test_there_and_back(place: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "empty").mkdir(parents=True)
    (source / "deep/er").mkdir(parents=True)
    (source / "deep/er/file").write_bytes(os.urandom(3_000_000))
    (source / "deep/er/file").chmod(0o4750)
    (source / os.fsdecode(b"not utf-8 \xff")).write_text("x")
    (source / ("long" * 60)).write_text("y")
    (source / "link").symlink_to("deep/er")
    (source / "away").symlink_to("/etc")
    (source / "deep").chmod(0o555)
    os.mkfifo(source / "fifo")
    (tmp_path / "by-link").symlink_to("source")
    with (tmp_path / "packed").open("w+b") as packed:
        done = tar_tree.pack_tree(str(tmp_path / "by-link"), packed)
    assert (done.files, [one.partition(":")[0] for one in done.skipped]) == (3, ["./fifo"])
    told = unpacked((tmp_path / "packed").read_bytes(), place)
    assert [one.partition(":")[0] for one in told.skipped] == ["away"]
    assert (told.files, told.size) == (done.files, done.size)
    want = {name: found for name, found in listed(source).items() if name not in {"fifo", "away"}}
    assert listed(place / "copy") == want
    assert (place / "copy/deep/er/file").stat().st_mode & 0o7777 == 0o700
    assert (place / "copy/deep").stat().st_mode & 0o7777 == 0o500


def listed(top: Path) -> dict[str, tuple[int, bytes]]:
    """Of each name below `top`: its kind, and the bytes of a file or the target of a link."""
    found = {}
    for path in top.rglob("*"):
        kind = stat.S_IFMT(path.lstat().st_mode)
        data = os.fsencode(os.readlink(path)) if kind == stat.S_IFLNK else b""
        found[f"{path.relative_to(top)}"] = (kind, path.read_bytes() if kind == stat.S_IFREG else data)
    return found
