"""Definitions that QEMU, dnsmasq, Shorewall or the next guest would choke on: each is told of before it is tried."""

from pathlib import Path

import pytest
from support.builders import loaded_lab

from kvmrun.config.standard_paths import resolve_paths
from kvmrun.config.toml_file import Unreadable, parse_toml
from kvmrun.errors import Refused
from kvmrun.model.lab import Lab

HOST = "laptop"
NAMES = '[network.lan]\nnames = {{ {} = "172.20.1.1" }}\n'


def told(lab: Lab, file: str = "", *, warning: bool = False) -> list[str]:
    return [f"{one}" for one in lab.problems if one.warning == warning and (not file or one.file == file)]


@pytest.mark.parametrize(
    "subnet",
    [
        *("0.0.0.0/0", "0.0.0.0/8", "127.0.0.0/8", "127.5.0.0/24", "169.254.0.0/16", "224.0.0.0/4", "239.1.2.0/24"),
        *("240.0.0.0/4", "255.255.255.0/24", "192.0.0.0/2", "128.0.0.0/1", "10.0.0.0/31", "10.0.0.1/32", "10.0.0.0/29"),
    ],
)
def test_a_subnet_that_no_network_can_have(lab: Path, subnet: str) -> None:
    found = loaded_lab(lab, f'[network.lan]\nsubnet = "{subnet}"\n', vm1="", vm2="")
    [problem] = told(found)  # once, and not for every guest
    assert problem.startswith(f"networks.toml: network.lan.subnet: found {subnet}, expected a ")
    assert (found.invalid, dict(found.networks)) == (("vm1", "vm2"), {})


@pytest.mark.parametrize("subnet", ["10.0.0.0/8", "172.16.0.0/12", "100.64.0.0/10", "198.18.0.0/28", "203.0.113.0/24"])
def test_a_subnet_that_a_lab_may_have(lab: Path, subnet: str) -> None:
    assert told(loaded_lab(lab, f'[network.lan]\nsubnet = "{subnet}"\n')) == []


@pytest.mark.parametrize("prefix", ["fe80::/64", "ff02::/64", "::/64", "::ffff:0:0/96"])
def test_a_prefix_that_no_network_can_have(lab: Path, prefix: str) -> None:
    [problem] = told(loaded_lab(lab, f'[network.lan]\nipv6 = "{prefix}"\n', vm1=""))
    assert problem.startswith("networks.toml: network.lan.ipv6")


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ('dns = { upstream = ["192.168.0.254"] }', "dns.upstream"),
        ('dns = { upstream = ["0.0.0.0"] }', "dns.upstream"),
        ('dns = { upstream = ["224.0.0.251"] }', "dns.upstream"),
        ('names = { "a b" = "10.0.0.1" }', "names.a b"),
        ('names = { Up = "10.0.0.1" }', "names.Up"),
        ('names = { a = "x" }', "names.a"),
        ('dns = false\nnames = { a = "10.0.0.1" }', "names"),
        *((f"{key} = false", key) for key in ("host", "uplink", "subnet", "bridge", "domain", "mtu", "policy")),
        *((f"{key} = true", key) for key in ("host", "uplink", "ipv6", "forward", "names")),
        *((f"dhcp = {{ {key} = false }}", f"dhcp.{key}") for key in ("pool", "lease", "options")),
        *((f"dns = {{ {key} = false }}", f"dns.{key}") for key in ("search", "upstream")),
    ],
)
def test_a_value_that_says_nothing_is_an_error(lab: Path, line: str, key: str) -> None:
    problems = told(loaded_lab(lab, f"[network.lan]\n{line}\n", vm1=""))
    assert [one.split(": ")[:2] for one in problems] == [["networks.toml", f"network.lan.{key}"]]


@pytest.mark.parametrize(
    "line", ["dhcp = false", "dns = false", "dhcp = true", "dns = true", "nat = false", "ipv6 = false"]
)
def test_what_can_be_switched_off_is(lab: Path, line: str) -> None:
    assert told(loaded_lab(lab, f"[network.lan]\n{line}\n", vm1="")) == []


@pytest.mark.parametrize("gateway", ["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255"])
def test_a_gateway_that_nobody_is(lab: Path, gateway: str) -> None:
    [problem] = told(loaded_lab(lab, f'[uplink.a]\ninterface = "eth0"\ngateway = "{gateway}"\n'))
    assert problem.startswith("networks.toml: uplink.a.gateway")


def test_a_network_that_shorewall_would_take_for_all_of_them(lab: Path) -> None:
    [problem] = told(loaded_lab(lab, "[network.any]\n"))
    assert "Shorewall" in problem


@pytest.mark.parametrize("name", ["shorewall", "avvanta", "comcast", "a", "abcdefghijklmno"])
def test_a_provider_may_have_the_name_it_had(lab: Path, name: str) -> None:
    text = f'[uplink.{name}]\ninterface = "eth0"\ngateway = "172.20.1.1"\n'
    text += f'[network.lan]\nuplink = "{name}"\nnat = ["{name}"]\n'
    found = loaded_lab(lab, text, vm1=f'uplink = "{name}"\n')
    assert (told(found), list(found.uplinks), list(found.guests)) == ([], [name], ["vm1"])


@pytest.mark.parametrize("name", ["localhost", "ip6-localhost", HOST])
def test_a_guest_that_is_called_as_the_machine_itself(lab: Path, name: str) -> None:
    (lab / f"{name}.toml").touch()
    found = loaded_lab(lab, vm1="")
    assert (found.invalid, list(found.guests)) == ((name,), ["vm1"])
    [problem] = told(found)
    assert "expected another name" in problem


def test_a_guest_that_is_called_as_the_second_card_of_another(lab: Path) -> None:
    found = loaded_lab(lab, longguest="[[nic]]\n[[nic]]\n", longguest_eth1="")
    [problem] = told(found, "longguest-eth1.toml")
    assert "a NIC of longguest is called longguest-eth1 in DNS" in problem


@pytest.mark.parametrize("name", ["vm1", HOST, "localhost", '"vm1.lan"'])
def test_a_name_that_is_taken_cannot_be_given_to_another_machine(lab: Path, name: str) -> None:
    [problem] = told(loaded_lab(lab, NAMES.format(name), vm1=""), "networks.toml")
    assert "another name" in problem


def test_one_port_shows_one_guest(lab: Path) -> None:
    found = loaded_lab(lab, vm1='display = "vnc:5901"\n', vm2='display = "vnc:5901"\n', vm3='display = "vnc:5902"\n')
    assert told(found) == [
        "vm1.toml: display: found vnc:5901, expected another port: vm2 has that one",
        "vm2.toml: display: found vnc:5901, expected another port: vm1 has that one",
    ]
    assert list(found.guests) == ["vm3"]


NICS = "[[nic]]\n"
DRIVE = '[[drive]]\nimage = "d{}.raw"\nreadonly = true\n{}'
CROWDS = [
    ("q35", "", (0, 28), True),
    ("q35", "", (0, 29), False),
    ("q35", "agent = false\n", (0, 29), True),
    ("q35", "", (28, 0), True),
    ("q35", "", (29, 0), False),
    ("q35", 'display = "vnc"\n', (28, 0), False),
    ("q35", 'watchdog = "reset"\n', (28, 0), False),
    ("q35", "", (15, 14), False),
    ("pc", "", (28, 0), True),
    ("pc", "", (30, 0), False),
    ("microvm", "", (22, 0), True),
    ("microvm", "", (23, 0), False),
]


@pytest.mark.parametrize(("machine", "more", "devices", "fits"), CROWDS)
def test_more_devices_than_slots(lab: Path, machine: str, more: str, devices: tuple[int, int], fits: bool) -> None:
    drives, nics = devices
    text = f'machine = "{machine}"\n{more}' + "".join(DRIVE.format(one, "") for one in range(drives)) + NICS * nics
    found = loaded_lab(lab, vm1=text if nics else f"nic = []\n{text}")
    assert (found.invalid == ()) == fits, told(found)
    if not fits:
        assert "slots" in told(found)[0]


def test_drives_on_a_controller_take_no_slot_of_their_own(lab: Path) -> None:
    text = "nic = []\n" + "".join(DRIVE.format(one, 'interface = "scsi"\n') for one in range(40))
    assert told(loaded_lab(lab, vm1=text)) == []


@pytest.mark.parametrize(
    ("domain", "warned"),
    [
        *(
            (one, True)
            for one in ("example.com", "shorewall.net", "lab.de", "de", "dev", "my.app", "lan.local", "local")
        ),
        *((one, False) for one in ("lan", "home.arpa", "lab.example", "internal", "corp.test")),
    ],
)
def test_a_domain_that_hides_a_real_one_is_warned_of(lab: Path, domain: str, warned: bool) -> None:
    found = loaded_lab(lab, f'[network.lan]\ndomain = "{domain}"\n', vm1="")
    assert (len(told(found, warning=True)), told(found)) == (int(warned), [])


ABSENT = (
    "os",
    "machine",
    "accel",
    "description",
    "uuid",
    "user",
    "ssh_user",
    "uplink",
    "on_crash",
    "on_reboot",
    "watchdog",
    "cpu",
)


@pytest.mark.parametrize(
    "text",
    [
        *(f'{key} = ""' for key in (*ABSENT, "display", "ready", "memory")),
        *(f'[boot]\n{key} = ""' for key in ("kernel", "initrd", "cmdline")),
        *(f'[[drive]]\nimage = "a.raw"\n{key} = ""' for key in ("format", "base", "base_format", "interface", "cache")),
        *(f'[[nic]]\n{key} = ""' for key in ("name", "network", "mac", "address", "model", "guard")),
    ],
)
def test_an_empty_text_is_not_an_absent_key(lab: Path, text: str) -> None:
    found = loaded_lab(lab, vm1=f"{text}\n")
    assert (found.invalid, len(told(found))) == (("vm1",), 1), told(found)


def test_one_error_in_networks_is_said_once(lab: Path) -> None:
    found = loaded_lab(lab, "[network.lan]\nmtu = 1\n", vm1="", vm2="", vm3="nic = []\n")
    assert told(found) == ["networks.toml: network.lan.mtu: found 1, expected 1280 to 65521"]
    assert (found.invalid, list(found.guests)) == (("vm1", "vm2"), ["vm3"])
    found = loaded_lab(lab, "not toml", vm1="")
    assert [one.split(":")[0] for one in told(found)] == ["networks.toml"]
    assert found.invalid == ("vm1", "vm2")
    found = loaded_lab(lab, '[uplink.a]\ninterface = ""\n', vm1='uplink = "a"\n')
    assert [one.split(":")[0] for one in told(found)] == ["networks.toml"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"\xef\xbb\xbfcpus = 1\n", ("byte-order mark", "UTF-8 without one")),
        (b"memory = 16M\n", ("memory = 16M in line 1", 'quotes around text: memory = "16M"')),
        (b"cpus = 1\n\n  accel=tcg # fast\n", ("accel = tcg in line 3", 'accel = "tcg"')),
        (b"[[nic]]\nmac = 52:54:00:12:34:56\n", ("in line 2", 'mac = "52:54:00:12:34:56"')),
        (b"[network.lan]\nsubnet = 10.0.0.0/24\n", ("in line 2", 'subnet = "10.0.0.0/24"')),
        (b"cpus =\n", ("line 1", "valid TOML")),
        (b"cpus = [1\n", ("valid TOML",)),
    ],
)
def test_what_a_person_forgets_in_toml_has_a_sentence(text: bytes, says: tuple[str, ...]) -> None:
    with pytest.raises(Unreadable) as reason:
        parse_toml(text)
    assert not [one for one in says if one not in f"{reason.value.found}; {reason.value.wanted}"], reason.value


@pytest.mark.parametrize("variable", ["KVMRUN_RUN_DIR", "KVMRUN_STATE_DIR"])
@pytest.mark.parametrize("letter", ['"', ",", "\\", "#", "\n", "\x1b"])
def test_a_path_that_others_could_not_read(variable: str, letter: str) -> None:
    with pytest.raises(Refused, match="is no place for"):
        resolve_paths("/lab", {variable: f"/tmp/a{letter}b"})
    resolve_paths("/lab", {variable: "/tmp/a b'c:d=e@f+g~h%i$j"})


SHARED = {
    "MAC": ('[[nic]]\nmac = "52:54:00:00:00:01"\n', "nic[0].mac"),
    "address": ('[[nic]]\naddress = "192.168.0.7"\n', "nic[0].address"),
    "port": ('display = "vnc:5901"\n', "display"),
    "image": ('[[drive]]\nimage = "shared.qcow2"\nsize = "1G"\n', "drive[0].image"),
    "UUID": ('uuid = "6f1f3a0e-0000-4000-8000-000000000001"\n', "uuid"),
}
ERRORS = {
    "a value": ('memory = "lots"\n', "memory"),
    "an unknown key": ("colour = 1\n", "colour"),
    "a cross rule": ('after = ["nobody"]\n', "after[0]"),
    "keys that do not fit": ('boot = { cmdline = "quiet" }\n', "boot.cmdline"),
}


@pytest.mark.parametrize("what", SHARED)
@pytest.mark.parametrize("error", ERRORS)
def test_a_guest_with_an_error_is_told_what_it_shares_with_another_guest(lab: Path, what: str, error: str) -> None:
    (shared, shared_key), (wrong, wrong_key) = SHARED[what], ERRORS[error]
    found = loaded_lab(lab, vm1=wrong + shared, vm2=shared)
    assert sorted(one.key for one in found.problems if one.file == "vm1.toml") == sorted([wrong_key, shared_key])
    assert told(found, "vm2.toml") == []
    assert (list(found.guests), found.invalid) == (["vm2"], ("vm1",))


@pytest.mark.parametrize("what", SHARED)
def test_what_two_guests_with_errors_share_is_told_of_both(lab: Path, what: str) -> None:
    shared, key = SHARED[what]
    wrong = ERRORS["a value"][0]
    found = loaded_lab(lab, vm1=wrong + shared, vm2=wrong + shared)
    files = {one.file for one in found.problems if one.key == key}
    assert files == ({"vm2.toml"} if what == "image" else {"vm1.toml", "vm2.toml"})  # the first guest keeps the image


def test_errors_of_a_nic_do_not_hide_its_mac(lab: Path) -> None:
    mac = 'mac = "52:54:00:00:00:01"\n'
    found = loaded_lab(lab, vm1=f'[[nic]]\n[[nic]]\nguard = "strict"\n{mac}', vm2=f"[[nic]]\n{mac}")
    assert [one.key for one in found.problems] == ["nic[1].guard", "nic[1].mac"]


def test_a_guest_without_its_defaults_is_told_what_it_shares(lab: Path) -> None:
    mac = '[[nic]]\nmac = "52:54:00:00:00:01"\n'
    (lab / "defaults.toml").write_text('memory = "lots"\n')
    found = loaded_lab(lab, vm1=mac, vm2=mac)
    assert [(one.file, one.key) for one in found.problems] == [
        ("defaults.toml", "memory"),
        ("vm2.toml", "nic[0].mac"),
        ("vm1.toml", "nic[0].mac"),
    ]


@pytest.mark.parametrize(
    "text", ["memory = [", "nic = 3\n", "nic = [3]\n", 'nic = [{ network = "dmz", mac = "no" }]\n']
)
def test_what_is_left_of_a_broken_definition_makes_no_more_errors(lab: Path, text: str) -> None:
    found = loaded_lab(lab, vm1=text, vm2="")
    assert (len(told(found, "vm1.toml")), told(found, "vm2.toml"), list(found.guests)) == (1, [], ["vm2"])
