"""The life of a definition: written, edited, renamed, removed; whole or not at all, and never worse than before."""

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from support.builders import TCG, guests
from support.cli import Cli, Result, Run
from support.screen import screen

TYPED = "import sys; from kvmrun.cli.main import run; sys.exit(run(sys.argv[1:]))"


def editor(directory: Path, script: str, monkeypatch: pytest.MonkeyPatch, *, variable: str = "VISUAL") -> None:
    """An editor that does what the Python `script` does with `path` and its `text`."""
    body = f"import os, sys\npath = sys.argv[1]\ntext = open(path).read()\n{script}\n"
    (directory / "editor.py").write_text(body)
    monkeypatch.setenv("EDITOR", "false")
    monkeypatch.setenv(variable, f"{sys.executable} {directory}/editor.py")


def uncommented(text: str) -> str:
    """The text of a new definition with every key that it shows in a comment."""
    body = text.partition("\n\n")[2]
    return "".join(f"{line.removeprefix('# ')}\n" for line in body.splitlines())


def left(lab: Path) -> set[str]:
    return {path.name for path in lab.iterdir()}


class TestNew:
    def test_its_memory_and_processors_are_written(self, lab: Path, run: Run) -> None:
        assert run("new", "web", "--memory", "2G", "--cpus", "2").code == 0
        assert run("new", "two", "--copy", "web", "--cpus", "4").code == 0
        for name, cpus in (("web", 2), ("two", 4)):
            lines = (lab / f"{name}.toml").read_text().splitlines()
            told = [line for line in lines if line.lstrip("# ").startswith(("cpus =", "memory ="))]
            assert sorted(told) == [f"cpus = {cpus}", 'memory = "2G"']
        for words in (("--memory", "much"), ("--cpus", "0"), ("--memory", "1")):
            assert run("new", "bad", *words).code in {2, 5}
        assert not (lab / "bad.toml").exists()

    def test_processors_of_a_copy_replace_the_topology(self, lab: Path, run: Run) -> None:
        guests(lab, "one", text=f"{TCG}topology = {{ cores = 2, threads = 2 }}\n")
        assert run("new", "two", "--copy", "one", "--cpus", "3").code == 0
        found = run("show", "two", "-o", "json").json()["definition"]
        assert (found["cpus"], found["topology"]) == (3, None)

    def test_only_a_new_guest_reports_its_free_memory(self, lab: Path, run: Run) -> None:
        guests(lab, "old")
        assert run("new", "web").code == 0
        for name, device in (("web", ["balloon0"]), ("old", [])):
            command = run("show", name, "-o", "json").json()["command"]
            devices = [word for word in command if word.startswith('{"driver": "virtio-')]
            assert [word for word in ("balloon0",) if f'"{word}"' in devices[-1]] == device

    def test_a_new_guest_is_valid_and_says_what_may_be_changed(self, lab: Path, run: Run) -> None:
        (lab / "defaults.toml").write_text('memory = "300M"\naccel = "tcg"\n')
        assert run("new", "web").code == 0
        text = (lab / "web.toml").read_text()
        assert '# memory = "300M"' in text
        assert '# accel = "tcg"' in text
        assert stat.S_IMODE((lab / "web.toml").stat().st_mode) == 0o644
        (lab / "same.toml").write_text(uncommented(text))
        assert run("check").code == 0
        assert left(lab) == {"defaults.toml", "web.toml", "same.toml"}

    @pytest.mark.parametrize("words", [(), ("--size", "1G"), ("--cdrom", "disc.iso"), ("--base", "base.qcow2")])
    @pytest.mark.parametrize(
        "defaults",
        ["", 'memory = "2G"\ndisplay = "vnc"\n', 'machine = "pc"\n', '[boot]\nkernel = "k"\ncmdline = "x"\n'],
    )
    def test_what_the_comments_show_is_what_holds(
        self, lab: Path, run: Run, images: Path, words: tuple[str, ...], defaults: str
    ) -> None:
        for name in ("disc.iso", "base.qcow2", "k"):
            (images / name).touch()
        (lab / "defaults.toml").write_text(defaults)
        assert run("new", "web", *words).code == 0
        before = run("show", "web", "-o", "json").json()["definition"]
        (lab / "web.toml").write_text(uncommented((lab / "web.toml").read_text()))
        after = run("show", "web", "-o", "json")
        assert after.code == 0, after.err
        assert after.json()["definition"] == before
        assert (before["boot"]["kernel"] is None) == (bool(words) or "kernel" not in defaults)
        assert not [line for line in run("check").out.splitlines() if "boot.kernel" in line]

    def test_an_installer_is_given_a_screen_memory_and_a_drive_it_knows(
        self, lab: Path, run: Run, images: Path
    ) -> None:
        (lab / "defaults.toml").write_text('memory = "256M"\n')
        (images / "disc.iso").touch()
        assert run("new", "vm1", "--cdrom", "disc.iso").code == 0
        found = run("show", "vm1", "-o", "json").json()["definition"]
        assert (found["display"], found["memory"], found["drive"][1]["interface"]) == ("vnc", 1 << 30, "ide")
        assert "VNC at" in run("show", "vm1").out

    def test_drives(self, lab: Path, run: Run, images: Path) -> None:
        (images / "base.qcow2").touch()
        (images / "disc.iso").touch()
        (images / "odd").touch()
        assert run("new", "vm1", "--base", "base.qcow2", "--size", "9G").code == 0
        assert 'image = "vm1.qcow2"' in (lab / "vm1.toml").read_text()
        assert run("new", "vm2", "--cdrom", f"{images}/disc.iso").code == 0
        assert 'size = "20G"' in (lab / "vm2.toml").read_text()
        refused = run("new", "vm3", "--image", "odd")
        assert (refused.code, '"qcow2" or "raw"' in refused.err) == (5, True)
        assert run("new", "vm3", "--image", "odd", "--format", "raw").code == 0
        assert run("new", "vm4", "--image", "missing").code == 2
        assert run("new", "vm4", "--image", "odd", "--cdrom", "odd").code == 2
        assert run("new", "vm4", "--size", "much").code == 5
        for name in (b"\xff.raw", b"\x1b.raw", b"\x7f.raw"):
            (images / os.fsdecode(name)).touch()
            assert run("new", "vm4", "--image", f"{images}/{os.fsdecode(name)}").code == 5
        (images / "vm4.qcow2").touch()
        assert run("new", "vm4", "--size", "1G").code == 6
        assert left(lab) == {"vm1.toml", "vm2.toml", "vm3.toml"}
        assert run("check").code == 0

    @pytest.mark.parametrize(("name", "code"), [("vm1", 6), ("bad", 6), ("networks", 2), ("Web", 2), ("../x", 2)])
    def test_names_that_are_taken_or_none(self, lab: Path, run: Run, name: str, code: int) -> None:
        guests(lab, "vm1")
        (lab / "bad.toml").write_text("cpus = 0")
        before = left(lab)
        assert run("new", name).code == code
        assert left(lab) == before

    def test_nobody_loses_an_address_to_a_new_guest(self, lab: Path, run: Run) -> None:
        (lab / "networks.toml").write_text('[network.lan]\nsubnet = "10.0.0.0/28"\ndhcp = false\n')
        names = [f"vm{number}" for number in range(9, 2, -1)]
        for name in names:
            assert run("new", name).code == 0
        addresses = {}
        for name in names:
            addresses[name] = [port["address"] for port in run("show", name, "-o", "json").json()["runtime"]["ports"]]
        assert run("new", "aaa").code == 0
        for name in names:
            assert addresses[name] == [
                one["address"] for one in run("show", name, "-o", "json").json()["runtime"]["ports"]
            ]
        assert any("address = " in (lab / f"{name}.toml").read_text() for name in names)
        assert len(run("check", "-o", "json").json()["guests"]) == 8

    def test_a_copy_has_its_own_drives_and_identity(self, lab: Path, run: Run, images: Path) -> None:
        (lab / "vm1.toml").write_text(
            '# mine\nmemory = "64M"\nuuid = "11111111-2222-3333-4444-555555555555"\n'
            '[[drive]]\nimage = "vm1.qcow2"  # root\n'
            'size = "1G"\n[[nic]]\nmac = "52:54:00:00:00:01"\naddress = "192.168.0.9"\nmodel = "e1000"\n'
        )
        assert run("new", "vm2", "--copy", "vm1").code == 0
        wanted = (
            '# mine\nmemory = "64M"\n[[drive]]\nimage = "vm2.qcow2"  # root\nsize = "1G"\n[[nic]]\nmodel = "e1000"\n'
        )
        assert (lab / "vm2.toml").read_text() == wanted
        (lab / "vm3.toml").write_text('[[drive]]\nimage = "vm3.qcow2"\n')
        refused = run("new", "vm4", "--copy", "vm3")
        assert (refused.code, "clone vm3 vm4 --full" in refused.err) == (6, True)
        (lab / "vm5.toml").write_text('nic = [{mac = "52:54:00:00:00:02"}]\n')
        assert run("new", "vm6", "--copy", "vm5").code == 5
        assert run("new", "vm6", "--copy", "nobody").code == 4

    def test_the_first_guest_of_a_lab_makes_it(self, lab: Path, run: Run) -> None:
        lab.rmdir()
        assert run("new", "vm1", "-C", f"{lab}/deep/down").code == 0
        assert [stat.S_IMODE(path.stat().st_mode) for path in (lab, lab / "deep", lab / "deep/down")] == [0o755] * 3

    def test_a_full_disk_leaves_nothing(self, lab: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(_: int) -> None:
            raise OSError(28, "no space")

        monkeypatch.setattr(os, "fsync", full)
        assert run("new", "vm1").code == 1
        assert left(lab) == set()


def edited(lab: Path, *words: str) -> Result:
    """`kvmrun edit` at a terminal; what it shows is both its outputs."""
    with screen(TYPED, "edit", "-C", str(lab), *words) as one:
        code = one.end()
        return Result(code, one.text.replace("\r\n", "\n"), one.text.replace("\r\n", "\n"))


def in_one_line(text: str) -> str:
    """What a terminal shows, without the lab that a fix names."""
    return re.sub(r"-C \S+/vms\.d ", "", " ".join(text.split()))


def test_what_cannot_be_renamed_is_refused_before_anything_is_asked(lab: Path) -> None:
    guests(lab, "vm1")
    guests(lab, "vm2", text=TCG + "after = ['vm1'] # vm1\n".replace("'", '"') + 'groups = [\n"x"]\n')
    with screen(TYPED, "rename", "vm1", "vm2", "-C", str(lab)) as one:
        assert one.end() == 6
        assert "keep" not in one.text


def test_a_disc_is_no_base(lab: Path, run: Run, images: Path) -> None:
    (images / "debian.iso").write_bytes(b"\0" * 0x8001 + b"CD001\x01\0")
    (images / "debian.raw").write_bytes(b"\0" * 0x8001 + b"CD001\x01\0")
    done = run("new", "vm1", "--base", "debian.iso")
    assert (done.code, done.fixes) == (2, ["kvmrun new vm1 --cdrom debian.iso"])
    assert not (lab / "vm1.toml").exists()
    assert run("new", "vm1", "--base", "debian.raw", "--format", "raw").code == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has other users to fear")
def test_a_file_in_the_home_of_another_user_is_refused_before_it_is_named(
    own_directories: Path, lab: Path, run: Run
) -> None:
    """An ISO in the downloads of a user, when root did not come by sudo; there is no directory of images yet."""
    home = own_directories / "home"
    home.mkdir()
    (home / "debian.iso").write_bytes(b"disc")
    os.chown(home, 12345, 12345)
    for kind in ("--cdrom", "--image", "--base"):
        done = run("new", "vm1", kind, f"{home}/debian.iso")
        assert (done.code, "uid 12345" in done.err) == (6, True), done.err
    assert not (lab / "vm1.toml").exists()
    copy, _, name = done.err.partition("fix: ")[2].strip().rpartition(", and name it ")
    subprocess.run(copy, shell=True, check=True)
    assert run("new", "vm1", "--cdrom", name).code == 0
    drive = run("show", "vm1", "-o", "json").json()["definition"]["drive"][1]
    assert Path(drive["image"]).read_bytes() == b"disc"


class TestEdit:
    def test_what_is_valid_is_saved_with_its_mode(self, lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        guests(lab, "vm1")
        (lab / "vm1.toml").chmod(0o600)
        editor(lab.parent, 'open(path, "w").write(text.replace("32M", "48M"))', monkeypatch)
        assert edited(lab, "vm1").code == 0
        assert '"48M"' in (lab / "vm1.toml").read_text()
        saved = (lab / "vm1.toml").stat()
        assert stat.S_IMODE(saved.st_mode) == 0o600
        assert edited(lab, "vm1").code == 0
        assert os.path.samestat((lab / "vm1.toml").stat(), saved), "nothing was changed, and nothing is written"
        editor(lab.parent, 'open(path, "w").write("seed = \'x\'")', monkeypatch, variable="EDITOR")
        monkeypatch.delenv("VISUAL")
        assert edited(lab, "networks").code == 0
        assert left(lab) == {"vm1.toml", "networks.toml"}
        assert edited(lab, "nobody").code == 4

    def test_without_a_terminal_no_editor_is_started(
        self, lab: Path, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        guests(lab, "vm1")
        editor(lab.parent, 'open(path, "w").write("cpus = 2")', monkeypatch)
        refused = run("edit", "vm1")
        assert (refused.code, "--from FILE" in refused.err) == (2, True)
        assert (lab / "vm1.toml").read_text() == TCG
        text = lab.parent / "text"
        assert run("edit", "vm1", "--from", str(text)).code == 2
        text.write_text("cpus = 0")
        assert run("edit", "vm1", "--from", str(text)).code == 5
        text.write_text("cpus = 3")
        assert run("edit", "vm1", "--from", str(text)).code == 0
        assert (lab / "vm1.toml").read_text() == "cpus = 3"

    @pytest.mark.parametrize(
        ("script", "code"),
        [
            ('open(path, "w").write("# typed"); sys.exit(3)', 1),
            ('open(path, "w").write("# typed"); os.kill(os.getppid(), 15); import time; time.sleep(9)', 143),
            ('open(path, "w").write("# typed"); open(os.environ["OTHER"], "w").write("# other")', 6),
        ],
    )
    def test_what_is_not_saved_is_kept(
        self, lab: Path, script: str, code: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        guests(lab, "vm1")
        monkeypatch.setenv("OTHER", str(lab / "vm1.toml"))
        monkeypatch.setenv("TMPDIR", str(lab.parent))
        editor(lab.parent, script, monkeypatch)
        done = edited(lab, "vm1")
        assert done.code == code, done.err
        (kept,) = lab.parent.glob("kvmrun-*/vm1.toml")
        assert f" {kept}" in in_one_line(done.err)
        assert kept.read_text() == "# typed"
        assert (lab / "vm1.toml").read_text() == ("# other" if code == 6 else TCG)
        assert left(lab) == {"vm1.toml"}

    def test_a_text_that_is_not_valid_can_be_resumed(self, lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        guests(lab, "vm1")
        monkeypatch.setenv("TMPDIR", str(lab.parent))
        editor(lab.parent, 'open(path, "w").write("memory = 1")', monkeypatch)
        with screen(TYPED, "edit", "vm1", "-C", str(lab)) as one:
            one.wait_for("[Y/n] ")
            one.type("n\r")
            assert one.end() == 5
            (kept,) = lab.parent.glob("kvmrun-*/vm1.toml")
            assert f"kvmrun edit vm1 --from {kept}" in in_one_line(one.text)
        assert (lab / "vm1.toml").read_text() == TCG
        editor(lab.parent, 'open(path, "w").write(text.replace("1", \'"64M"\'))', monkeypatch)
        assert edited(lab, "vm1", "--from", str(kept)).code == 0
        assert (lab / "vm1.toml").read_text() == 'memory = "64M"'

    @pytest.mark.parametrize(("command", "code"), [('vi "', 69), ("/nonesuch", 69), ("false", 1)])
    def test_an_editor_that_is_none(self, lab: Path, command: str, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
        guests(lab, "vm1")
        monkeypatch.setenv("VISUAL", command)
        monkeypatch.setenv("TMPDIR", str(lab.parent))
        assert edited(lab, "vm1").code == code
        assert not list(lab.parent.glob("kvmrun-*"))

    def test_a_change_that_harms_another_guest_is_not_saved(self, lab: Path, run: Run) -> None:
        (lab / "networks.toml").write_text('[network.lan]\n[network.dmz]\nbridge = "br1"\nsubnet = "10.1.0.0/24"\n')
        (lab / "vm1.toml").write_text('[[nic]]\nnetwork = "dmz"\n')
        (lab.parent / "text").write_text("[network.lan]")
        done = run("edit", "networks", "--from", str(lab.parent / "text"))
        assert (done.code, "vm1.toml: nic[0].network" in done.err) == (5, True)

    def test_one_who_is_asked_may_try_again(self, lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        guests(lab, "vm1")
        script = 'open(path, "w").write("cpus = 0" if "TCG" not in text and "cpus" not in text else "cpus = 2")'
        editor(lab.parent, script, monkeypatch)
        with screen(TYPED, "edit", "vm1", "-C", str(lab)) as one:
            assert "vm1.toml: cpus" in one.wait_for("[Y/n] ")
            one.type("\r")
            assert one.end() == 0
        assert (lab / "vm1.toml").read_text() == "cpus = 2"


class TestRename:
    def test_everything_that_mentions_it_follows(self, lab: Path, run: Run, own_directories: Path) -> None:
        (lab / "vm1.toml").write_text('# vm1, the first\nmemory = "64M"\n')
        (lab / "vm2.toml").write_text('after = ["vm1"] # vm1 first\ndescription = "vm1"\n')
        (lab / "networks.toml").write_text('[network.lan]\nforward = ["tcp 80 -> vm1:80"]\n')
        log = own_directories / "state/log/vm1"
        log.mkdir(parents=True)
        done = run("rename", "vm1", "web")
        assert done.code == 0, done.err
        assert "52:54:" in done.out
        assert left(lab) == {"web.toml", "vm2.toml", "networks.toml"}
        assert 'after = ["web"] # vm1 first' in (lab / "vm2.toml").read_text()
        assert "-> web:80" in (lab / "networks.toml").read_text()
        assert (log.exists(), (log.parent / "web").exists()) == (False, True)
        assert run("check").code == 0

    def test_what_cannot_be_changed_by_line_is_refused(self, lab: Path, run: Run) -> None:
        guests(lab, "vm1")
        text = 'after = [\n"\\u0076m1"]\n'
        (lab / "vm2.toml").write_text(text + "# vm1\n")
        done = run("rename", "vm1", "web")
        assert (done.code, "kvmrun edit vm2" in done.err) == (5, True), done.err
        assert left(lab) == {"vm1.toml", "vm2.toml"}

    @pytest.mark.parametrize(
        "text", ["", '# mine\nmemory = "64M"\n', '[[drive]]\nimage="x.raw"\n[[nic]]\nmodel = "e1000"\n[[nic]]\n']
    )
    def test_what_follows_from_the_name_may_be_kept(self, lab: Path, run: Run, text: str) -> None:
        (lab / "vm1.toml").write_text(text)
        was = run("show", "vm1", "-o", "json").json()
        assert run("rename", "vm1", "web", "--keep").code == 0
        now = run("show", "web", "-o", "json").json()
        assert now["runtime"]["uuid"] == was["runtime"]["uuid"]
        for key in ("mac", "address", "name"):
            assert [one[key] for one in now["runtime"]["ports"]] == [one[key] for one in was["runtime"]["ports"]]
        assert (lab / "web.toml").read_text().startswith(text.partition("\n")[0] if text.startswith("#") else "uuid")

    def test_a_person_is_offered_to_keep_it(self, lab: Path) -> None:
        guests(lab, "vm1")
        with screen(TYPED, "rename", "vm1", "web", "-C", str(lab)) as one:
            one.wait_for("52:54:")
            one.wait_for("[y/N] ")
            one.type("y\r")
            assert one.end() == 0
            assert "->" not in one.text
        assert "mac = " in (lab / "web.toml").read_text()

    @pytest.mark.parametrize(
        ("old", "new", "code"), [("no", "x", 4), ("vm1", "vm2", 6), ("vm1", "X", 2), ("bad", "x", 5)]
    )
    def test_refusals(self, lab: Path, run: Run, old: str, new: str, code: int) -> None:
        guests(lab, "vm1", "vm2")
        (lab / "bad.toml").write_text("cpus = 0")
        before = left(lab)
        assert run("rename", old, new).code == code
        assert left(lab) == before


class TestRemove:
    def test_what_goes_and_what_stays(self, lab: Path, run: Run, images: Path, own_directories: Path) -> None:
        for name in ("mine", "shared", "given"):
            (images / f"{name}.qcow2").touch()
        drive = '[[drive]]\nimage = "%s.qcow2"\nsize = "1G"\n'
        (lab / "vm1.toml").write_text(drive % "mine" + drive % "shared" + '[[drive]]\nimage = "given.qcow2"\n')
        (lab / "vm2.toml").write_text('[[drive]]\nimage = "x.qcow2"\nbase = "given.qcow2"\n')
        log = own_directories / "state/log/vm1"
        log.mkdir(parents=True)
        asked = run("rm", "vm1")
        assert (asked.code, "kept:" in asked.err, str(log) in asked.err) == (2, True, True)
        assert "vm1.toml" in left(lab)
        done = run("rm", "vm1", "-y")
        assert (done.code, f"kept: {images}/mine.qcow2" in done.out, log.exists()) == (0, True, False)
        assert left(lab) == {"vm2.toml"}
        assert len(list(images.iterdir())) == 3

    def test_images_go_when_that_is_asked_for(self, lab: Path, run: Run, images: Path) -> None:
        for name in ("mine", "base", "given"):
            (images / f"{name}.qcow2").touch()
        (lab / "elsewhere.qcow2").touch()
        (lab / "vm1.toml").write_text(
            '[[drive]]\nimage = "./elsewhere.qcow2"\nsize = "1G"\n'
            '[[drive]]\nimage = "mine.qcow2"\nbase = "base.qcow2"\n[[drive]]\nimage = "given.qcow2"\n'
        )
        assert run("rm", "vm1", "--yes", "--images").code == 0
        assert sorted(path.name for path in images.iterdir()) == ["base.qcow2", "given.qcow2"]
        assert left(lab) == {"elsewhere.qcow2"}

    @pytest.mark.parametrize("wrong", ["cpus = 0\n", "cpus = \n", 'memory = 16M\n[boot]\nkernel = "k"\n', "\ufeff"])
    def test_the_images_of_a_guest_with_errors_are_known_from_its_text(
        self, lab: Path, run: Run, images: Path, wrong: str
    ) -> None:
        for name in ("mine", "shared", "given", "vm1", "vm10"):
            (images / f"{name}.qcow2").touch()
        drive = '[[drive]]\nimage = "%s.qcow2" # here\nsize = "1G"\n'
        (lab / "vm1.toml").write_text(wrong + drive % "mine" + drive % "shared" + '[[drive]]\nimage = "given.qcow2"\n')
        (lab / "vm2.toml").write_text(wrong + '[[drive]]\nbase = "shared.qcow2"\n')
        done = run("rm", "vm1", "-y", "--images")
        assert done.code == 0, done.err
        kept = [line.partition("kept: ")[2] for line in done.out.splitlines() if "kept: " in line]
        assert kept == [f"{images}/given.qcow2", f"{images}/vm1.qcow2"]
        assert {path.name for path in images.iterdir()} == {"shared.qcow2", "given.qcow2", "vm1.qcow2", "vm10.qcow2"}
        again = run("new", "vm1", "--size", "1G")
        assert (again.code, "kvmrun new vm1 --image vm1.qcow2" in again.err) == (6, True)
        assert "vm2" not in again.err
        (images / "shared.qcow2").rename(images / "vm3.qcow2")
        (lab / "vm2.toml").write_text(wrong + '[[drive]]\nimage = "vm3.qcow2"\n')
        assert "vm2" in run("new", "vm3", "--size", "1G").err

    @pytest.mark.parametrize("hashed", [False, True])
    @pytest.mark.parametrize("words", [("rm", "vm1", "-y"), ("rename", "vm1", "vm2"), ("new", "vm3")])
    def test_the_host_keys_of_a_name_go_with_its_guest(
        self, lab: Path, run: Run, own_directories: Path, hashed: bool, words: tuple[str, ...]
    ) -> None:
        guests(lab, "vm1")
        known = own_directories / "state/ssh/known_hosts"
        known.parent.mkdir(parents=True)
        key = own_directories / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
        public = " ".join(key.with_suffix(".pub").read_text().split()[:2])
        known.write_text("".join(f"{name} {public}\n" for name in ("vm1", "vm2", "vm3", "other")))
        if hashed:
            subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(known)], check=True, capture_output=True)
        assert run(*words).code == 0
        found = ["ssh-keygen", "-F"]
        left = {
            name
            for name in ("vm1", "vm2", "vm3", "other")
            if subprocess.run([*found, name, "-f", str(known)], check=False, capture_output=True).returncode == 0
        }
        gone = {"rm": {"vm1"}, "rename": {"vm1", "vm2"}, "new": {"vm3"}}[words[0]]
        assert left == {"vm1", "vm2", "vm3", "other"} - gone
        assert hashed or not known.with_name("known_hosts.old").exists()

    def test_the_protected_and_the_needed_stay(self, lab: Path, run: Run) -> None:
        guests(lab, "vm1", text="protect = true\n")
        guests(lab, "vm2")
        (lab / "vm3.toml").write_text('after = ["vm2"]\n')
        (lab / "bad.toml").write_text("cpus = 0")
        assert run("rm", "vm1", "-y").code == 6
        needed = run("rm", "vm2", "-y")
        assert (needed.code, "kvmrun edit vm3" in needed.err) == (6, True)
        assert run("rm", "no", "-y").code == 4
        assert run("rm", "bad", "-y").code == 0
        assert left(lab) == {"vm1.toml", "vm2.toml", "vm3.toml"}

    def test_a_person_is_asked(self, lab: Path) -> None:
        guests(lab, "vm1")
        for answer, code, there in (("\r", 1, True), ("y\r", 0, False)):
            with screen(TYPED, "rm", "vm1", "-C", str(lab)) as one:
                assert f"{lab}/vm1.toml" in one.wait_for("[y/N] ")
                one.type(answer)
                assert one.end() == code
            assert (lab / "vm1.toml").exists() == there


@pytest.mark.skipif(os.geteuid() != 0, reason="QEMU as another user needs root")
def test_a_guest_that_runs_keeps_its_name_and_place(lab: Path, kvmrun: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    guests(lab, "vm1", text=TCG + "nic = []\n")
    kvmrun.ok("vm1")
    for words in (("rename", "vm1", "web"), ("rm", "vm1", "-y")):
        done = kvmrun(*words)
        assert (done.code, "kvmrun stop vm1" in done.err) == (6, True)
    editor(lab.parent, 'open(path, "w").write(text.replace("32M", "48M"))', monkeypatch)
    assert "kvmrun restart vm1" in in_one_line(edited(lab, "vm1").out)
    assert kvmrun.rows()["vm1"]["memory_bytes"] == 32 << 20


@pytest.mark.skipif(os.geteuid() != 0, reason="QEMU as another user needs root")
@pytest.mark.parametrize("words", [("rm", "vm1", "-y"), ("rename", "vm1", "web")], ids=["rm", "rename"])
@pytest.mark.usefixtures("netns", "tun")
def test_a_guest_that_powered_itself_off_leaves_nothing_under_its_name(
    lab: Path, kvmrun: Cli, run: Run, words: tuple[str, ...]
) -> None:
    guests(lab, "vm1")
    kvmrun.ok("vm1")
    kvmrun.ok("monitor", "vm1", "-c", "quit")
    kvmrun.ok("wait", "vm1", "--for", "stopped")
    assert kvmrun.rows()["vm1"]["state"] == "stopped"
    kvmrun.ok(*words)
    rows = {name: row["state"] for name, row in kvmrun.rows().items()}
    assert rows == ({"web": "stopped"} if words[0] == "rename" else {})
    faults = kvmrun("repair", "--dry-run", "-o", "json").json()["faults"]
    assert "vm1" not in {one["subject"] for one in faults}


def test_a_guest_that_runs_is_removed_by_force_unless_it_is_protected_or_needed(lab: Path, kvmrun: Cli) -> None:
    guests(lab, "vm1", "vm2", "vm3", text=TCG + "nic = []\n")
    kvmrun.ok("vm1", "vm2", "vm3")
    guests(lab, "vm1", text=TCG + "nic = []\nprotect = true\n")
    guests(lab, "needs", text='after = ["vm2"]\n')
    before = {name: kvmrun.pid(name) for name in ("vm1", "vm2")}
    result = kvmrun("rm", "-f", "vm1", "vm2", "vm3", "vm9")
    assert (result.code, result.out.startswith("vm3 ")) == (6, True), result
    assert left(lab) == {"vm1.toml", "vm2.toml", "needs.toml"}
    rows = kvmrun.rows()
    assert ({name: rows[name]["pid"] for name in before}, "vm3" in rows) == (before, False)
