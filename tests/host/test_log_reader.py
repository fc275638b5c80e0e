"""Reading a log on, whatever its logger does to the files meanwhile."""

from pathlib import Path

from kvmrun.host.process import log_reader
from kvmrun.host.process.log_reader import Reader

OLD, NEW = "@40000000653000000000000a.s", "@40000000653000000000000b.u"


def write(path: Path, *lines: str) -> None:
    with path.open("a") as file:
        file.writelines(f"{line}\n" for line in lines)


def words(lines: list[bytes]) -> list[str]:
    return [line.decode() for line in lines]


def last_of(path: Path, count: int) -> list[bytes]:
    with Reader(str(path)) as reader:
        return reader.last(count)


def test_the_last_lines_are_of_all_files(tmp_path: Path) -> None:
    write(tmp_path / NEW, "c", "d")
    write(tmp_path / OLD, "a", "b")
    write(tmp_path / "current", "e")
    write(tmp_path / "state", "x")
    assert words(last_of(tmp_path, 4)) == ["b", "c", "d", "e"]
    assert words(last_of(tmp_path, 99)) == ["a", "b", "c", "d", "e"]
    assert last_of(tmp_path, 0) == []


def test_what_follows_is_whole_lines(tmp_path: Path) -> None:
    current = tmp_path / "current"
    write(current, "a", "b")
    with Reader(str(tmp_path)) as reader:
        assert words(reader.last(1)) == ["b"]
        assert reader.more() == []
        with current.open("a") as file:
            file.write("be")
        assert reader.more() == []
        write(current, "gun", "")
        assert words(reader.more()) == ["begun", ""]


def test_files_are_followed_when_they_are_renamed(tmp_path: Path) -> None:
    current = tmp_path / "current"
    write(current, "a")
    with Reader(str(tmp_path)) as reader:
        assert words(reader.last(9)) == ["a"]
        write(current, "b")
        with current.open("a") as file:
            file.write("no end")
        current.rename(tmp_path / OLD)
        write(current, "c")
        current.rename(tmp_path / NEW)
        write(current, "d")
        assert words(reader.more()) == ["b", "no end", "c", "d"]
        write(current, "e")
        assert words(reader.more()) == ["e"]


def test_files_that_fell_off_are_passed_over(tmp_path: Path) -> None:
    current = tmp_path / "current"
    write(current, "a")
    with Reader(str(tmp_path)) as reader:
        reader.last(9)
        current.unlink()
        write(tmp_path / NEW, "y")
        write(current, "z")
        assert words(reader.more()) == ["y", "z"]


def test_a_log_that_begins_later(tmp_path: Path) -> None:
    with Reader(str(tmp_path / "vm1")) as reader:
        assert reader.last(9) == reader.more() == []
        (tmp_path / "vm1").mkdir()
        write(tmp_path / "vm1/current", "a")
        assert words(reader.more()) == ["a"]


def test_no_link_is_followed(tmp_path: Path) -> None:
    write(tmp_path / "secret", "s")
    (tmp_path / "log").mkdir()
    (tmp_path / "log/current").symlink_to(tmp_path / "secret")
    assert last_of(tmp_path / "log", 9) == []
    assert not log_reader.has_writer(str(tmp_path / "log"))
