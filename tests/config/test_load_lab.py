"""A directory to a lab: defaults, networks, and what files may not know of each other."""

from pathlib import Path

import pytest
from support.builders import loaded_lab

from kvmrun.config.load_lab import load_lab
from kvmrun.model import derive
from kvmrun.model.lab import Lab


def said(lab: Lab) -> list[str]:
    return [str(problem) for problem in lab.problems]


def nic(**keys: object) -> str:
    return "[[nic]]\n" + "".join(f'{key} = "{value}"\n' for key, value in keys.items())


def drive(**keys: object) -> str:
    return "[[drive]]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items())


def test_without_networks_there_is_the_one_of_the_laptop(lab: Path) -> None:
    (network,) = loaded_lab(lab, vm1="").networks.values()
    assert (network.name, network.bridge, str(network.host_address())) == ("lan", "br0", "192.168.0.254/24")


@pytest.mark.parametrize("name", ["missing", "vm1.toml"])
def test_no_directory_is_an_empty_lab(lab: Path, name: str) -> None:
    (lab / "vm1.toml").touch()
    found = load_lab(str(lab / name), "/images")
    assert (found.guests, found.invalid, found.problems) == ({}, (), ())


def test_only_definitions_are_read(lab: Path) -> None:
    for name in ("README.md", ".vm2.toml", "vm3.toml~", "vm4.toml.bak", ".toml"):
        (lab / name).write_text("rubbish")
    assert list(loaded_lab(lab, vm1="").guests) == ["vm1"]
    assert loaded_lab(lab).problems == ()


def test_defaults_are_under_every_guest_key_by_key(lab: Path) -> None:
    defaults = 'memory = "1G"\ncpus = 2\n[boot]\nkernel = "k"\ninitrd = "i"\n[[nic]]\n[[nic]]\n'
    own = 'cpus = 3\nnic = [{ name = "wan" }]\n[boot]\ninitrd = "own"\n'
    found = loaded_lab(lab, defaults=defaults, vm1=own, vm2="").guests
    assert (str(found["vm1"].memory), found["vm1"].cpus, len(found["vm1"].nic)) == ("1G", 3, 1)
    assert (found["vm1"].boot.kernel, found["vm1"].boot.initrd) == ("/images/k", "/images/own")
    assert (found["vm2"].cpus, len(found["vm2"].nic)) == (2, 2)


@pytest.mark.parametrize("broken", ["x = [", "memroy = 5", "cpus = true"])
def test_with_broken_defaults_no_guest_is_what_it_says(lab: Path, broken: str) -> None:
    found = loaded_lab(lab, defaults=broken, vm1="", vm2="")
    assert (found.guests, found.invalid) == ({}, ("vm1", "vm2"))
    (problem,) = said(found)
    assert problem.startswith("defaults.toml: ")


@pytest.mark.parametrize(
    "broken", ["x = [", "network = 5", "[network.lan]\nmtu = 5", "[network.LAN]", "[network]\nlan = 5"]
)
def test_with_broken_networks_their_guests_are_invalid(lab: Path, broken: str) -> None:
    found = loaded_lab(lab, networks=broken, vm1="", vm2="nic = []")
    assert (list(found.guests), found.invalid) == (["vm2"], ("vm1",))
    assert said(found)[0].startswith("networks.toml: ")


def test_one_bad_file_among_two_hundred_costs_one_row(lab: Path) -> None:
    for number in range(200):
        (lab / f"vm{number}.toml").write_text("")
    found = loaded_lab(lab, bad="cpus = [")
    assert (len(found.guests), found.invalid) == (200, ("bad",))
    assert [problem.file for problem in found.problems if not problem.warning] == ["bad.toml"]


@pytest.mark.parametrize(
    "stem",
    [
        "..x",
        "-a",
        "a" * 33,
        "VM1",
        "a b",
        "a\nb",
        "a\x1b[31m",
        "a_b",
        "vm1\u202e",
        b"\xff".decode(errors="surrogateescape"),
    ],
)
def test_a_file_with_a_bad_name_is_one_invalid_row(lab: Path, stem: str) -> None:
    (lab / f"x{stem}.toml" if stem.startswith(".") else lab / f"{stem}.toml").write_text("")
    found = loaded_lab(lab, good="")
    assert (list(found.guests), len(found.invalid), len(found.problems)) == (["good"], 1, 1)
    assert (said(found)[0] + found.invalid[0]).isprintable()


def test_an_unknown_network_is_named_with_a_near_one(lab: Path) -> None:
    found = loaded_lab(
        lab, networks="[network.lan]\n[network.dmz]\nbridge='br1'\nsubnet='10.0.0.0/24'", vm1=nic(network="dnz")
    )
    assert said(found) == ["vm1.toml: nic[0].network: found dnz, expected a network of networks.toml, such as dmz"]


def test_what_a_definition_says_cannot_act_on_the_terminal(lab: Path) -> None:
    found = loaded_lab(lab, vm1=nic(network="\\u001b[31m"))
    assert said(found)[0].isprintable()


MAC, UUID = "52:54:00:00:00:01", "6b766d72-756e-4d8a-9c0e-5b3f1d2a7c64"
WRITTEN = drive(image='"a.qcow2"')


@pytest.mark.parametrize(
    ("one", "other", "wanted"),
    [
        (nic(mac=MAC), nic(mac=MAC), ("vm1.toml: nic[0].mac", "vm2.toml: nic[0].mac")),
        (nic(mac=MAC.upper()), nic(mac=MAC), ("vm1.toml: nic[0].mac", "vm2.toml: nic[0].mac")),
        (f'uuid = "{UUID}"', f'uuid = "{UUID}"', ("vm1.toml: uuid", "vm2.toml: uuid")),
        (nic(address="192.168.0.7"), nic(address="192.168.0.7"), ("vm1.toml: nic[0].addr", "vm2.toml: nic[0].addr")),
        (WRITTEN, WRITTEN, ("vm2.toml: drive[0].image: found /images/a.qcow2, expected an image of its own: vm1",)),
        (WRITTEN, drive(image='"b.qcow2"', base='"a.qcow2"'), ("vm2.toml: drive[0].base",)),
        (WRITTEN, drive(image='"a.qcow2"', readonly="true"), ("vm2.toml: drive[0].image",)),
        ("", nic(mac=derive.mac("", "vm1", "eth0")), ("vm2.toml: nic[0].mac",)),
        (f'uuid = "{derive.uuid("", "vm2")}"', "", ("vm1.toml: uuid",)),
    ],
)  # fmt: skip
def test_what_two_guests_may_not_share(lab: Path, one: str, other: str, wanted: tuple[str, ...]) -> None:
    found = loaded_lab(lab, vm1=one, vm2=other, vm3="")
    errors = sorted(said(found))
    assert len(errors) == len(wanted)
    assert all(error.startswith(start) for error, start in zip(errors, wanted, strict=True))
    assert set(found.invalid) == {error.split(".")[0] for error in errors}
    assert "vm3" in found.guests


@pytest.mark.parametrize(
    "text",
    [
        nic(mac=MAC) + nic(mac=MAC),
        nic(name="wan") + nic(name="wan"),
        nic(name="eth1") + nic(),
        nic(address="192.168.0.7") + nic(address="192.168.0.7"),
        WRITTEN + WRITTEN,
        WRITTEN + drive(image='"b.qcow2"', base='"a.qcow2"'),
    ],
)
def test_what_one_guest_may_not_have_twice(lab: Path, text: str) -> None:
    assert loaded_lab(lab, vm1=text).invalid == ("vm1",)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (drive(image='"a.iso"', media='"cdrom"'), drive(image='"a.iso"', media='"cdrom"')),
        (drive(image='"a.qcow2"', base='"b.raw"'), drive(image='"c.qcow2"', base='"b.raw"')),
        ('boot = { kernel = "k" }', 'boot = { kernel = "k" }'),
    ],
)
def test_what_two_guests_may_share(lab: Path, one: str, other: str) -> None:
    assert loaded_lab(lab, vm1=one, vm2=other).problems == ()


@pytest.mark.parametrize("address", ["192.168.1.1", "192.168.0.0", "192.168.0.255", "192.168.0.254"])
def test_an_address_a_guest_cannot_have_is_refused(lab: Path, address: str) -> None:
    (problem,) = said(loaded_lab(lab, vm1=nic(address=address)))
    assert problem.startswith(f"vm1.toml: nic[0].address: found {address}, expected an address of 192.168.0.0/24")


def test_a_mac_that_is_the_bridges_is_refused(lab: Path) -> None:
    (problem,) = said(loaded_lab(lab, vm1=nic(mac=derive.mac("", "bridge", "br0"))))
    assert problem.endswith("expected another one than br0 has")


def test_a_guest_named_like_anothers_card_is_told(lab: Path) -> None:
    found = loaded_lab(lab, a="nic = [{}, {}]", a_eth1="")
    assert [one for one in said(found) if "tap-a-eth1" in one]


@pytest.mark.parametrize(("key", "value"), [("bridge", '"br0"'), ("subnet", '"192.168.0.128/25"')])
def test_two_networks_share_neither_bridge_nor_subnet(lab: Path, key: str, value: str) -> None:
    tables = {"bridge": '"br1"', "subnet": '"10.0.0.0/24"', key: value}
    text = "[network.lan]\n[network.dmz]\n" + "".join(f"{name} = {one}\n" for name, one in tables.items())
    (problem,) = said(loaded_lab(lab, networks=text, vm1=""))
    assert problem.startswith(f"networks.toml: network.dmz.{key}")


def test_addresses_are_derived_and_no_two_alike(lab: Path) -> None:
    for number in range(200):
        (lab / f"vm{number}.toml").write_text("")
    ports = loaded_lab(lab).ports()
    addresses = [port.address for some in ports.values() for port in some]
    assert len(set(addresses)) == 200
    assert "192.168.0.254" not in addresses


def test_an_address_that_steps_aside_is_a_warning_with_the_line_to_paste(lab: Path) -> None:
    derived = loaded_lab(lab, vm2="").ports()["vm2"][0].address
    found = loaded_lab(lab, vm1=nic(address=derived))
    (problem,) = found.problems
    assert (problem.warning, problem.file, list(found.guests)) == (True, "vm2.toml", ["vm1", "vm2"])
    assert f'address = "{found.ports()["vm2"][0].address}"' in problem.wanted


def test_a_full_network_refuses_the_one_too_many(lab: Path) -> None:
    text = '[network.lan]\nsubnet = "10.0.0.0/28"\ndhcp = false'
    found = loaded_lab(lab, networks=text, **dict.fromkeys((f"vm{number}" for number in range(10, 24)), ""))
    errors = [str(problem) for problem in found.problems if not problem.warning]
    assert errors == ["vm23.toml: nic[0].address: 10.0.0.0/28 has no free address for this NIC"]


def test_the_seed_changes_every_name(lab: Path) -> None:
    (before,) = loaded_lab(lab, vm1="").ports()["vm1"]
    (after,) = loaded_lab(lab, networks='seed = "x"').ports()["vm1"]
    assert (before.mac != after.mac, before.tap == after.tap) == (True, True)


def test_the_example_lab_is_valid() -> None:
    found = load_lab(str(Path(__file__).parents[2] / "vms.d"), "/images")
    assert (found.problems, found.invalid) == ((), ())
    assert "ursa-vm1" in found.guests


class TestOrder:
    def test_groups_order_and_readiness_are_read(self, lab: Path) -> None:
        found = loaded_lab(lab, vm1='ready = "port:22"\n', vm2='after = ["vm1"]\ngroups = ["lab", "web"]\n')
        assert (found.problems, found.guests["vm2"].after, found.guests["vm2"].groups) == ((), ("vm1",), ("lab", "web"))
        assert (found.guests["vm1"].ready.kind, found.guests["vm1"].ready.text) == ("port", "22")

    def test_an_unknown_guest_before_it_is_named(self, lab: Path) -> None:
        found = loaded_lab(lab, vm1="", vm2='after = ["vm1", "vmm1"]\n')
        assert said(found) == ["vm2.toml: after[1]: found vmm1, expected a guest of this lab, such as vm1"]
        assert found.invalid == ("vm2",)

    def test_an_invalid_guest_is_no_unknown_one(self, lab: Path) -> None:
        found = loaded_lab(lab, vm1="cpus = 0\n", vm2='after = ["vm1"]\n')
        assert (found.invalid, list(found.guests)) == (("vm1",), ["vm2"])

    def test_a_circle_is_told_to_each_guest_in_it(self, lab: Path) -> None:
        found = loaded_lab(
            lab, vm1='after = ["vm2"]\n', vm2='after = ["vm1"]\n', vm3='after = ["vm1"]\n', vm4='after = ["vm4"]\n'
        )
        assert said(found) == [
            "vm1.toml: after: the order is circular: vm1 after vm2 after vm1",
            "vm2.toml: after: the order is circular: vm2 after vm1 after vm2",
            "vm4.toml: after: the order is circular: vm4 after vm4",
        ]
        assert list(found.guests) == ["vm3"]

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("ready", '"port:x"'),
            ("ready", '"port:99999"'),
            ("ready", '"console:"'),
            ("ready", '"agent:x"'),
            ("groups", '["A"]'),
            ("groups", '["@lab"]'),
            ("groups", '"lab"'),
            ("after", '["../x"]'),
            ("on_crash", '"reboot"'),
            ("on_reboot", '"pause"'),
            ("watchdog", '"bark"'),
            ("protect", "1"),
        ],
    )
    def test_what_is_no_value_of_these_keys(self, lab: Path, key: str, value: str) -> None:
        (problem,) = loaded_lab(lab, vm1=f"{key} = {value}\n").problems
        assert problem.key.startswith(key)

    @pytest.mark.parametrize(
        "text",
        [
            'machine = "microvm"\nwatchdog = "reset"\n',
            'console = false\nready = "console:x"\n',
            'agent = false\nready = "agent"\n',
            'nic = []\nready = "address"\n',
        ],
    )
    def test_keys_that_exclude_each_other(self, lab: Path, text: str) -> None:
        assert len(loaded_lab(lab, vm1=text).problems) == 1
