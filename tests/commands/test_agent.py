"""Guests with and without an agent: commands run, files carried, held, asked to go; and the guest dying under it."""

import os
import re
import signal
import time
from pathlib import Path

import pytest
from support.builders import TCG, guests
from support.cli import Cli, has_line
from support.screen import command
from support.world import until

pytestmark = pytest.mark.usefixtures("netns", "tun")


@pytest.fixture
def inside(lab: Path, demo: str, kvmrun: Cli) -> Cli:
    """The command, with vm1 running: a small Linux whose agent answers."""
    if not os.path.exists(f"{demo}/demo-agent"):
        pytest.skip("needs the demo guest with an agent: scripts/guest")
    boot = f'kernel = "{demo}/demo-vmlinuz"\ninitrd = "{demo}/demo-agent"\ncmdline = "console=ttyS0 quiet"\n'
    (lab / "vm1.toml").write_text(f'accel = "tcg"\nmemory = "128M"\n[boot]\n{boot}')
    kvmrun.limit = 150
    kvmrun.ok("vm1", "--wait=agent", "--timeout", "120")
    return kvmrun


def test_a_day_with_an_agent(lab: Path, inside: Cli, tmp_path: Path) -> None:
    commands(lab, inside)
    files(inside, tmp_path)
    directories(inside, tmp_path / "trees")
    tells(inside)
    inside.ok("exec", "vm1", "--", "killall", "acpid")
    out = inside.ok("stop", "vm1", "--timeout", "30").out
    assert ("agent" in out, "QEMU" in out) == (True, False)


def commands(lab: Path, inside: Cli) -> None:
    done = inside("exec", "vm1", "--", "sh", "-c", "echo out; echo err >&2; exit 42")
    assert (done.code, done.out, done.err) == (42, "out\n", "err\n")
    assert inside("exec", "vm1", "--", "sh", "-c", "kill -9 $$").code == 137
    assert inside.typed("exec", "-i", "vm1", "--", "wc", "-c", text="x" * 100_000).out == "100000\n"
    assert inside.ok("exec", "vm1", "--", "printf", "%s|", "a b", "$(id)", "--", "").out == "a b|$(id)|--||"
    late = inside("exec", "vm1", "--timeout", "5", "--", "sleep", "60")
    assert late.code == 7
    assert re.search(r"pid \d+", late.err)
    assert inside("exec", "vm1", "--", "nonesuch").code == 127
    with command(lab, "exec", "vm1", "--", "printf", r"\033]0;owned\007plain\033[6n") as screen:
        assert screen.end() == 0
    assert b"plain" in screen.raw
    assert b"owned" not in screen.raw
    assert b"\x1b[6n" not in screen.raw


def files(inside: Cli, tmp_path: Path) -> None:
    there, back = tmp_path / "there", tmp_path / "back"
    there.write_bytes(os.urandom(1_000_000))
    there.chmod(0o750)
    with inside.begun("exec", "vm1", "--", "sleep", "3") as other:
        inside.ok("cp", str(there), "vm1:/tmp/")
        inside.ok("cp", "vm1:/tmp/there", str(back))
        assert other.wait(60) == 0
    assert back.read_bytes() == there.read_bytes()
    assert inside.ok("exec", "vm1", "--", "stat", "-c", "%a %s", "/tmp/there").out == "750 1000000\n"
    (tmp_path / "secret").write_text("mine")
    (tmp_path / "link").symlink_to("secret")
    inside.ok("cp", "vm1:/proc/version", str(tmp_path / "link"))
    assert (tmp_path / "secret").read_text() == "mine"
    assert "Linux" in (tmp_path / "link").read_text()
    for words, code in (
        (("vm1:/tmp", str(tmp_path)), 2),
        ((str(there), "vm1:/nonesuch/x"), 1),
        ((str(there), "vm1:/proc/x"), 1),
        ((str(tmp_path), "vm1:/tmp/x"), 2),
        ((str(tmp_path / "none"), "vm1:/tmp/x"), 1),
        (("vm1:x", str(tmp_path)), 2),
        ((str(there), str(back)), 2),
    ):
        assert inside("cp", *words).code == code, words
    assert sorted(path.name for path in tmp_path.iterdir()) == ["back", "link", "secret", "there"]
    assert inside.ok("exec", "vm1", "--", "ls", "-A", "/tmp").out == "there\n"


def directories(inside: Cli, place: Path) -> None:
    source = place / "source"
    (source / "deep").mkdir(parents=True)
    (source / "deep/file").write_bytes(data := os.urandom(500_000))
    (source / "deep/file").chmod(0o640)
    (source / "link").symlink_to("deep/file")
    refused = inside("cp", f"{source}", "vm1:/tmp/")
    assert (refused.code, f"kvmrun cp -r {source} vm1:/tmp/" in refused.err) == (2, True)
    assert "-> vm1:/tmp/: 1 file, 500000 bytes" in inside.ok("cp", "-r", f"{source}", "vm1:/tmp/").out
    inside.ok("cp", "-r", f"{source}", "vm1:/tmp/other/")
    found = inside.ok("exec", "vm1", "--", "stat", "-c", "%a %u %N", "/tmp/source/deep/file", "/tmp/other/link").out
    assert found.splitlines() == ["640 0 /tmp/source/deep/file", "777 0 '/tmp/other/link' -> 'deep/file'"]
    inside.ok("exec", "vm1", "--", "ln", "-s", "/etc", "/tmp/source/away")
    (place / "into").mkdir()
    for target, name in (("into", "into/source"), ("back", "back")):
        done = inside.ok("cp", "--recursive", "vm1:/tmp/source", f"{place / target}")
        assert has_line(done.err, " away: ", "/etc")
        assert (place / name / "link").read_bytes() == data
        assert (place / name / "deep/file").stat().st_mode & 0o777 == 0o600
    refused = inside("cp", "vm1:/tmp/source", f"{place / 'more'}")
    assert (refused.code, "kvmrun cp -r vm1:/tmp/source" in refused.err) == (2, True)
    for words, code in (
        ((f"{source}", "vm1:/tmp/"), 6),
        ((f"{source}", "vm1:/nonesuch/x"), 1),
        (("vm1:/tmp/source", f"{place / 'back'}/../back/deep/file"), 6),
        (("vm1:/tmp/source", f"{place / 'into'}"), 6),
        (("vm1:/tmp/source", f"{place / 'none/x'}"), 1),
        (("vm1:/", f"{place / 'all'}"), 2),
        (("vm1:/nonesuch", f"{place}"), 1),
        (("vm1:/tmp/there", f"{place / 'file'}"), 0),
        (("vm1:/tmp", f"{place / 'tmp'}"), 0),
    ):
        assert inside("cp", "-r", *words).code == code, words
    inside.ok("exec", "vm1", "--", "mv", "/bin/tar", "/tmp/tar")
    for words in ((f"{source}", "vm1:/tmp/late"), ("vm1:/tmp/source", f"{place / 'late'}")):
        assert re.search(r"\btar\b", inside("cp", "-r", *words).err)
    assert sorted(path.name for path in place.iterdir()) == ["back", "file", "into", "source", "tmp"]
    assert sorted(path.name for path in (place / "tmp").iterdir()) == ["other", "source", "there"]
    assert inside.ok("exec", "vm1", "--", "ls", "-A", "/tmp").out.split() == ["other", "source", "tar", "there"]


def tells(inside: Cli) -> None:
    told = inside.ok("list", "-v", "-o", "json").json()["guests"][0]["agent"]
    address = inside.rows()["vm1"]["nics"][0]["address"]
    assert f"{address}/24" in told[0]["addresses"]
    assert f"address    {address} (reservation)" in inside.ok("show", "vm1").out
    assert inside("freeze", "vm1").code == 1
    inside.ok("thaw", "vm1")


def test_the_guest_dies_under_it(inside: Cli, tmp_path: Path) -> None:
    with inside.begun("exec", "vm1", "--", "sleep", "60") as running:
        until(lambda: "sleep 60" in inside("exec", "vm1", "--", "ps").out)
        with inside.begun("cp", "vm1:/dev/urandom", str(tmp_path / "much")) as copy:
            until(lambda: any(path.stat().st_size for path in tmp_path.iterdir()))
            os.kill(inside.pid("vm1"), signal.SIGKILL)
            assert (running.wait(30), copy.wait(30)) == (3, 3)
    assert list(tmp_path.iterdir()) == []
    for words in (
        ("exec", "vm1", "--", "true"),
        ("cp", "vm1:/x", "x"),
        ("freeze", "vm1"),
        ("thaw", "vm1"),
        ("ssh", "vm1"),
    ):
        assert inside(*words).code == 3


class TestNobodyThere:
    """Guests in which nothing runs: what is asked of an agent is answered at once."""

    def test_what_is_in_the_way_is_said(self, lab: Path, kvmrun: Cli) -> None:
        guests(lab, "vm1")
        guests(lab, "vm2", text=f"{TCG}agent = false\n")
        kvmrun.ok("vm1", "vm2")
        begun = time.monotonic()
        for words in (("exec", "{}", "--", "true"), ("cp", "{}:/x", "x"), ("freeze", "{}"), ("thaw", "{}")):
            nobody = kvmrun(*(word.format("vm1") for word in words))
            assert (nobody.code, "kvmrun wait vm1 --for agent" in nobody.err) == (7, True), words
            refused = kvmrun(*(word.format("vm2") for word in words))
            assert (refused.code, "agent = true" in refused.err) == (6, True), words
        assert time.monotonic() - begun < 30
        assert kvmrun("exec", "vm1").code == 2
        assert kvmrun("exec", "vm9", "--", "true").code == 4
        late = kvmrun("wait", "vm1", "--for", "agent", "--timeout", "0.3")
        assert (late.code, "0.3 s" in late.err) == (7, True)
        assert {one["agent"] for one in kvmrun.ok("list", "-v", "-o", "json").json()["guests"]} == {None}
        kvmrun.ok("pause", "vm1")
        paused = kvmrun("exec", "vm1", "--", "true")
        assert (paused.code, paused.fixes) == (7, ["kvmrun resume vm1"])

    def test_ssh_keeps_hosts_of_its_own(self, lab: Path, kvmrun: Cli, own_directories: Path) -> None:
        guests(lab, "vm1", text=f'{TCG}ssh_user = "me"\nnic = [{{ address = "192.168.0.77" }}]\n')
        guests(lab, "vm2", text=f"{TCG}nic = []\n")
        kvmrun.ok("vm1", "vm2")
        nowhere = kvmrun("ssh", "vm2")
        assert (nowhere.code, "vm2.toml" in nowhere.err) == (6, True)
        if not any(os.access(f"{place}/ssh", os.X_OK) for place in ("/usr/local/bin", "/usr/bin", "/bin")):
            assert kvmrun("ssh", "vm1").code == 69
            return
        told = kvmrun("ssh", "vm1", "--", "-G").out.splitlines()
        keys = own_directories / "state/ssh"
        assert {f"userknownhostsfile {keys}/known_hosts", "globalknownhostsfile /dev/null", "user me"} <= set(told)
        assert {"hostkeyalias vm1", "hostname 192.168.0.77", "stricthostkeychecking accept-new"} <= set(told)
        assert "user you" in kvmrun("ssh", "-l", "you", "vm1", "--", "-G").out.splitlines()
        assert keys.stat().st_mode & 0o777 == 0o700
