"""The files of a seed on this host: written whole, for nobody else; keys and documents read with judgement."""

import base64
import json
import os
import pwd
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from support.table import each

from kvmrun.errors import KvmrunError, Refused
from kvmrun.host.process import process
from kvmrun.host.seed import caller_keys, seed_facts, seed_files
from kvmrun.host.seed.iso_image import write_iso
from kvmrun.host.seed.user_data_check import user_data_problem
from kvmrun.model.paths import Paths
from kvmrun.model.scalars import PathBase
from kvmrun.model.seed.seed import Seed
from kvmrun.model.seed.seed_values import PublicKey
from kvmrun.plan.steps.guest_steps import WriteSeed

KEY = "ssh-ed25519 " + base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + bytes(32)).decode()
DOCUMENTS = (("meta-data", b"instance-id: a\n"), ("user-data", b"#cloud-config\n{}\n"))


def step(directory: Path, instance: str = "web-1", *, iso: bool = True) -> WriteSeed:
    return WriteSeed(directory=str(directory), instance=instance, documents=DOCUMENTS, iso=iso)


@pytest.fixture
def place(own_directories: Path) -> Path:
    return own_directories / "state/seed/web"


def label(path: Path) -> str:
    return path.read_bytes()[0x8028:0x8048].decode().strip()


def test_a_medium_has_the_label_and_the_files(tmp_path: Path) -> None:
    with (tmp_path / "a.iso").open("wb") as file:
        write_iso(file, "cidata", dict(DOCUMENTS))
    data = (tmp_path / "a.iso").read_bytes()
    assert label(tmp_path / "a.iso") == "cidata"
    assert all(name.encode() in data and text in data for name, text in DOCUMENTS)
    assert "user-data".encode("utf-16-be") in data, "Joliet"


def test_it_is_written_whole_and_for_nobody_else(place: Path) -> None:
    seed_files.write_seed(step(place))
    assert sorted(path.name for path in place.iterdir()) == ["cidata.iso", "instance-id"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in place.iterdir()} == {0o600}
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert seed_files.written_instance(str(place)) == "web-1"


def test_another_one_takes_its_place_and_nothing_is_left_of_the_first(place: Path) -> None:
    seed_files.write_seed(step(place, iso=False))
    (place / ".cidata.iso.012345").write_bytes(b"half")
    back = seed_files.write_seed(step(place, "web-2"))
    assert sorted(path.name for path in place.iterdir()) == ["cidata.iso", "instance-id"]
    back()
    assert not place.exists()
    seed_files.remove_seed(str(place))


def test_a_link_in_its_place_is_replaced_and_not_followed(place: Path, tmp_path: Path) -> None:
    seed_files.write_seed(step(place))
    for name in ("cidata.iso", "instance-id"):
        (tmp_path / name).write_text("mine")
        (place / name).unlink()
        (place / name).symlink_to(tmp_path / name)
    assert seed_files.written_instance(str(place)) == ""
    seed_files.write_seed(step(place))
    assert [(tmp_path / name).read_text() for name in ("cidata.iso", "instance-id")] == ["mine", "mine"]
    assert label(place / "cidata.iso") == "cidata"


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")
@pytest.mark.usefixtures("netns")
def test_a_full_disk_leaves_nothing(place: Path) -> None:
    place.parent.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k,mode=700", "none", place.parent], check=True)
    try:
        with pytest.raises(KvmrunError, match="cannot write the seed"):
            seed_files.write_seed(step(place))
        assert not place.exists()
    finally:
        subprocess.run(["umount", place.parent], check=True)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of uid 1234, who has called sudo."""
    homes = {1234: str(tmp_path)}
    monkeypatch.setattr(
        pwd, "getpwuid", lambda uid: pwd.struct_passwd(("me", "x", uid, uid, "", homes.get(uid, "/no"), "/bin/sh"))
    )
    monkeypatch.setenv("SUDO_UID", "1234")
    (tmp_path / ".ssh").mkdir()
    return tmp_path / ".ssh"


def where(root: Path, *, is_root: bool = True) -> Paths:
    return Paths(vms="/v", run="/r", state=str(root), root=is_root)


def test_the_keys_are_those_of_who_called_sudo_and_our_own(home: Path, own_directories: Path) -> None:
    (home / "id_a.pub").write_text(f"{KEY} a\n")
    (home / "id_a").write_text("private")
    (home / "id_a-cert.pub").write_text(f"{KEY} certificate\n")
    (home / "odd.pub").write_text("-----BEGIN OPENSSH PRIVATE KEY-----\n")
    (home / "config").write_text(f"{KEY} no\n")
    os.mkfifo(home / "pipe.pub")
    (own_directories / "ssh").mkdir()
    (own_directories / "ssh/id_ed25519.pub").write_text(f"{KEY} ours\n")
    found = caller_keys.caller_keys(where(own_directories))
    assert found.keys == (f"{KEY} a", f"{KEY} ours")
    assert caller_keys.private_keys(where(own_directories)) == [str(home / "id_a")]
    assert caller_keys.private_keys(where(own_directories, is_root=False)) == []
    assert caller_keys.caller_keys(where(own_directories, is_root=False)).places[0] == "/no/.ssh"


def test_files_that_a_seed_names(tmp_path: Path) -> None:
    (tmp_path / "good").write_bytes(b"x")
    (tmp_path / "large").write_bytes(bytes((1 << 20) + 1))
    (tmp_path / "link").symlink_to(tmp_path / "good")
    os.mkfifo(tmp_path / "pipe")
    names = ("good", "link", "large", "pipe", "missing", ".")
    base = PathBase(directory=str(tmp_path), images="/i")
    seed = Seed(backend="cloud-init", ssh_keys=tuple(PublicKey.parse(name, base) for name in names))
    paths = [str(path) for path in seed.ssh_keys or ()]
    found = seed_facts.named_files(seed)
    assert [isinstance(found[path], Refused) for path in paths] == [False, False, True, True, True, True]


def problem(data: bytes, backend: str = "cloud-init") -> Refused | None:
    return user_data_problem("/lab/doc", data, backend)


GOOD = (
    (b"#cloud-config\npackages: [a]\n", "cloud-init"),
    (b"#cloud-config\n", "cloud-init"),
    (b"#!/bin/sh\necho\n", "cloud-init"),
    (b"\x1f\x8b\x08binary", "cloud-init"),
    (b"Content-Type: multipart/mixed\n", "cloud-init"),
    (json.dumps({"ignition": {"version": "3.4.0"}}).encode(), "ignition"),
)
WRONG = (
    (b"", "cloud-init"),
    (b"packages: [a]\n", "cloud-init"),
    (b"#cloud-config\na: [\n", "cloud-init"),
    (b"#cloud-config\n- a\n", "cloud-init"),
    (b"#cloud-config\n" + b"[" * 100_000, "cloud-init"),
    (b"#cloud-config\na: \xff\xfe\n", "cloud-init"),
    (b"{", "ignition"),
    (b"[]", "ignition"),
    (b"{}", "ignition"),
    (b'{"ignition": {"version": "2.2.0"}}', "ignition"),
    (b'{"ignition": {"version": 3}}', "ignition"),
    (b"[" * 100_000, "ignition"),
    (b"\xff\xfe", "ignition"),
)


def test_documents_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("yaml")
    monkeypatch.setattr(process, "find_program", lambda _name: "")

    def is_wrong(case: tuple[bytes, str]) -> bool:
        return problem(*case) is not None

    each(GOOD, lambda case: holds(not is_wrong(case)))
    each(WRONG, lambda case: holds(is_wrong(case)))


def holds(value: bool) -> None:
    assert value


SAID: tuple[tuple[str, Callable[[Refused], object]], ...] = (
    (
        "Error:\nCloud config schema errors: packages: 'nginx' is not of type 'array', users.0: {} is not valid\n",
        lambda error: (
            error.lines == ("line 2: packages: 'nginx' is not of type 'array'", "line 4: users.0: {} is not valid")
        ),
    ),
    (
        "Invalid user-data\nError: Cloud config schema errors: format-l3.c4: File x is not valid yaml. while parsing\n",
        lambda error: error.lines[0].startswith("line 3: File x"),
    ),
)


def test_cloud_init_itself_is_asked_where_the_host_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = b"#cloud-config\npackages: nginx\n\nusers: [{}]\n"
    monkeypatch.setattr(process, "find_program", lambda _name: str(tmp_path / "cloud-init"))

    def check(case: tuple[str, Callable[[Refused], object]]) -> None:
        program(tmp_path, f"cmp -s \"$3\" {tmp_path}/data || exit 3; cat << 'END'\n{case[0]}END\nexit 1")
        error = problem(data)
        assert error is not None
        assert case[1](error), error.lines

    (tmp_path / "data").write_bytes(data)
    each(SAID, check)
    for text in ("exit 0", "echo Traceback; exit 1", "kill -9 $$"):
        program(tmp_path, text)
        assert problem(data) is None, text


def program(directory: Path, text: str) -> None:
    path = directory / "cloud-init"
    path.unlink(missing_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
