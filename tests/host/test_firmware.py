"""The files of firmware on a host: descriptors, which hide each other, and the variables of a guest."""

import json
import os
import struct
import subprocess
from pathlib import Path

import pytest
from support.table import each

from kvmrun.errors import KvmrunError
from kvmrun.host.firmware import descriptor_files, uefi_variables
from kvmrun.model.deadline import NEVER
from kvmrun.model.firmware.descriptor import Flash
from kvmrun.plan.steps.firmware_steps import MakeVariables

GOOD = {
    "interface-types": ["uefi"],
    "mapping": {"device": "memory", "filename": "/f"},
    "targets": [],
    "features": [],
}


@pytest.fixture
def directories(own_directories: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Those of packages and of root."""
    packages, root = own_directories / "share", own_directories / "etc"
    for path in (packages, root):
        path.mkdir(mode=0o755)
    monkeypatch.setattr(descriptor_files, "_DIRECTORIES", (str(packages), str(root)))
    return packages, root


def write(path: Path, mapped: str = "/f") -> None:
    path.write_text(json.dumps({**GOOD, "mapping": {"device": "memory", "filename": mapped}}))


def test_a_file_of_root_hides_that_of_a_package(directories: tuple[Path, Path]) -> None:
    packages, root = directories
    for name in ("60-c.json", "50-b.json", "40-a.json"):
        write(packages / name, f"/share/{name}")
    write(root / "50-b.json", "/etc/b")
    write(root / "10-z.json", "/etc/z")
    (root / "40-a.json").touch()
    (root / ".hidden.json").write_text("{")
    found, bad = descriptor_files.read_descriptors(root=True)
    assert [one.code.path for one in found] == ["/etc/z", "/etc/b", "/share/60-c.json"]
    assert bad == {}


def test_a_user_has_descriptors_of_their_own(
    directories: tuple[Path, Path], own_directories: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(own_directories / "home"))
    (own_directories / "home/qemu/firmware").mkdir(parents=True)
    write(directories[1] / "50-b.json", "/etc/b")
    write(own_directories / "home/qemu/firmware/50-b.json", "/home/b")
    for root, path in ((True, "/etc/b"), (False, "/home/b")):
        assert [one.code.path for one in descriptor_files.read_descriptors(root=root)[0]] == [path]


def test_one_bad_file_costs_itself(directories: tuple[Path, Path]) -> None:
    packages, root = directories
    write(packages / "90-good.json")
    write(packages / "50-hidden.json")
    (root / "50-hidden.json").write_text("not JSON")
    (root / "51-deep.json").write_text("[" * 60000)
    (root / "52-large.json").write_text(" " * 70000)
    (root / "53-number.json").write_text("1" * 5000)
    (root / "54-list.json").write_text("[]")
    (root / "55-bytes.json").write_bytes(b"\xff\xfe{}")
    (root / "56-directory.json").mkdir()
    (root / "57-nowhere.json").symlink_to("/nowhere")
    (root / "58-nan.json").write_text('{"interface-types": NaN}')
    os.mkfifo(root / "59-fifo.json")
    found, bad = descriptor_files.read_descriptors(root=True)
    assert [one.name for one in found] == ["90-good.json"]
    assert len(bad) == 10


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_root_takes_no_descriptor_that_another_user_could_change(directories: tuple[Path, Path]) -> None:
    write(directories[1] / "50-b.json")
    os.chown(directories[1], 1234, 1234)
    found, bad = descriptor_files.read_descriptors(root=True)
    assert (found, len(bad)) == ((), 1)


@pytest.fixture
def template(own_directories: Path) -> Path:
    path = own_directories / "template.fd"
    path.write_bytes(os.urandom(500 << 10) + bytes(28 << 10))
    return path


def made(template: Path, path: Path) -> Path:
    step = MakeVariables(path=str(path), template=Flash(path=str(template), format="raw"), uid=None)
    uefi_variables.make_variables(step, NEVER)
    return path


def test_variables_are_qcow2_with_the_content_of_the_template(template: Path, own_directories: Path) -> None:
    path = made(template, own_directories / "guest/vm1/vars.qcow2")
    facts = uefi_variables.variables_facts(str(path))
    assert facts is not None
    assert (facts.size, facts.fault) == (528 << 10, "")
    compare = ["qemu-img", "compare", "-f", "raw", "-F", "qcow2", str(template), str(path)]
    subprocess.run(compare, check=True, capture_output=True)
    assert os.listdir(path.parent) == ["vars.qcow2"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_nothing_is_replaced_and_nothing_half_made_stays(template: Path, own_directories: Path) -> None:
    path = own_directories / "guest/vm1/vars.qcow2"
    path.parent.mkdir(parents=True)
    for there in (lambda: path.write_text("mine"), lambda: path.symlink_to(template)):
        there()
        before = path.lstat()
        with pytest.raises(KvmrunError):
            made(template, path)
        assert path.lstat() == before
        assert os.listdir(path.parent) == ["vars.qcow2"]
        path.unlink()
    with pytest.raises((KvmrunError, OSError)):
        made(own_directories / "nothing.fd", path)
    assert os.listdir(path.parent) == []


def test_variables_that_were_cut_are_noticed_wherever(template: Path, own_directories: Path) -> None:
    path = made(template, own_directories / "vars.qcow2")
    whole = path.read_bytes()

    def check(length: int) -> None:
        path.write_bytes(whole[:length])
        facts = uefi_variables.variables_facts(str(path))
        assert facts is not None
        assert facts.fault

    last = len(whole.rstrip(b"\0")) - (1 << 16)
    each([0, 3, 40, 71, 72, 4096, 1 << 16, 2 << 16, 3 << 16, 4 << 16, 5 << 16, last], check)


def test_no_header_makes_it_read_for_ever(template: Path, own_directories: Path) -> None:
    path = made(template, own_directories / "vars.qcow2")
    whole = bytearray(path.read_bytes())

    def check(change: tuple[int, bytes]) -> None:
        offset, data = change
        path.write_bytes(bytes(whole[:offset] + data + whole[offset + len(data) :]))
        facts = uefi_variables.variables_facts(str(path))
        assert facts is not None

    most = struct.pack(">Q", (1 << 64) - 1)
    each([(at, most[:width]) for at in range(4, 72, 4) for width in (4, 8)], check)


def test_something_else_in_the_place_of_variables_is_told(own_directories: Path) -> None:
    path = own_directories / "vars.qcow2"
    assert uefi_variables.variables_facts(str(path)) is None
    for there in (path.mkdir, lambda: os.mkfifo(path), lambda: path.symlink_to("/dev/null")):
        there()
        facts = uefi_variables.variables_facts(str(path))
        assert facts is not None
        assert facts.fault
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
