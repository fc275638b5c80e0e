"""Which directories, and whether root may believe what is in them."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from kvmrun.config.load_lab import load_lab
from kvmrun.config.standard_paths import is_distrusted, require_trusted_lab, resolve_paths
from kvmrun.errors import Refused

ELSEWHERE = "copy the lab to a directory of your own, and name that: -C DIR"
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
    found = resolve_paths(environ.get("-C"), {key: here(value) for key, value in environ.items()})
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
    found = resolve_paths(None, environ)
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
    require_trusted_lab(str(tree), {})
    require_trusted_lab(str(tree / "missing"), {})


@root_only
@pytest.mark.parametrize("mode", [0o020, 0o002])
@pytest.mark.parametrize("name", [".", "networks.toml", ".."])
def test_what_others_may_write_is_refused_by_name(tree: Path, name: str, mode: int) -> None:
    (tree / "networks.toml").touch(0o644)
    bad = (tree / name).resolve()
    bad.chmod(bad.stat().st_mode | mode)
    with pytest.raises(Refused, match=rf"{bad} is not to be trusted") as refused:
        require_trusted_lab(str(tree), {})
    own = name != ".."  # nothing but the lab's own directory and file may be changed by a fix
    assert refused.value.fix == (f"chmod go-w {bad}" if own else ELSEWHERE)


@root_only
@pytest.mark.parametrize("name", [".", "networks.toml", ".."])
def test_what_is_somebody_elses_is_refused_unless_it_is_the_callers(tree: Path, name: str) -> None:
    (tree / "networks.toml").touch(0o644)
    bad = (tree / name).resolve()
    os.chown(bad, 12345, 12345)
    with pytest.raises(Refused, match=rf"{bad} is not to be trusted") as refused:
        require_trusted_lab(str(tree), {"SUDO_UID": "1000"})
    assert refused.value.fix == ELSEWHERE
    require_trusted_lab(str(tree), {"SUDO_UID": "12345"})


@root_only
@pytest.mark.parametrize(
    "harm", [lambda path: path.chmod(0o666), lambda path: os.chown(path, 12345, 12345)], ids=["mode", "owner"]
)
def test_one_file_that_others_could_have_written_costs_that_file(tree: Path, harm: Callable[[Path], None]) -> None:
    (tree / "vm2.toml").touch(0o644)
    harm(tree / "vm1.toml")
    require_trusted_lab(str(tree), {})
    assert list(is_distrusted(str(tree), {})) == ["vm1.toml"]
    lab = load_lab(str(tree), "/i", distrusted=is_distrusted(str(tree), {}))
    assert (list(lab.guests), lab.invalid) == (["vm2"], ("vm1",))
    [problem] = lab.problems
    assert (problem.file, "not to be trusted" in problem.found, str(tree / "vm1.toml") in problem.found) == (
        *("vm1.toml", True),
        True,
    )


@root_only
@pytest.mark.parametrize("target", ["/dev/zero", "/dev", "/proc/self/mem", "missing", "vm2.toml"])
def test_a_link_among_the_definitions_costs_that_definition(tree: Path, target: str) -> None:
    (tree / "vm1.toml").unlink()
    (tree / "vm1.toml").symlink_to(target)
    (tree / "vm2.toml").touch(0o644)
    lab = load_lab(str(tree), "/i", distrusted=is_distrusted(str(tree), {}))
    assert lab.invalid == (() if target == "vm2.toml" else ("vm1",))
    assert "vm2" in lab.guests
    assert not [one for one in lab.problems if "chmod" in str(one) or "chown" in str(one)]


@root_only
def test_a_sticky_directory_is_well_above_a_lab_but_not_as_one(tree: Path) -> None:
    tree.parent.chmod(0o1777)
    require_trusted_lab(str(tree), {})
    tree.chmod(0o1777)
    with pytest.raises(Refused, match=str(tree)):
        require_trusted_lab(str(tree), {})


@root_only
def test_a_sticky_directory_of_somebody_elses_is_refused(tree: Path) -> None:
    tree.parent.chmod(0o1777)
    os.chown(tree.parent, 12345, 0)
    with pytest.raises(Refused, match=str(tree.parent)):
        require_trusted_lab(str(tree), {"SUDO_UID": "12345"})


@root_only
def test_a_link_in_somebody_elses_directory_is_refused(tree: Path, own_directories: Path) -> None:
    (own_directories / "theirs").mkdir()
    os.chown(own_directories / "theirs", 12345, 12345)
    link = own_directories / "theirs" / "lab"
    link.symlink_to(tree)
    with pytest.raises(Refused, match=str(link.parent)):
        require_trusted_lab(str(link), {})


@root_only
def test_a_link_of_somebody_elses_is_refused(tree: Path) -> None:
    tree.parent.chmod(0o1777)
    link = tree.parent / "lab"
    link.symlink_to(tree)
    os.chown(link, 12345, 12345, follow_symlinks=False)
    with pytest.raises(Refused, match=str(link)):
        require_trusted_lab(str(link), {})


@root_only
def test_a_definition_that_leads_to_somebody_elses_directory_is_not_read(tree: Path, own_directories: Path) -> None:
    theirs = own_directories / "theirs"
    theirs.mkdir()
    (theirs / "vm2.toml").touch()
    (tree / "vm2.toml").symlink_to(theirs / "vm2.toml")
    assert not is_distrusted(str(tree), {})
    os.chown(theirs, 12345, 12345)
    assert list(is_distrusted(str(tree), {})) == ["vm2.toml"]
    assert str(theirs) in is_distrusted(str(tree), {})["vm2.toml"]


@root_only
@pytest.mark.parametrize("uid", ["", "x", "-1", "1 2", "\xb2"])
def test_a_caller_that_is_no_number_is_nobody(tree: Path, uid: str) -> None:
    require_trusted_lab(str(tree), {"SUDO_UID": uid})
