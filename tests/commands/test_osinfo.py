"""A guest that names its operating system: what new writes, what show, check and a start make of it, on any host."""

import os
from pathlib import Path

import pytest
from support import osinfo
from support.builders import TCG, guests
from support.cli import Cli, Run, has_line
from support.osinfo import GIB, iso, needs, resources, system, write

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="QEMU as another user needs root")


@pytest.fixture
def db(own_directories: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The small database as that of the host, which has memory and processors enough."""
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    return osinfo.toys(own_directories / "db", monkeypatch)


def keys(lab: Path, name: str = "web") -> dict[str, str]:
    """The keys that the definition gives, without comments; of several of one name the last."""
    lines = [line.partition(" # ")[0] for line in (lab / f"{name}.toml").read_text().splitlines() if line[:1] != "#"]
    return {key: value.strip().strip('"') for key, _, value in (line.partition(" = ") for line in lines) if value}


def definition(run: Run, name: str = "web") -> dict[str, object]:
    found: dict[str, object] = run("show", name, "-o", "json").json()["definition"]
    return found


@pytest.mark.usefixtures("db")
class TestNew:
    def test_everything_is_written_out(self, lab: Path, run: Run) -> None:
        assert run("new", "web", "--os", "toy2", "--size", "9G").code == 0
        found = keys(lab)
        assert (found["os"], found["memory"], found["cpus"], found["size"]) == ("toy2", "1G", "2", "9G")
        assert "model" not in found
        assert "interface" not in found
        assert run("check").out.count("warning") == 0

    def test_what_is_asked_for_counts(self, lab: Path, run: Run) -> None:
        (lab / "defaults.toml").write_text('memory = "3G"\n')
        assert run("new", "web", "--os", "toy2", "--cpus", "5").code == 0
        assert "memory" not in keys(lab)
        assert keys(lab)["cpus"] == "5"
        assert run("new", "two", "--os", "toy2", "--memory", "700M").code == 0
        assert keys(lab, "two")["memory"] == "700M"
        assert run("new", "three", "--copy", "web", "--os", "toy1").code == 0
        assert (keys(lab, "three")["os"], keys(lab, "three")["cpus"]) == ("toy1", "5")

    def test_less_than_it_needs_is_not_taken_over_from_the_defaults(self, lab: Path, run: Run) -> None:
        (lab / "defaults.toml").write_text('memory = "256M"\n')
        assert run("new", "web", "--os", "toy2").code == 0
        assert keys(lab)["memory"] == "1G"

    def test_a_system_of_the_defaults_is_that_of_a_new_guest(self, lab: Path, run: Run) -> None:
        (lab / "defaults.toml").write_text('os = "win1"\n')
        assert run("new", "web", "--size", "70G").code == 0
        found = keys(lab)
        assert "os" not in found
        assert (found["firmware"], found["memory"], found["model"], found["interface"]) == (
            "uefi",
            "4G",
            "e1000",
            "ide",
        )
        assert run("new", "two", "--os", "toy1").code == 0
        assert keys(lab, "two")["os"] == "toy1"

    def test_an_installation_medium_says_which_it_is(self, lab: Path, run: Run, images: Path) -> None:
        iso(images / "win.iso", "WIN1_X64_EN", publisher="MICRO")
        done = run("new", "web", "--cdrom", "win.iso")
        assert done.code == 0
        assert has_line(done.err, "win.iso", "Win1")
        found = definition(run)
        assert (found["os"], found["memory"], found["cpus"], found["firmware"]) == ("win1", 4 * GIB, 2, "uefi")
        assert found["clock"] == "local"
        disk, cdrom = found["drive"]  # type: ignore[misc]
        assert (disk["size"], disk["interface"], cdrom["media"]) == (64 * GIB, "ide", "cdrom")
        assert [nic["model"] for nic in found["nic"]] == ["e1000"]  # type: ignore[attr-defined]
        assert [line for line in run("check").out.splitlines() if "web.toml" in line] == []
        iso(images / "xp.iso", "XP_PRO")
        assert run("new", "xp", "--cdrom", "xp.iso").code == 0
        assert keys(lab, "xp")["machine"].startswith("pc-i440fx")
        assert [drive["interface"] for drive in definition(run, "xp")["drive"]] == ["ide", None]  # type: ignore[attr-defined]
        iso(images / "strange.iso", "STRANGE")
        assert run("new", "odd", "--cdrom", "strange.iso").code == 0
        assert (definition(run, "odd")["os"], keys(lab, "odd")["memory"]) == (None, "1G")
        assert run("new", "own", "--cdrom", "strange.iso", "--os", "toy1").code == 0
        assert "8G" in (lab / "own.toml").read_text()

    @pytest.mark.parametrize(("word", "near"), [("toy3", "toy2"), ("tyo1", "toy1"), ("../toy1", ""), ("a b", "")])
    def test_a_name_that_is_none_writes_nothing(self, lab: Path, run: Run, word: str, near: str) -> None:
        done = run("new", "web", "--os", word)
        assert done.code == 2
        assert (f"did you mean {near}?" in done.err) == bool(near)
        assert not (lab / "web.toml").exists()

    def test_the_words_that_begin_so_are_offered(self, run: Run, lab: Path) -> None:
        import kvmrun
        from kvmrun.api.definition.new_guest_os import os_names

        assert os_names(kvmrun.open_lab(str(lab)), "to") == ["toy1", "toy2"]


@pytest.mark.usefixtures("db")
def test_a_definition_that_names_its_system_has_the_size_of_that(lab: Path, run: Run) -> None:
    guests(lab, "web", text='os = "copy2"\n')
    found = run("show", "web", "-o", "json").json()
    assert (found["definition"]["memory"], found["definition"]["cpus"]) == (GIB, 2)
    assert found["sources"] == {"memory": "copy2 recommends 1G", "cpus": "copy2 recommends no number"}
    assert f"size={GIB // 1024}k" in found["command"]
    assert has_line(run("show", "web").out, "memory", "1G", "copy2")
    guests(lab, "old", text="")
    assert run("show", "old", "-o", "json").json()["sources"] == dict.fromkeys(
        ("memory", "cpus"), "the built-in default"
    )


def test_without_the_database_a_guest_starts_as_before_and_the_package_is_named(lab: Path, run: Run) -> None:
    guests(lab, "web", text='os = "toy2"\n')
    guests(lab, "whole", text='os = "toy2"\nmemory = "1G"\ncpus = 2\n')
    checked = run("check")
    assert checked.code == 0
    assert has_line(checked.out, "web.toml", "apt install osinfo-db", "512M")
    assert "whole" not in checked.out
    assert definition(run)["memory"] == GIB // 2
    made = run("new", "two", "--os", "toy9")
    assert (made.code, keys(lab, "two")["os"]) == (0, "toy9")
    assert has_line(made.err, "apt install osinfo-db")


def test_what_is_wrong_with_the_database_is_a_warning(lab: Path, run: Run, db: Path) -> None:
    (db / "os/toy.org/toy-1.xml").write_text("<damaged")
    guests(lab, "web", text='os = "toy1"\n')
    guests(lab, "typo", text='os = "tyo2"\nmemory = "1G"\ncpus = 1\n')
    guests(lab, "small", text='os = "win1"\nmemory = "1G"\nfirmware = "uefi"\n')
    checked = run("check")
    assert checked.code == 0
    assert has_line(checked.out, "web.toml", "toy-1.xml", "512M")
    assert has_line(checked.out, "typo.toml", "did you mean toy2?")
    assert has_line(checked.out, "small.toml", "memory", "4G")
    made = run("new", "two", "--os", "toy1")
    assert (made.code, keys(lab, "two")["os"], "memory" in keys(lab, "two")) == (0, "toy1", False)


def test_values_beyond_belief_are_within_what_the_host_has(lab: Path, run: Run, db: Path) -> None:
    write(db, "huge1", system("huge1", needs(resources("recommended", 60000, 1 << 49, 1 << 59))))
    write(db, "none1", system("none1", needs(resources("recommended", 10**30, 10**30, "x" * 100_000))))
    guests(lab, "web", text='os = "huge1"\n')
    guests(lab, "two", text='os = "none1"\n')
    have = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    found = definition(run)
    assert 0 < found["memory"] <= have // 2  # type: ignore[operator]
    assert found["cpus"] == 4
    assert (definition(run, "two")["memory"], definition(run, "two")["cpus"]) == (GIB // 2, 2)


@ROOT
@pytest.mark.usefixtures("netns", "tun")
def test_a_guest_that_runs_keeps_what_it_was_started_with(
    lab: Path, kvmrun: Cli, own_directories: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = osinfo.toys(own_directories / "db", monkeypatch)
    write(db, "tiny1", system("tiny1", needs(resources("minimum", 1, 48 << 20))))
    guests(lab, "vm1", text=TCG.replace('memory = "32M"\n', 'os = "tiny1"\ncpus = 1\n'))
    kvmrun.ok("vm1", "--paused")
    write(db, "tiny1", system("tiny1", needs(resources("minimum", 1, 96 << 20))))
    assert kvmrun.rows()["vm1"]["memory_bytes"] == 48 << 20
    assert kvmrun.ok("check").out.count("warning") == 0
    assert has_line(kvmrun.ok("show", "vm1").out, "memory", "96M", "48M")
    kvmrun.ok("kill", "vm1")
    monkeypatch.setenv("OSINFO_SYSTEM_DIR", "/nonexistent")
    started = kvmrun.ok("vm1", "--paused")
    assert has_line(started.err, "vm1.toml", "osinfo-db")
    assert kvmrun.rows()["vm1"]["memory_bytes"] == 512 << 20
