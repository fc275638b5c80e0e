"""What follows from names: the same everywhere, right in form, and its owner's alone."""

import uuid

from hypothesis import given
from hypothesis import strategies as st

from kvmrun.model import derive

guests = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?", fullmatch=True)
nics = st.from_regex(r"[a-z][a-z0-9]{0,7}", fullmatch=True)
seeds = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=80)


def test_derived_names_never_change() -> None:
    assert derive.mac("", "vm1", "eth0") == "52:54:2f:56:3e:e9"
    assert derive.uuid("", "vm1") == "93143022-734b-5d9f-97de-39c96a8c7897"
    assert derive.uid("", "vm1") == 1911363085
    assert derive.tap("ursa-firewall", "eth1", first=False) == "tap-ursa-~6f4cb"


@given(seeds, guests, nics)
def test_a_mac_is_unicast_and_locally_administered(seed: str, guest: str, nic: str) -> None:
    octets = bytes.fromhex(derive.mac(seed, guest, nic).replace(":", ""))
    assert octets[:2] == b"\x52\x54"
    assert len(octets) == 6
    assert octets[0] & 0b11 == 0b10


@given(seeds, guests)
def test_a_uuid_is_a_version_5_uuid(seed: str, guest: str) -> None:
    found = uuid.UUID(derive.uuid(seed, guest))
    assert (found.version, found.variant) == (5, uuid.RFC_4122)
    assert str(found) == derive.uuid(seed, guest)


@given(seeds, guests)
def test_a_uid_is_in_the_range_nobody_hands_out(seed: str, guest: str) -> None:
    assert 0x70000000 <= derive.uid(seed, guest) < 0x78000000
    assert derive.uid(seed, guest) != derive.uid(seed, guest, "log")


@given(st.lists(st.tuples(guests, nics), unique=True), st.booleans())
def test_taps_fit_the_kernel_and_differ(pairs: list[tuple[str, str]], first: bool) -> None:
    taps = {derive.tap(guest, "" if first else nic, first=first) for guest, nic in pairs}
    assert len(taps) == len({guest for guest, _ in pairs} if first else {f"{guest}-{nic}" for guest, nic in pairs})
    assert all(len(tap) <= 15 and tap.startswith("tap-") and tap.isascii() for tap in taps)


def test_a_lab_of_thousands_has_no_two_alike() -> None:
    names = [f"vm{number}" for number in range(2000)]
    assert len({derive.mac("", name, "eth0") for name in names}) == len(names)
    assert len({derive.uuid("", name) for name in names}) == len(names)


def test_the_seed_changes_every_derived_value() -> None:
    for what in (derive.mac, derive.uuid, derive.uid):
        assert what("", "vm1") != what("another", "vm1")
    assert derive.address_offset("", "vm1", "eth0") != derive.address_offset("another", "vm1", "eth0")
