"""Images for real: made, layered, locked, and never read as what they are not."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import proc
from support.builders import TCG, guests
from support.cli import Cli
from support.qemu import held_by_another
from support.world import until, world, world_after

pytestmark = pytest.mark.usefixtures("netns", "tun")


def make(path: Path, *words: str, form: str = "qcow2", size: str = "1M") -> Path:
    subprocess.run(["qemu-img", "create", "-q", "-f", form, *words, "--", path, size], check=True)
    return path


def drive(**keys: str) -> str:
    return TCG + "[[drive]]\n" + "".join(f'{key} = "{value}"\n' for key, value in keys.items())


def nodes(kvmrun: Cli, name: str) -> dict[str, dict[str, Any]]:
    """QEMU's own word for every layer of the guest's drives."""
    found = kvmrun.ok("monitor", name, "-c", "query-named-block-nodes", "-o", "json").json()
    return {one["node-name"]: one for one in found}


class TestOverlays:
    @pytest.mark.parametrize("form", ["qcow2", "raw"])
    def test_one_is_made_at_the_first_start_and_kept_at_the_second(
        self, lab: Path, kvmrun: Cli, images: Path, form: str
    ) -> None:
        base = make(images / f"base.{form}", form=form, size="3M")
        before = base.read_bytes(), base.stat()
        guests(lab, "vm1", text=drive(image="own.qcow2", base=base.name))
        kvmrun.ok("vm1")
        found = nodes(kvmrun, "vm1")
        assert (found["d0"]["drv"], found["d0"]["ro"]) == ("qcow2", False)
        assert (found["d0b"]["drv"], found["d0b"]["ro"]) == (form, True)
        assert found["d0"]["image"]["virtual-size"] == 3 << 20
        kvmrun.ok("stop", "--force", "vm1")
        first = (images / "own.qcow2").stat()
        kvmrun.ok("vm1")
        assert (images / "own.qcow2").stat().st_ino == first.st_ino
        after = base.stat()
        assert (base.read_bytes(), after.st_mode, after.st_uid) == (before[0], before[1].st_mode, before[1].st_uid)

    def test_it_is_not_left_by_a_start_that_fails(self, lab: Path, kvmrun: Cli, images: Path) -> None:
        make(images / "base.qcow2")
        guests(lab, "vm1", text='args = ["-device nonsense"]\n' + drive(image="own.qcow2", base="base.qcow2"))
        before = world()
        assert kvmrun("vm1").code == 1
        assert [path.name for path in images.iterdir()] == ["base.qcow2"]
        assert world_after(before) == before

    def test_several_guests_share_a_base(self, lab: Path, kvmrun: Cli, images: Path) -> None:
        make(images / "base.qcow2")
        for name in ("vm1", "vm2", "vm3"):
            guests(lab, name, text=drive(image=f"{name}.qcow2", base="base.qcow2"))
        kvmrun.ok("up", "--all")
        assert {row["state"] for row in kvmrun.rows().values()} == {"running"}

    def test_a_base_nobody_declared_is_refused(self, lab: Path, kvmrun: Cli, images: Path) -> None:
        base = make(images / "base.qcow2")
        make(images / "own.qcow2", "-b", str(base), "-F", "qcow2")
        guests(lab, "vm1", text=drive(image="own.qcow2"))
        before = world()
        result = kvmrun("vm1")
        assert (result.code, "own.qcow2" in result.err) == (6, True)
        assert world_after(before) == before

    def test_an_image_with_its_data_elsewhere_is_refused(self, lab: Path, kvmrun: Cli, images: Path) -> None:
        make(images / "own.qcow2", "-o", f"data_file={images}/elsewhere,data_file_raw=on")
        guests(lab, "vm1", text=drive(image="own.qcow2"))
        result = kvmrun("vm1")
        assert (result.code, "qemu-img convert" in result.err) == (6, True)

    def test_a_base_that_changes_later_is_noticed(self, lab: Path, kvmrun: Cli, images: Path) -> None:
        base = make(images / "base.raw", form="raw")
        guests(lab, "vm1", text=drive(image="own.qcow2", base="base.raw"))
        kvmrun.ok("vm1", "--paused")
        kvmrun.ok("kill", "vm1")
        if "user.kvmrun.base" not in os.listxattr(images / "own.qcow2"):
            pytest.skip("this file system keeps no attributes")
        kvmrun.ok("clone", "vm1", "vm2")

        def noticed() -> list[str]:
            problems = kvmrun.ok("check", "-o", "json").json()["problems"]
            return [one["file"] for one in problems if one["key"] == "drive[0].base" and one["warning"]]

        assert noticed() == []
        base.write_bytes(b"other" + bytes((1 << 20) - 5))
        assert noticed() == ["vm1.toml", "vm2.toml"]
        assert "drive[0].base" in kvmrun.ok("vm1", "--paused").out
        kvmrun.ok("kill", "vm1")
        kvmrun.ok("revert", "vm1", "--yes")
        assert noticed() == ["vm2.toml"]


class TestInUse:
    def test_the_image_of_a_running_guest_is_refused_naming_it(self, lab: Path, kvmrun: Cli, images: Path) -> None:
        make(images / "one.qcow2")
        os.link(images / "one.qcow2", images / "other.qcow2")
        guests(lab, "vm1", text=drive(image="one.qcow2"))
        guests(lab, "vm2", text=drive(image="other.qcow2"))
        kvmrun.ok("vm1")
        before = world()
        result = kvmrun("vm2")
        assert (result.code, "kvmrun stop vm1" in result.err) == (6, True)
        assert world_after(before) == before

    def test_a_base_is_not_written_while_an_overlay_lives_on_it(self, lab: Path, kvmrun: Cli, images: Path) -> None:
        make(images / "base.qcow2")
        guests(lab, "vm1", text=drive(image="own.qcow2", base="base.qcow2"))
        kvmrun.ok("vm1")
        (images / "link.qcow2").symlink_to("base.qcow2")
        guests(lab, "vm2", text=drive(image="link.qcow2"))
        result = kvmrun("vm2")
        assert (result.code, "kvmrun stop vm1" in result.err) == (6, True)

    def test_somebody_else_who_has_it_is_told_by_qemu(self, lab: Path, kvmrun: Cli, images: Path) -> None:
        make(images / "one.qcow2")
        guests(lab, "vm1", text=drive(image="one.qcow2"))
        with held_by_another(images / "one.qcow2"):
            result = kvmrun("vm1")
        assert (result.code, "lock" in result.err) == (1, True)
        kvmrun.ok("vm1")

    def test_a_dead_qemu_keeps_nothing_locked(self, lab: Path, kvmrun: Cli, images: Path) -> None:
        make(images / "one.qcow2")
        guests(lab, "vm1", text=drive(image="one.qcow2"))
        for _ in range(2):
            kvmrun.ok("vm1")
            os.kill(kvmrun.pid("vm1"), signal.SIGKILL)
            until(lambda: kvmrun.rows()["vm1"]["state"] == "stopped")
        kvmrun.ok("vm1")


class TestWhatIsRead:
    def test_an_image_that_is_not_there_is_refused(self, lab: Path, kvmrun: Cli) -> None:
        guests(lab, "vm1", text=drive(image="none.qcow2"))
        guests(lab, "vm2", text=drive(image="own.qcow2", base="gone.qcow2"))
        before = world()
        for name, missing in (("vm1", "none.qcow2"), ("vm2", "gone.qcow2")):
            result = kvmrun(name)
            assert (result.code, missing in result.err) == (6, True)
        assert world_after(before) == before

    def test_a_raw_image_with_a_forged_header_stays_raw(self, lab: Path, kvmrun: Cli, images: Path) -> None:
        secret = images / "secret.raw"
        secret.write_bytes(b"S" * (1 << 20))
        forged = make(images / "forged.qcow2", "-b", str(secret), "-F", "raw").rename(images / "forged.raw")
        os.truncate(forged, 1 << 20)
        guests(lab, "vm1", text=drive(image="forged.raw"))
        result = kvmrun("vm1")
        assert (result.code, 'fix: add format = "qcow2"' in result.err) == (6, True), result
        guests(lab, "vm1", text=drive(image="forged.raw", format="raw"))
        kvmrun.ok("vm1")
        found = nodes(kvmrun, "vm1")
        assert found["d0"]["drv"] == "raw"
        assert {node["drv"] for node in found.values()} == {"raw", "file"}
        assert found["d0"]["image"]["virtual-size"] == 1 << 20

    def test_a_qcow2_that_is_none_is_refused(self, lab: Path, kvmrun: Cli, images: Path) -> None:
        (images / "own.qcow2").write_bytes(b"\0" * 4096)
        guests(lab, "vm1", text=drive(image="own.qcow2"))
        result = kvmrun("vm1")
        assert (result.code, "own.qcow2" in result.err) == (6, True)

    @pytest.mark.parametrize(
        "name", ["a,b=c,readonly=on.raw", "nbd:localhost:1.raw", "with space.raw", "-dash.raw", "json:{}.raw", "ä.raw"]
    )
    def test_names_are_taken_as_they_are(self, lab: Path, kvmrun: Cli, images: Path, name: str) -> None:
        (images / name).write_bytes(b"\0" * (1 << 20))
        guests(lab, "vm1", text=drive(image=name))
        kvmrun.ok("vm1")
        pid = kvmrun.pid("vm1")
        opened = proc.held(pid).values()
        assert str(images / name) in opened

    @pytest.mark.parametrize("interface", ["virtio", "scsi", "ide", "nvme"])
    def test_every_interface_takes_it_and_leaves_owner_and_mode(
        self, lab: Path, kvmrun: Cli, images: Path, interface: str
    ) -> None:
        path = make(images / "own.qcow2")
        path.chmod(0o640)
        guests(lab, "vm1", text=drive(image="own.qcow2", interface=interface))
        before = path.stat()
        kvmrun.ok("vm1")
        kvmrun.ok("stop", "--force", "vm1")
        after = path.stat()
        assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)

    def test_a_cdrom_is_read_only(self, lab: Path, kvmrun: Cli, images: Path) -> None:
        (images / "cd.iso").write_bytes(b"\0" * (1 << 20))
        guests(lab, "vm1", text=drive(image="cd.iso", media="cdrom"))
        kvmrun.ok("vm1")
        assert nodes(kvmrun, "vm1")["d0"]["ro"] is True

    def test_a_kernel_only_root_may_read_reaches_qemu(self, lab: Path, kvmrun: Cli, demo: str, images: Path) -> None:
        kernel = images / "kernel"
        kernel.write_bytes(Path(f"{demo}/demo-vmlinuz").read_bytes())
        kernel.chmod(0o600)
        guests(lab, "vm1", text='accel = "tcg"\nmemory = "128M"\n[boot]\nkernel = "kernel"\n')
        kvmrun.ok("vm1")


def attached(kvmrun: Cli, name: str) -> dict[str, int]:
    """The node that each device of the guest reads and writes, and its size as the device knows it."""
    found = kvmrun.ok("monitor", name, "-c", "query-block", "-o", "json").json()
    inside = [one["inserted"] for one in found if "inserted" in one]
    return {one["node-name"]: one["image"]["virtual-size"] for one in inside}


def word(kvmrun: Cli, name: str, path: str, key: str) -> Any:
    """What QEMU's own object of that path says."""
    words = ("monitor", name, "-o", "json", "-c", f"qom-get path={path} property={key}")
    return kvmrun.ok(*words).json()


@pytest.fixture
def _disabled_io_uring(_own_mounts: None, own_directories: Path) -> Iterator[None]:
    """A kernel that permits io_uring to nobody, as far as the setting tells."""
    setting = Path("/proc/sys/kernel/io_uring_disabled")
    if not setting.exists():
        pytest.skip("this kernel has no such setting")
    (own_directories / "disabled").write_text("2\n")
    subprocess.run(["mount", "--bind", str(own_directories / "disabled"), str(setting)], check=True)
    yield
    subprocess.run(["umount", str(setting)], check=True)


class TestSpeed:
    def test_limits_are_those_that_qemu_holds_to(self, lab: Path, kvmrun: Cli, images: Path) -> None:
        make(images / "a.qcow2")
        make(images / "b.raw", form="raw")
        one = '[[drive]]\nimage = "a.qcow2"\niops = 100\nread_bps = "2M"\nwrite_bps = "512K"\n'
        other = '[[drive]]\nimage = "b.raw"\nread_iops = 7\nbps = "1G"\ninterface = "nvme"\n'
        guests(lab, "vm1", text=f"{TCG}{one}{other}[[drive]]\nimage = 'c.raw'\nsize = '1M'\n")
        kvmrun.ok("vm1")
        found = [word(kvmrun, "vm1", f"/objects/limits{number}", "limits") for number in (0, 1)]
        given = [{key: value for key, value in limits.items() if value and "length" not in key} for limits in found]
        assert given == [
            {"iops-total": 100, "bps-read": 2 << 20, "bps-write": 512 << 10},
            {"iops-read": 7, "bps-total": 1 << 30},
        ]
        assert attached(kvmrun, "vm1") == {"d0t": 1 << 20, "d1t": 1 << 20, "d2": 1 << 20}
        kvmrun.ok("resize", "vm1:0", "2M")
        assert attached(kvmrun, "vm1") == {"d0t": 2 << 20, "d1t": 1 << 20, "d2": 1 << 20}

    def test_zeros_are_detected_unless_discard_is_off(self, lab: Path, kvmrun: Cli, images: Path) -> None:
        for name in ("a", "b", "c", "d"):
            make(images / f"{name}.raw", form="raw")
        keys = ("", "discard = false\n", 'detect_zeroes = "unmap"\n', "readonly = true\n")
        drives = [f'[[drive]]\nimage = "{name}.raw"\n{more}' for name, more in zip("abcd", keys, strict=True)]
        guests(lab, "vm1", text=TCG + "".join(drives))
        kvmrun.ok("vm1")
        found = nodes(kvmrun, "vm1")
        assert [found[f"d{number}"]["detect_zeroes"] for number in range(4)] == ["on", "off", "unmap", "off"]

    @pytest.mark.usefixtures("_disabled_io_uring")
    def test_a_kernel_that_disables_io_uring_is_no_obstacle(self, lab: Path, kvmrun: Cli, images: Path) -> None:
        make(images / "a.qcow2")
        guests(lab, "vm1", text=drive(image="a.qcow2"))
        guests(lab, "vm2", text=drive(image="b.qcow2", size="1M", aio="io_uring"))
        kvmrun.ok("vm1")
        command = Path(f"/proc/{kvmrun.pid('vm1')}/cmdline").read_text()
        assert '"aio": "threads"' in command
        assert "io_uring" not in command
        assert '"aio": "threads"' in kvmrun.ok("show", "vm1").out
        refused = kvmrun("vm2")
        assert refused.code == 69
        assert "kernel.io_uring_disabled is 2" in refused.err
        found = {
            one["file"]: (one["key"], one["warning"]) for one in kvmrun.ok("check", "-o", "json").json()["problems"]
        }
        assert found == {"vm2.toml": ("drive[0].aio", True)}

    def test_a_qemu_without_io_uring_is_no_obstacle(self, lab: Path, kvmrun: Cli, images: Path, tmp_path: Path) -> None:
        make(images / "a.qcow2")
        script = tmp_path / "qemu"
        script.write_text('#!/bin/sh\nexec qemu-system-x86_64 "$@"\n')
        script.chmod(0o755)
        tmp_path.chmod(0o755)
        guests(lab, "vm1", text=drive(image="a.qcow2", cache="none"))
        assert '"aio": "threads"' in kvmrun.ok("show", "vm1", KVMRUN_QEMU=str(script)).out
