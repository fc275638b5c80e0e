"""What each small value takes, what it makes of it, and what it refuses."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvmrun.model.guest.readiness import GroupName
from kvmrun.model.network.network import Domain, Lease, OptionValue
from kvmrun.model.scalars import (
    CpuModel,
    Display,
    FilePath,
    GuestName,
    LinkName,
    Mac,
    NicName,
    OneLine,
    PathBase,
    SafeWord,
    Size,
    Uuid,
)

BASE = PathBase(directory="/lab/vms.d", images="/state/images")
KINDS = (CpuModel, Display, FilePath, GuestName, OneLine, LinkName, Mac, NicName, Size, Uuid, SafeWord)
numbers = st.integers() | st.floats() | st.booleans() | st.none() | st.lists(st.text())

BAD_NAMES = [
    *("", ".", "..", "../x", "x/y", "/", "-a", "a-", "-", "--", "-x", "a" * 33, "VM1", "Vm", "vm_1", "vm.1", "vm 1"),
    *(" vm", "vm\n", "\nvm", "vm\0", "vm\x1b[31m", "vm\u202e", "vm\u200b", "vm\xe9", "\uff56m", "vm1\ud800", "\u0663"),
    *("a,process=sshd", "%d", "$(id)", "`id`", "*", "~"),
]


@pytest.mark.parametrize("name", BAD_NAMES, ids=ascii)
def test_a_bad_guest_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="a name of"):
        GuestName.parse(name)


@pytest.mark.parametrize("name", ["a", "0", "vm1", "ursa-vm1", "a--b", "a" * 32, "up", "list"])
def test_a_good_guest_name_is_kept(name: str) -> None:
    assert GuestName.parse(name) == name


@given(st.text(max_size=40) | st.text("abz019-\n", max_size=40))
def test_a_name_that_is_accepted_matches_the_pattern(name: str) -> None:
    try:
        GuestName.parse(name)
    except ValueError:
        return
    assert re.match(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?\Z", name)


@given(numbers)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_text_is_refused_by_every_value(kind: type[OneLine], raw: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        kind.parse(raw, BASE)


@pytest.mark.parametrize(
    ("raw", "size"),
    [
        ("1K", 1 << 10),
        ("512M", 512 << 20),
        ("2G", 2 << 30),
        ("2GiB", 2 << 30),
        ("2GB", 2 << 30),
        ("1T", 1 << 40),
        ("007M", 7 << 20),
    ],
)
def test_a_size_is_a_number_of_bytes(raw: str, size: int) -> None:
    assert Size.parse(raw) == size


@pytest.mark.parametrize(
    "raw", ["", "0", "0M", "00G", "1", "2X", "-1G", "+1G", "1.5G", " 1G", "1 G", "1g", "9" * 13 + "T"]
)
def test_what_is_no_size_is_refused(raw: str) -> None:
    with pytest.raises(ValueError, match="size"):
        Size.parse(raw)


@given(st.integers(1, 10**12 - 1), st.sampled_from("KMGT"))
def test_a_size_is_printed_as_it_can_be_read(number: int, unit: str) -> None:
    size = Size.parse(f"{number}{unit}")
    assert Size.parse(str(size)) == size


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        ("disk.qcow2", "/state/images/disk.qcow2"),
        ("./disk.qcow2", "/lab/vms.d/disk.qcow2"),
        ("../disk.qcow2", "/lab/disk.qcow2"),
        ("/srv//a/../b.raw", "/srv/b.raw"),
        ("~/b.raw", "/home/ann/b.raw"),
        ("a b,c=d.raw", "/state/images/a b,c=d.raw"),
        ("-drive.raw", "/state/images/-drive.raw"),
    ],
)
def test_a_path_starts_where_its_form_says(raw: str, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    assert FilePath.parse(raw, BASE) == path


@pytest.mark.parametrize("raw", ["", "a\nb", "a\0b", "a\x1b[0m", "x" * 1001])
def test_a_path_that_cannot_be_printed_is_refused(raw: str) -> None:
    with pytest.raises(ValueError, match="a path"):
        FilePath.parse(raw, BASE)


@pytest.mark.parametrize("raw", ["53:54:00:00:00:01", "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00", "01:00:5e:00:00:01"])
def test_a_mac_of_many_or_of_nobody_is_refused(raw: str) -> None:
    with pytest.raises(ValueError, match="unicast"):
        Mac.parse(raw)


@pytest.mark.parametrize("raw", ["52-54-00-00-00-01", "52:54:00:00:00", "52:54:0:0:0:1", "g2:54:00:00:00:01", ""])
def test_what_is_no_mac_is_refused(raw: str) -> None:
    with pytest.raises(ValueError, match="six bytes"):
        Mac.parse(raw)


def test_macs_and_uuids_are_kept_in_lower_case() -> None:
    assert Mac.parse("52:54:AB:CD:EF:01") == "52:54:ab:cd:ef:01"
    assert Uuid.parse("6B766D72-756E-4D8A-9C0E-5B3F1D2A7C64") == "6b766d72-756e-4d8a-9c0e-5b3f1d2a7c64"


@pytest.mark.parametrize(
    "raw", ["all", "default", ".", "..", "-br", "br/0", "br 0", "%d", "br0\n", "a" * 16, "", "bré"]
)
def test_a_bad_interface_name_is_refused(raw: str) -> None:
    with pytest.raises(ValueError, match="interface"):
        LinkName.parse(raw)


@pytest.mark.parametrize("raw", ["eth0,x=1", "0eth", "Eth0", "eth-0", "a" * 9, ""])
def test_a_bad_nic_name_is_refused(raw: str) -> None:
    with pytest.raises(ValueError, match="a letter first"):
        NicName.parse(raw)


@pytest.mark.parametrize("raw", ["", "host,", ",host", "a b", "host,,x", "host\n", "-x y"])
def test_what_is_no_cpu_model_is_refused(raw: str) -> None:
    with pytest.raises(ValueError, match="CPU model"):
        CpuModel.parse(raw)


PATTERNS = {
    CpuModel: r"[A-Za-z0-9_.-]{1,64}(,[A-Za-z0-9_.=+-]{1,64})*",
    GroupName: r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?",
    GuestName: r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?",
    LinkName: r"(?!(all|default)$)[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}",
    Mac: r"[0-9a-fA-F][02468aceACE](:[0-9a-fA-F]{2}){5}(?<!00:00:00:00:00:00)",
    NicName: r"[a-z][a-z0-9]{0,7}",
    Size: r"(?!0+[KMGT])([0-9]{1,12})([KMGT])(iB|B)?",
    Uuid: r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}",
    SafeWord: r"[A-Za-z0-9_.+=:-]{1,64}",
    Domain: r"(?!.{201})[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*",
    Lease: r"[1-9][0-9]{0,5}[mhd]|infinite",
    OptionValue: r"[A-Za-z0-9_.:/+=,-]{0,200}",
}


@pytest.mark.parametrize("kind", PATTERNS)
def test_what_is_said_in_sets_is_what_the_pattern_says(kind: Any) -> None:
    pattern = re.compile(PATTERNS[kind])
    edges = st.text("aAzZ09fF-_.:=+,/KMGTiBmhd \n\u0663é", max_size=70)

    @given(
        st.from_regex(pattern, fullmatch=True) | edges | st.sampled_from(["all", "default", "infinite", "2KiBB", "2Ki"])
    )
    def holds(text: str) -> None:
        try:
            kind.parse(text, BASE)
        except ValueError:
            assert not pattern.fullmatch(text)
        else:
            assert pattern.fullmatch(text)

    holds()


@pytest.mark.parametrize(("raw", "port"), [("none", 0), ("vnc", 0), ("vnc:5900", 5900), ("vnc:65535", 65535)])
def test_a_display(raw: str, port: int) -> None:
    assert (Display.parse(raw), Display.parse(raw).port) == (raw, port)


@pytest.mark.parametrize(
    "raw", ["", "vnc:", "vnc:5899", "vnc:65536", "vnc:0590x", "vnc:-1", "vnc: 5901", "spice", "vnc:5901\n", 5901, None]
)
def test_a_bad_display_is_refused(raw: object) -> None:
    with pytest.raises(ValueError, match="vnc:PORT"):
        Display.parse(raw)
