"""A lab as units: their texts, their order, and systemd's own word on them."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from support.builders import loaded_lab
from support.golden import same

from kvmrun.export import systemd_units
from kvmrun.model.lab import Lab

GUESTS = {
    "router": 'autostart = true\nready = "console:login: 100% $x"\n',
    "web": 'autostart = true\nafter = ["router", "other"]\nprotect = true\n',
    "other": "",
}
ANALYZE = shutil.which("systemd-analyze")


def lab(tmp_path: Path, firewall: str = "nftables") -> Lab:
    networks = f'firewall = "{firewall}"\n[network.lan]\n'
    return loaded_lab(tmp_path, networks, **GUESTS).replace(directory="/etc/kvmrun/vms.d")


@pytest.mark.parametrize("firewall", ["nftables", "shorewall"])
def test_the_units_are_the_ones_that_were_read(tmp_path: Path, firewall: str) -> None:
    same(f"systemd/{firewall}", systemd_units.unit_files(lab(tmp_path, firewall), "/usr/local/bin/kvmrun", {}))


def test_only_guests_with_autostart_have_one_and_wait_for_each_other(tmp_path: Path) -> None:
    units = systemd_units.unit_files(lab(tmp_path), "/usr/local/bin/kvmrun", {})
    assert sorted(units) == ["kvmrun-net.service", "kvmrun@router.service", "kvmrun@web.service"]
    after = re.search(r"^After=(.*)$", units["kvmrun@web.service"], re.MULTILINE)
    assert after
    assert after[1].split() == ["kvmrun-net.service", "kvmrun@router.service"]
    assert '"--wait=console:login: 100%% $$x" router' in units["kvmrun@router.service"]


def test_directories_of_the_callers_own_are_kept(tmp_path: Path) -> None:
    units = systemd_units.unit_files(lab(tmp_path), "/opt/my tools/kvmrun", {"KVMRUN_RUN_DIR": "/run/100% $x"})
    for text in units.values():
        assert 'Environment="KVMRUN_RUN_DIR=/run/100%% $x"\n' in text
        assert 'ExecStart="/opt/my tools/kvmrun" -C /etc/kvmrun/vms.d ' in text


@pytest.mark.skipif(not ANALYZE, reason="needs systemd-analyze")
@pytest.mark.parametrize("firewall", ["nftables", "shorewall", "none"])
def test_systemd_takes_them(tmp_path: Path, firewall: str) -> None:
    program = tmp_path / "kvmrun"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    units = tmp_path / "units"
    units.mkdir()
    for name, text in systemd_units.unit_files(
        lab(tmp_path, firewall), str(program), {"KVMRUN_RUN_DIR": "/run/a b"}
    ).items():
        (units / name).write_text(text)
        (units / name).chmod(0o644)
    words = [str(ANALYZE), "verify", *map(str, units.iterdir())]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, [line for line in done.stderr.splitlines() if "kvmrun" in line]) == (0, [])
