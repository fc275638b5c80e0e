"""What follows from the facts about an operating system: names, sizes, hardware, and media that are like others."""

import pytest
from support.table import each

from kvmrun.model.osinfo import hardware
from kvmrun.model.osinfo.media import MediaPattern, Volume
from kvmrun.model.osinfo.os_facts import HostSize, OsFacts, Resources
from kvmrun.model.osinfo.os_name import OsName
from kvmrun.model.osinfo.os_size import derived_cpus, derived_memory
from kvmrun.model.scalars import Size

MIB, GIB = 1 << 20, 1 << 30
PCI = "http://pcisig.com/pci"


def facts(minimum: tuple[int, int] = (0, 0), recommended: tuple[int, int] = (0, 0), *devices: str) -> OsFacts:
    """An operating system with these processors and MiB of memory; 0 is what is not told."""
    pairs = [Resources(cpus=cpus or None, memory=memory * MIB or None) for cpus, memory in (minimum, recommended)]
    found = frozenset(f"{PCI}/{one}" for one in devices)
    return OsFacts(id="http://a.org/a/1", name="a1", title="A", minimum=pairs[0], recommended=pairs[1], devices=found)


def test_a_name_is_a_short_id_or_a_whole_one_and_no_path() -> None:
    files = {
        "debian12": "",
        "ubuntu22.04": "",
        "dragonflybsd1.0A": "",
        "http://debian.org/debian/12": "os/debian.org/debian-12.xml",
        "http://rockylinux.org/rocky/9-unknown": "os/rockylinux.org/rocky-9-unknown.xml",
    }
    assert {raw: OsName.parse(raw).file for raw in files} == files
    wrong = ["", "../debian12", "a/b", "a b", ".hidden", "12debian", "debian\n", "x" * 61, 12, None, "débian"]
    wrong += ["http://", "http://a.org", "http://a.org/", "http://../../etc/passwd", "http://a.org/../../x"]
    wrong += [
        "http://a.org/.x",
        "http://a.org/a//b",
        "http://A.org/a/1",
        "https://a.org/a/1",
        "http://.a/b",
        "http://a.org/a\0",
    ]
    each(wrong, _is_refused)


def _is_refused(raw: object) -> None:
    with pytest.raises(ValueError, match="osinfo-db"):
        OsName.parse(raw)


def test_a_whole_id_never_leads_out_of_the_database() -> None:
    for raw in ("http://a.org/a/..", "http://a.org/a/../b", "http://a.org/..a/b"):
        try:
            file = OsName.parse(raw).file
        except ValueError:
            continue
        assert file.count("/") == 2
        assert "/.." not in file


def test_memory_is_what_is_recommended_within_half_of_the_host() -> None:
    cases = [
        (facts((1, 512), (1, 2048)), 16 * GIB, None, 2048),
        (facts((1, 512)), 16 * GIB, None, 512),
        (facts((1, 4096), (1, 2048)), 16 * GIB, None, 4096),
        (facts((1, 512), (1, 8192)), 8 * GIB, None, 4096),
        (facts((1, 512), (1, 8192)), 8 * GIB - 300 * MIB, None, 3904),
        (facts((1, 6144), (1, 8192)), 8 * GIB, None, 6144),
        (facts((1, 512), (1, 2048)), 16 * GIB, Size(GIB), 768),
        (facts((1, 512), (1, 2048)), 16 * GIB, Size(MIB), 64),
        (facts((1, 512), (1, 1 << 29)), 16 * GIB, None, 8192),
    ]
    for system, memory, limit, wanted in cases:
        found = derived_memory(system, HostSize(memory=memory, cpus=8), limit)
        assert found is not None
        assert found.value == wanted * MIB, found
        assert "a1" in found.reason
    assert derived_memory(facts(), HostSize(memory=GIB, cpus=1)) is None


def test_processors_are_two_within_half_of_the_host_unless_the_system_says_otherwise() -> None:
    cases = [
        (facts(), 8, 2),
        (facts(), 2, 1),
        (facts(), 1, 1),
        (facts((2, 0)), 1, 2),
        (facts((1, 0), (4, 0)), 16, 4),
        (facts((1, 0), (4, 0)), 4, 2),
        (facts((1, 0), (1 << 16, 0)), 1 << 20, 255),
    ]
    for system, cpus, wanted in cases:
        assert derived_cpus(system, HostSize(memory=GIB, cpus=cpus)).value == wanted, (system, cpus)


def test_the_same_host_gives_the_same_size() -> None:
    first, again = (
        derived_memory(facts((1, 1), (1, 1 << 20)), HostSize(memory=m, cpus=2)) for m in (GIB * 8, GIB * 8 + 9)
    )
    assert first == again


def test_hardware_is_what_the_system_has_a_driver_for() -> None:
    virtio, old = facts((0, 0), (0, 0), "1af4/1041", "1af4/1042"), facts((0, 0), (0, 0), "8086/100e")
    scsi = facts((0, 0), (0, 0), "1af4/1000", "1af4/1048")
    nothing, strange = facts(), facts((0, 0), (0, 0), "dead/beef")
    assert [hardware.nic_model(one) for one in (virtio, old, scsi, nothing, strange)] == [
        *("virtio", "e1000", "virtio", "virtio", "e1000")
    ]
    assert [hardware.drive_interface(one) for one in (virtio, old, scsi, nothing, strange)] == [
        *("virtio", "ide", "scsi", "virtio", "ide")
    ]
    q35 = old.replace(devices=old.devices | {"http://qemu.org/chipset/x86/q35"})
    assert [hardware.starts_on_q35(one) for one in (virtio, old, q35, nothing)] == [True, False, True, True]
    assert hardware.has_drive_driver(old, "ide")
    assert not hardware.has_drive_driver(old, "virtio")


def test_media_are_told_by_every_part_of_a_description() -> None:
    found = Volume(volume="Toy 1.5 amd64", system="LINUX", publisher="TOY", application="MKISO", size=4096)
    cases = [
        (MediaPattern(volume=r"Toy 1\.\d+"), 1),
        (MediaPattern(volume="oy 1"), 1),
        (MediaPattern(volume="^oy"), 0),
        (MediaPattern(volume="Toy", publisher="^TOY$"), 2),
        (MediaPattern(volume="Toy", publisher="OTHER"), 0),
        (MediaPattern(volume="Toy", system="LINUX", application="ISO"), 3),
        (MediaPattern(volume="Toy", size=4096), 5),
        (MediaPattern(volume="Toy", size=4095), 0),
        (MediaPattern(), 0),
        (MediaPattern(publisher="TOY"), 0),
        (MediaPattern(volume="(Toy"), 0),
        (MediaPattern(volume="T{99999999999}"), 0),
    ]
    for pattern, wanted in cases:
        assert pattern.likeness(found) == wanted, pattern
