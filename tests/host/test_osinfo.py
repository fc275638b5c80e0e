"""osinfo-db: where its files are looked for, what they say, what damage costs, and which media they describe."""

import os
from pathlib import Path

import pytest
from support import osinfo
from support.osinfo import GIB, TOYS, identity_of, iso, media, needs, resources, system, write

from kvmrun.host.osinfo.database import OsDatabase, database
from kvmrun.host.osinfo.detect_media import detect_os
from kvmrun.host.osinfo.iso_volume import read_volume
from kvmrun.host.osinfo.os_file import parse_os
from kvmrun.model.osinfo.os_facts import OsFacts, OsMissing
from kvmrun.model.osinfo.os_name import OsName

INSTALLED = Path("/usr/share/osinfo/os")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return osinfo.toys(tmp_path / "db", monkeypatch)


def known(*places: Path) -> OsDatabase:
    return OsDatabase(tuple(map(str, places)), root=False)


def facts(found: OsDatabase, name: str) -> OsFacts:
    told = found.facts(OsName(name))
    assert isinstance(told, OsFacts), told
    return told


def missing(found: OsDatabase, name: str) -> OsMissing:
    told = found.facts(OsName(name))
    assert isinstance(told, OsMissing), told
    return told


class TestFacts:
    def test_what_is_not_told_is_taken_over_from_those_it_descends_from(self, root: Path) -> None:
        one, two, copy = (facts(known(root), name) for name in ("toy1", "toy2", "copy2"))
        assert (one.minimum.memory, one.recommended.memory, one.storage()) == (GIB // 2, GIB, 8 * GIB)
        assert (two.recommended, copy.recommended) == (one.recommended, one.recommended)
        assert one.devices == two.devices == copy.devices != frozenset()
        assert (copy.bios, copy.uefi, copy.name, copy.id) == (True, True, "copy2", "http://toy.org/copy/2")

    def test_sizes_are_told_without_a_look_at_more_ancestors_than_needed(self, root: Path) -> None:
        write(
            root,
            "new3",
            system("new3", '<derives-from id="http://toy.org/toy/2"/>' + needs(resources("minimum", 1, GIB))),
        )
        (root / "os/toy.org/toy-2.xml").write_text("damaged")
        told = known(root).sizes(OsName("new3"))
        assert isinstance(told, OsFacts)
        assert told.minimum.memory == GIB

    def test_its_own_word_counts_before_that_of_an_ancestor(self, root: Path) -> None:
        device = TOYS["toy1"].partition('<device id="')[2].partition('"')[0]
        own = f'<derives-from id="http://toy.org/toy/1"/><devices><device id="{device}" supported="false"/></devices>'
        own += "<firmware arch='x86_64' type='efi' supported='false'/>" + needs(resources("minimum", 1, 2 * GIB))
        write(root, "odd3", system("odd3", own))
        found = facts(known(root), "odd3")
        assert device not in found.devices
        assert found.devices
        assert not found.uefi
        assert (found.minimum.memory, found.recommended.memory) == (2 * GIB, None)

    def test_resources_may_be_those_of_the_ancestor_by_a_word(self, root: Path) -> None:
        write(
            root,
            "odd3",
            system("odd3", '<derives-from id="http://toy.org/toy/1"/><resources arch="all" inherit="true"/>'),
        )
        assert facts(known(root), "odd3").recommended.memory == GIB

    def test_an_architecture_of_its_own_counts_before_all(self, root: Path) -> None:
        both = needs(resources("minimum", 1, GIB), resources("recommended", 1, GIB))
        both += needs(resources("recommended", 2, 2 * GIB), arch="x86_64") + needs(resources("minimum", 9), arch="i686")
        write(root, "odd3", system("odd3", both))
        found = facts(known(root), "odd3")
        assert (found.minimum.memory, found.minimum.cpus) == (GIB, 1)
        assert (found.recommended.memory, found.recommended.cpus) == (2 * GIB, 2)

    def test_a_circle_of_ancestors_comes_to_an_end(self, root: Path) -> None:
        write(root, "loop1", system("loop1", '<derives-from id="http://toy.org/loop/2"/>'))
        write(
            root,
            "loop2",
            system("loop2", '<clones id="http://toy.org/loop/1"/><derives-from id="http://toy.org/loop/2"/>'),
        )
        assert facts(known(root), "loop1").recommended.memory is None
        write(root, "lost1", system("lost1", '<derives-from id="../../etc/passwd"/><clones id=""/><clones/>'))
        assert facts(known(root), "lost1").devices == frozenset()

    def test_upgrades_take_nothing_over(self, root: Path) -> None:
        write(root, "odd3", system("odd3", '<upgrades id="http://toy.org/toy/1"/>'))
        assert facts(known(root), "odd3").recommended.memory is None

    @pytest.mark.parametrize("value", ["-1", "0", "1e9", "9" * 30, "9" * 5000, "two", "", "1.5", "\uff11"])
    def test_a_number_beyond_belief_is_none(self, root: Path, value: str) -> None:
        write(root, "odd3", system("odd3", needs(resources("minimum", value, value, value))))
        assert facts(known(root), "odd3").minimum.as_dict() == {"cpus": None, "memory": None, "storage": None}


class TestNames:
    def test_by_a_short_id_or_a_whole_one(self, root: Path) -> None:
        assert facts(known(root), "http://toy.org/toy/2").name == "toy2"
        write(root, "kind5", system("another-kind5", identity="http://toy.org/kind/5"))
        assert facts(known(root), "another-kind5").id == "http://toy.org/kind/5"
        write(root, "double7", system("double7", "<short-id>doubleseven</short-id>"))
        assert facts(known(root), "doubleseven").name == "doubleseven"

    @pytest.mark.parametrize(
        ("wrong", "near"), [("toy3", "toy2"), ("tyo1", "toy1"), ("zzzzzzzz", ""), ("http://toy.org/toy/9", "")]
    )
    def test_an_unknown_one_is_told_with_the_one_that_was_probably_meant(
        self, root: Path, wrong: str, near: str
    ) -> None:
        found = missing(known(root), wrong)
        assert found.why == "unknown"
        assert (f"did you mean {near}?" in found.fix) == bool(near)
        assert ("did you mean" in found.fix) == bool(near)

    def test_a_file_with_another_id_than_its_place_is_not_taken_for_it(self, root: Path) -> None:
        write(root, "toy9", system("toy9", identity="http://toy.org/other/9"))
        assert missing(known(root), "http://toy.org/toy/9").why == "unknown"

    def test_for_a_completion(self, root: Path) -> None:
        assert known(root).names("to") == ["toy1", "toy2"]
        assert known(root).names() == sorted(TOYS)
        assert known(root).names("no") == []


class TestPlaces:
    def test_a_later_directory_hides_an_earlier_one_file_by_file(self, root: Path, tmp_path: Path) -> None:
        local = tmp_path / "local"
        write(local, "toy1", system("toy1", needs(resources("minimum", 1, 3 * GIB))))
        assert facts(known(root, local), "toy1").minimum.memory == 3 * GIB
        assert facts(known(root, local), "toy2").minimum.memory == 3 * GIB
        assert facts(known(local, root), "toy1").minimum.memory == GIB // 2

    @pytest.mark.parametrize("kind", ["empty", "null"])
    def test_a_file_may_hide_without_taking_the_place(self, root: Path, tmp_path: Path, kind: str) -> None:
        path = write(tmp_path / "local", "toy1", "")
        if kind == "null":
            path.unlink()
            path.symlink_to("/dev/null")
        assert missing(known(root, tmp_path / "local"), "toy1").why == "unknown"

    def test_files_in_a_directory_of_its_name_extend_it(self, root: Path, tmp_path: Path) -> None:
        for place, memory in ((root, 2), (tmp_path / "local", 5)):
            more = place / "os/toy.org/toy-1.d/more.xml"
            more.parent.mkdir(parents=True)
            more.write_text(system("toy1", needs(resources("recommended", 1, memory * GIB))))
        assert facts(known(root), "toy1").recommended.memory == 2 * GIB
        assert facts(known(root, tmp_path / "local"), "toy1").recommended.memory == 5 * GIB
        assert facts(known(root), "toy1").minimum.memory == GIB // 2

    def test_where_nothing_is_installed_the_package_is_named(self, tmp_path: Path) -> None:
        found = missing(known(tmp_path), "toy1")
        assert (found.why, found.fix) == ("no database", "apt install osinfo-db")

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
    def test_a_directory_that_may_not_be_read_is_told(self, root: Path) -> None:
        (root / "os").chmod(0o700)
        for above in (root, *root.parents[:-2]):
            above.chmod(0o755)
        os.seteuid(65534)
        try:
            found = missing(known(root), "toy1")
        finally:
            os.seteuid(0)
        assert (found.why, str(root / "os") in found.reason) == ("damaged", True)

    def test_the_directories_are_those_of_libosinfo(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        own = root.parent / "home/.config/osinfo"
        write(own, "mine1", system("mine1"))
        monkeypatch.delenv("OSINFO_USER_DIR")
        monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
        monkeypatch.setenv("HOME", str(root.parent / "home"))
        assert isinstance(database(root=False).facts(OsName("mine1")), OsFacts)
        assert isinstance(
            database(root=True).facts(OsName("mine1")), OsMissing
        )  # it may be the home of who called sudo
        assert isinstance(database(root=True).facts(OsName("toy1")), OsFacts)
        monkeypatch.delenv("HOME")
        assert isinstance(database(root=False).facts(OsName("toy1")), OsFacts)

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
    def test_root_does_not_believe_a_file_that_somebody_else_may_change(self, root: Path) -> None:
        root.parent.chmod(0o755)
        os.chown(root / "os/toy.org", 12345, -1)
        found = OsDatabase((str(root),), root=True).facts(OsName("toy1"))
        assert isinstance(found, OsMissing)
        assert found.why == "damaged"
        assert isinstance(known(root).facts(OsName("toy1")), OsFacts)


class TestDamage:
    @pytest.mark.parametrize(
        "text",
        [
            "no XML",
            "<libosinfo>",
            "<libosinfo/>",
            '<libosinfo><os id="http://toy.org/toy/1"/></libosinfo>',
            "\0" * 100,
            '<?xml version="1.0" encoding="no-such"?><libosinfo/>',
            '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>\n' + system("toy1", "<version>&b;</version>"),
            '<!DOCTYPE x SYSTEM "/etc/passwd">\n' + system("toy1"),
            "<a>" * 100_000,
        ],
    )
    def test_a_damaged_file_is_a_message(self, root: Path, text: str) -> None:
        write(root, "toy1", text if "short-id" in text else f"{text}<!-- <short-id>toy1</short-id> -->")
        found = missing(known(root), "toy1")
        assert (found.why, "toy-1.xml" in found.reason) == ("damaged", True)
        assert found.reason.isprintable()
        assert len(found.reason) < 400
        assert facts(known(root), "win1").name == "win1"

    def test_what_is_no_file_or_too_large_is_told(self, root: Path) -> None:
        path = root / "os/toy.org/toy-1.xml"
        path.write_bytes(bytes(5 << 20))
        assert missing(known(root), identity_of("toy1")).why == "damaged"
        path.unlink()
        path.mkdir()
        assert missing(known(root), identity_of("toy1")).why == "damaged"
        path.rmdir()
        os.mkfifo(path)
        assert missing(known(root), identity_of("toy1")).why == "damaged"

    def test_hostile_text_is_made_printable(self) -> None:
        found = parse_os(system("toy1").replace("Toy1", "Toy\u202e\u0085").encode())
        assert found.title.isprintable()


class TestMedia:
    def test_an_image_is_told_by_its_volume(self, root: Path, tmp_path: Path) -> None:
        cases = {
            "Toy 1.5 amd64": "toy1",
            "Toy 2.0 amd64": "toy2",
            "Toy 3.0 amd64": None,
            "Toy 1.5 i386": None,
            "": None,
        }
        for volume, wanted in cases.items():
            found = detect_os(str(iso(tmp_path / "a.iso", volume)), known(root))
            assert (found.name if found else None) == wanted, volume
        path = iso(tmp_path / "w.iso", "WIN1_X64_EN", publisher="MICRO CORPORATION")
        found = detect_os(str(path), known(root))
        assert found is not None
        assert found.name == "win1"
        assert detect_os(str(iso(tmp_path / "w.iso", "WIN1_X64_EN", publisher="OTHER")), known(root)) is None

    def test_of_several_the_one_that_tells_most_and_else_the_newest(self, root: Path, tmp_path: Path) -> None:
        for name in ("same9", "same10", "same11-unknown"):
            write(root, name, system(name, media("^SAME")))
        assert getattr(detect_os(str(iso(tmp_path / "a.iso", "SAME")), known(root)), "name", "") == "same10"
        write(root, "less1", system("less1", media("^SAME", "<volume-size>819200</volume-size>")))
        assert getattr(detect_os(str(iso(tmp_path / "a.iso", "SAME")), known(root)), "name", "") == "less1"
        write(root, "less1", system("less1", media("^SAME", arch="aarch64")))
        (root / "os/toy.org/toy-1.xml").write_text("damaged")
        assert getattr(detect_os(str(iso(tmp_path / "a.iso", "SAME")), known(root)), "name", "") == "same10"

    def test_what_is_no_such_image_is_none(self, root: Path, tmp_path: Path) -> None:
        whole = iso(tmp_path / "a.iso", "Toy 1.5 amd64").read_bytes()
        for harm in (b"", whole[:100], whole[: 17 * 2048 - 1], bytes(1 << 20), whole.replace(b"CD001", b"CD002")):
            (tmp_path / "b.iso").write_bytes(harm)
            assert read_volume(str(tmp_path / "b.iso")) is None
        os.mkfifo(tmp_path / "pipe")
        for path in (tmp_path, tmp_path / "pipe", tmp_path / "missing", Path("/dev/zero")):
            assert read_volume(str(path)) is None
        found = read_volume(str(iso(tmp_path / "a.iso", "\x1b]0;x\x07")))
        assert found is not None
        assert found.volume.isprintable()


@pytest.mark.skipif(not INSTALLED.is_dir(), reason="osinfo-db is not installed")
def test_the_installed_database_is_read_whole() -> None:
    found = OsDatabase((str(INSTALLED.parent),), root=False)
    entries = {file: found.read(file) for file in found.files()}
    assert len(entries) > 500
    assert {file for file, one in entries.items() if one and OsName.parse(one.id).file != file} == set()
    assert all(OsName.parse(name) for one in entries.values() if one for name in one.names)
    told = facts(found, "debian11")
    assert (told.recommended.memory or 0) >= GIB
    assert (told.storage() or 0) >= 8 * GIB
    assert (told.bios, told.uefi) == (True, True)
