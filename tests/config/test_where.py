"""Which directories, and whether root may believe what is in them."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from kvmrun.config.where import directories, trusted
from kvmrun.errors import Refused

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: to give files away")


@pytest.fixture
def become(own_directories: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Makes this process say that it is another user, in an empty working directory that is also the home."""
    monkeypatch.chdir(own_directories)
    monkeypatch.setenv("HOME", str(own_directories))
    return lambda uid: monkeypatch.setattr(os, "geteuid", lambda: uid)


def here(text: str) -> str:
    return text.replace("@", os.getcwd())


@pytest.mark.parametrize(
    ("environ", "made", "uid", "wanted"),
    [
        ({"-C": "given", "KVMRUN_VMS": "/env"}, ("vms.d",), 0, "@/given"),
        ({"-C": "/abs/../given/"}, (), 0, "/given"),
        ({"KVMRUN_VMS": "/env"}, ("vms.d",), 0, "/env"),
        ({"KVMRUN_VMS": ""}, ("vms.d",), 0, "@/vms.d"),
        ({}, ("vms.d", ".config/kvmrun/vms.d"), 1000, "@/vms.d"),
        ({}, (".config/kvmrun/vms.d",), 1000, "@/.config/kvmrun/vms.d"),
        ({"XDG_CONFIG_HOME": "@/xdg"}, ("xdg/kvmrun/vms.d",), 1000, "@/xdg/kvmrun/vms.d"),
        ({}, (".config/kvmrun/vms.d",), 0, "/etc/kvmrun/vms.d"),
        ({}, (), 1000, "/etc/kvmrun/vms.d"),
    ],
)
def test_the_lab_is_found(
    become: Callable[[int], None], environ: dict[str, str], made: tuple[str, ...], uid: int, wanted: str
) -> None:
    for name in made:
        Path(name).mkdir(parents=True)
    become(uid)
    found = directories(environ.get("-C"), {key: here(value) for key, value in environ.items()})
    assert (found.vms, found.root) == (here(wanted), uid == 0)


@pytest.mark.parametrize(
    ("environ", "uid", "run", "state"),
    [
        ({}, 0, "/run/kvmrun", "/var/lib/kvmrun"),
        ({"XDG_RUNTIME_DIR": "/r", "XDG_STATE_HOME": "/s"}, 0, "/run/kvmrun", "/var/lib/kvmrun"),
        ({"XDG_RUNTIME_DIR": "/r", "XDG_STATE_HOME": "/s"}, 7, "/r/kvmrun", "/s/kvmrun"),
        ({}, 7, "/run/user/7/kvmrun", "@/.local/state/kvmrun"),
        ({"KVMRUN_RUN_DIR": "/a", "KVMRUN_STATE_DIR": "/b"}, 0, "/a", "/b"),
        ({"KVMRUN_RUN_DIR": "a", "KVMRUN_STATE_DIR": "b"}, 7, "@/a", "@/b"),
    ],
)
def test_run_and_state_are_found(
    become: Callable[[int], None], environ: dict[str, str], uid: int, run: str, state: str
) -> None:
    become(uid)
    found = directories(None, environ)
    assert (found.run, found.state) == (here(run), here(state))
    assert (found.guest("vm1"), found.images) == (f"{found.run}/vm/vm1", f"{found.state}/images")


@pytest.fixture
def tree(own_directories: Path) -> Path:
    """A lab two levels deep, to be trusted as it is."""
    path = own_directories / "deep" / "vms.d"
    path.mkdir(parents=True, mode=0o755)
    (path / "vm1.toml").touch(0o644)
    path.parent.chmod(0o755)
    return path


@root_only
def test_a_lab_of_roots_is_trusted(tree: Path) -> None:
    trusted(str(tree), {})
    trusted(str(tree / "missing"), {})


@root_only
@pytest.mark.parametrize("mode", [0o020, 0o002])
@pytest.mark.parametrize("name", [".", "vm1.toml", ".."])
def test_what_others_may_write_is_refused_by_name(tree: Path, name: str, mode: int) -> None:
    bad = (tree / name).resolve()
    bad.chmod(bad.stat().st_mode | mode)
    with pytest.raises(Refused, match=rf"{bad} is not to be trusted") as refused:
        trusted(str(tree), {})
    assert refused.value.hint == f"chmod go-w {bad}"


@root_only
@pytest.mark.parametrize("name", [".", "vm1.toml", ".."])
def test_what_is_somebody_elses_is_refused_unless_it_is_the_callers(tree: Path, name: str) -> None:
    bad = (tree / name).resolve()
    os.chown(bad, 12345, 12345)
    with pytest.raises(Refused, match=rf"{bad} is not to be trusted") as refused:
        trusted(str(tree), {"SUDO_UID": "1000"})
    assert refused.value.hint == f"chown root {bad}"
    trusted(str(tree), {"SUDO_UID": "12345"})


@root_only
def test_a_sticky_directory_is_well_above_a_lab_but_not_as_one(tree: Path) -> None:
    tree.parent.chmod(0o1777)
    trusted(str(tree), {})
    tree.chmod(0o1777)
    with pytest.raises(Refused, match=str(tree)):
        trusted(str(tree), {})


@root_only
def test_a_sticky_directory_of_somebody_elses_is_refused(tree: Path) -> None:
    tree.parent.chmod(0o1777)
    os.chown(tree.parent, 12345, 0)
    with pytest.raises(Refused, match=str(tree.parent)):
        trusted(str(tree), {"SUDO_UID": "12345"})


@root_only
def test_a_link_in_somebody_elses_directory_is_refused(tree: Path, own_directories: Path) -> None:
    (own_directories / "theirs").mkdir()
    os.chown(own_directories / "theirs", 12345, 12345)
    link = own_directories / "theirs" / "lab"
    link.symlink_to(tree)
    with pytest.raises(Refused, match=str(link.parent)):
        trusted(str(link), {})


@root_only
def test_a_link_of_somebody_elses_is_refused(tree: Path) -> None:
    tree.parent.chmod(0o1777)
    link = tree.parent / "lab"
    link.symlink_to(tree)
    os.chown(link, 12345, 12345, follow_symlinks=False)
    with pytest.raises(Refused, match=str(link)):
        trusted(str(link), {})


@root_only
def test_a_definition_that_leads_to_somebody_elses_directory_is_refused(tree: Path, own_directories: Path) -> None:
    theirs = own_directories / "theirs"
    theirs.mkdir()
    (theirs / "vm2.toml").touch()
    (tree / "vm2.toml").symlink_to(theirs / "vm2.toml")
    trusted(str(tree), {})
    os.chown(theirs, 12345, 12345)
    with pytest.raises(Refused, match=str(theirs)):
        trusted(str(tree), {})


@root_only
@pytest.mark.parametrize("uid", ["", "x", "-1", "1 2", "\xb2"])
def test_a_caller_that_is_no_number_is_nobody(tree: Path, uid: str) -> None:
    trusted(str(tree), {"SUDO_UID": uid})
