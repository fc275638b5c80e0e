"""The lab written for others, into directories."""

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from support.builders import guests
from support.cli import Cli

SHOREWALL = shutil.which("shorewall", path="/usr/sbin:/sbin:/usr/bin")
UPLINK = '[uplink.avvanta]\ninterface = "eth0"\n'


class TestDirectory:
    """Where the files go."""

    @pytest.fixture(autouse=True)
    def networks(self, lab: Path) -> None:
        guests(lab, "vm1", text="autostart = true\n")
        (lab / "networks.toml").write_text(f"[network.lan]\n{UPLINK}")

    @pytest.mark.parametrize("kind", ["shorewall", "systemd"])
    def test_without_one_everything_is_printed_under_its_name(self, kvmrun: Cli, kind: str) -> None:
        out = kvmrun.ok("export", kind).out
        names = [line[4:] for line in out.splitlines() if line.startswith("### ")]
        assert {"shorewall": "zones", "systemd": "kvmrun@vm1.service"}[kind] in names
        assert out.count(f"# kvmrun export {kind}: ") == len(names)

    @pytest.mark.parametrize("kind", ["shorewall", "systemd"])
    def test_it_is_made_and_may_be_written_again(self, kvmrun: Cli, tmp_path: Path, kind: str) -> None:
        target = tmp_path / "new/here"
        kvmrun.ok("export", kind, str(target))
        before = {path.name: path.read_text() for path in target.iterdir()}
        assert {stat.S_IMODE(path.stat().st_mode) for path in target.iterdir()} == {0o644}
        assert stat.S_IMODE(target.stat().st_mode) == 0o755
        kvmrun.ok("export", kind, str(target))
        assert {path.name: path.read_text() for path in target.iterdir()} == before

    def test_what_the_lab_no_longer_asks_for_goes_away(self, lab: Path, kvmrun: Cli, tmp_path: Path) -> None:
        kvmrun.ok("export", "systemd", str(tmp_path / "units"))
        guests(lab, "vm1", text="")
        kvmrun.ok("export", "systemd", str(tmp_path / "units"))
        assert os.listdir(tmp_path / "units") == ["kvmrun-net.service"]

    @pytest.mark.parametrize("name", ["zones", "other", "a-link", "a-directory"])
    def test_files_of_others_are_refused_and_unchanged(self, kvmrun: Cli, tmp_path: Path, name: str) -> None:
        target = tmp_path / "etc"
        target.mkdir()
        if name == "a-link":
            (target / name).symlink_to("/etc/passwd")
        elif name == "a-directory":
            (target / name).mkdir()
        else:
            (target / name).write_text("mine\n")
        result = kvmrun("export", "shorewall", str(target))
        assert (result.code, name in result.err, "--force" in result.err) == (6, True, False)
        assert os.listdir(target) == [name]

    def test_force_replaces_those_of_the_same_names_only(self, kvmrun: Cli, tmp_path: Path) -> None:
        other = tmp_path / "other"
        other.write_text("not to be written through\n")
        (tmp_path / "etc").mkdir()
        (tmp_path / "etc/zones").symlink_to(other)
        (tmp_path / "etc/params").write_text("mine\n")
        kvmrun.ok("export", "shorewall", "--force", str(tmp_path / "etc"))
        assert (tmp_path / "etc/zones").read_text().startswith("# kvmrun export shorewall: zones\n")
        assert (tmp_path / "etc/params").read_text() == "mine\n"
        assert other.read_text() == "not to be written through\n"
        assert os.readlink(tmp_path / "etc/zones.orig") == str(other)

    @pytest.mark.parametrize(("kind", "file"), [("shorewall", "rules"), ("systemd", "kvmrun@vm1.service")])
    def test_what_somebody_has_changed_is_kept_or_shown(
        self, lab: Path, kvmrun: Cli, tmp_path: Path, kind: str, file: str
    ) -> None:
        """Kept while the lab asks for nothing else in that file; then it is theirs to decide."""
        target = tmp_path / "out"
        kvmrun.ok("export", kind, str(target))
        mine = (target / file).read_text().replace("#SSH(ACCEPT)", "SSH(ACCEPT)") + "# mine\n"
        (target / file).write_text(mine)
        assert file in kvmrun.ok("export", kind, str(target)).out
        assert (target / file).read_text() == mine
        (lab / "networks.toml").write_text(f'[network.lan]\nforward = ["tcp 8080 -> vm1:80"]\n{UPLINK}')
        guests(lab, "vm2", text="autostart = true\n")
        guests(lab, "vm1", text='autostart = true\nafter = ["vm2"]\n')
        result = kvmrun("export", kind, str(target))
        assert (result.code, f"{target}: {file}" in result.err) == (6, True)
        assert "-# mine" in result.err
        assert (target / file).read_text() == mine
        kvmrun.ok("export", "--force", kind, str(target))
        assert (target / f"{file}.orig").read_text() == mine
        assert "# mine" not in (target / file).read_text()
        (target / file).write_text(
            "# kvmrun export shorewall: rules\nolder, without a last line\n".replace("shorewall", kind)
        )
        kvmrun.ok("export", "--force", kind, str(target))
        assert len([path for path in target.iterdir() if path.name.startswith(f"{file}.orig")]) == 2
        assert (target / f"{file}.orig").read_text() == mine
        kvmrun.ok("export", kind, str(target))

    def test_units_are_not_taken_for_files_of_shorewall(self, kvmrun: Cli, tmp_path: Path) -> None:
        kvmrun.ok("export", "systemd", str(tmp_path / "here"))
        assert kvmrun("export", "shorewall", str(tmp_path / "here")).code == 6

    def test_a_place_that_cannot_be_written_is_told(self, kvmrun: Cli, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        result = kvmrun("export", "shorewall", str(tmp_path / "file/below"))
        assert (result.code, f"{tmp_path}/file" in result.err) == (1, True)

    def test_networks_with_errors_are_refused(self, lab: Path, kvmrun: Cli) -> None:
        (lab / "networks.toml").write_text('[network.lan]\nsubnet = "nonsense"\n')
        assert kvmrun("export", "shorewall").code == 5

    def test_an_invalid_guest_is_named_and_left_out(self, lab: Path, kvmrun: Cli) -> None:
        guests(lab, "bad", text="nonsense = 1\nautostart = true\n")
        result = kvmrun.ok("export", "systemd")
        assert ("bad" in result.err, "kvmrun@bad" in result.out) == (True, False)

    def test_the_wrong_firewall_is_told(self, kvmrun: Cli) -> None:
        assert 'set firewall = "shorewall"' in kvmrun.ok("export", "shorewall").err


@pytest.mark.usefixtures("_own_mounts")
@pytest.mark.skipif(not SHOREWALL, reason="needs shorewall")
def test_an_old_shorewall_is_refused(lab: Path, kvmrun: Cli, tmp_path: Path) -> None:
    (lab / "networks.toml").write_text(f'firewall = "shorewall"\n[network.lan]\n{UPLINK}')
    old = tmp_path / "shorewall"
    old.write_text("#!/bin/sh\necho 4.6.4.3\n")
    old.chmod(0o755)
    subprocess.run(["mount", "--bind", str(old), str(SHOREWALL)], check=True)
    try:
        result = kvmrun("export", "shorewall", str(tmp_path / "out"))
        assert (result.code, "4.6.4" in result.err) == (69, True)
        assert not (tmp_path / "out").exists()
        kvmrun.ok("export", "shorewall", "--force", str(tmp_path / "out"))
    finally:
        subprocess.run(["umount", str(SHOREWALL)], check=True)
