"""A table to a guest: every kind of key, right and wrong, and all that is wrong at once."""

from typing import Any

import pytest

from kvmrun.config.toml_values import Converter
from kvmrun.model.guest.guest import Guest
from kvmrun.model.network.network import Network
from kvmrun.model.scalars import GuestName, NicName, PathBase
from kvmrun.model.value import Value

BASE = PathBase(directory="/lab", images="/images")


def converted(cls: type[Value], table: dict[str, Any], **given: Any) -> tuple[Any, list[str]]:
    file = Converter("vm1.toml", BASE)
    found = file.convert(cls, table, **given)
    return found, [str(problem).removeprefix("vm1.toml: ") for problem in file.problems]


def guest(table: dict[str, Any]) -> tuple[Any, list[str]]:
    return converted(Guest, table, name=GuestName("vm1"))


def test_an_empty_file_is_a_guest_with_every_default() -> None:
    found, problems = guest({})
    assert problems == []
    assert (found.name, found.machine, found.accel, found.cpus, str(found.memory)) == ("vm1", "q35", "kvm", 1, "512M")
    assert (len(found.nic), found.nic[0].network, found.drive, found.console) == (1, "lan", (), True)


def test_keys_of_every_kind_are_taken() -> None:
    table = {
        "description": "x", "machine": "pc", "accel": "tcg", "cpu": "qemu64", "cpus": 2, "topology": {"cores": 2},
        "clock": "local", "free_page_reporting": True, "memory": "1G", "user": "ann", "os": "toy1",
        "console": False, "display": "vnc", "args": ["-S"], "uuid": "6b766d72-756e-4d8a-9c0e-5b3f1d2a7c64",
        "boot": {"kernel": "k", "initrd": "./i", "cmdline": "quiet", "order": ["network"]},
        "drive": [{"image": "a.raw", "size": "1G", "interface": "ide", "cache": "none", "discard": False}],
        "nic": [{"name": "wan", "network": "lan", "mac": "52:54:00:00:00:01", "address": "192.168.0.9", "queues": 2}],
    }  # fmt: skip
    found, problems = guest(table)
    assert problems == []
    assert not [key for key in table if getattr(found, key) == Guest.DEFAULTS[key]]
    assert (found.boot.kernel, found.boot.initrd, found.boot.order) == ("/images/k", "/lab/i", ("network",))


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({"memroy": 5}, "memroy: there is no such key; did you mean memory?"),
        ({"zzz": 5}, "zzz: there is no such key; known keys: accel, "),
        ({"name": "vm2"}, "name: there is no such key"),
        ({"\x1b[31m": 5}, "\\x1b[31m: there is no such key"),
        ({"boot": {"kernal": "k"}}, "boot.kernal: there is no such key; did you mean kernel?"),
        ({"nic": [{}, {"bridge": "br0"}]}, "nic[1].bridge: there is no such key"),
        ({"cpus": "2"}, 'cpus: found "2", expected a whole number'),
        ({"topology": {"core": 2}}, "topology.core: there is no such key; did you mean cores?"),
        ({"topology": "2,cores=2"}, 'topology: found "2,cores=2", expected a table with sockets, cores, threads'),
        ({"clock": "localtime"}, 'clock: found "localtime", expected one of "utc", "local"'),
        ({"cpus": True}, "cpus: found true, expected a whole number"),
        ({"cpus": 1.0}, "cpus: found 1.0, expected a whole number"),
        ({"console": 1}, "console: found 1, expected true or false"),
        ({"console": "yes"}, 'console: found "yes", expected true or false'),
        ({"description": 5}, "description: found 5, expected one line of"),
        ({"description": "a\nb"}, 'description: found "a b", expected one line of'),
        ({"description": "x" * 2001}, "expected one line of 1 to 2000"),
        ({"machine": "virt"}, 'machine: found "virt", expected one of "q35", "pc", "microvm"'),
        ({"accel": ["kvm"]}, "accel: found ['kvm'], expected one of"),
        ({"accel": ""}, 'accel: found "", expected one of "kvm", "tcg"'),
        ({"memory": "0"}, 'memory: found "0", expected a size with its unit'),
        ({"memory": "0M"}, 'memory: found "0M", expected a size above zero'),
        ({"memory": "2X"}, 'memory: found "2X", expected a size with its unit'),
        ({"memory": "-1G"}, 'memory: found "-1G", expected a size with its unit'),
        ({"memory": 5}, "memory: found 5, expected a size with its unit"),
        ({"memory": ""}, 'memory: found "", expected a size with its unit'),
        ({"boot": "k"}, 'boot: found "k", expected a table with kernel, initrd, cmdline, order'),
        ({"boot": {"order": "drive"}}, 'boot.order: found "drive", expected a list'),
        ({"boot": {"order": ["usb"]}}, 'boot.order[0]: found "usb", expected one of "drive", "cdrom", "network"'),
        ({"nic": {}}, "nic: found {}, expected a list of tables, [[nic]]"),
        ({"nic": ["eth0"]}, 'nic[0]: found "eth0", expected a table with'),
        ({"nic": [{"mac": "01:00:00:00:00:00"}]}, "expected a unicast address"),
        ({"nic": [{"address": "192.168.0.300"}]}, 'nic[0].address: found "192.168.0.300", expected an IPv4 address'),
        ({"nic": [{"address": 5}]}, "nic[0].address: found 5, expected an IPv4 address"),
        ({"nic": [{"name": "ETH0"}]}, 'nic[0].name: found "ETH0", expected a name of a-z and 0-9'),
        ({"args": "-S"}, 'args: found "-S", expected a list'),
        ({"args": [5]}, "args[0]: found 5, expected one line"),
        ({"uuid": "5"}, 'uuid: found "5", expected a UUID'),
        ({"user": "a b"}, 'user: found "a b", expected one word'),
        ({"cpu": "a b"}, 'cpu: found "a b", expected a CPU model'),
        ({"drive": [{"image": "a.raw", "bps": 5}]}, "drive[0].bps: found 5, expected a size with its unit"),
        ({"drive": [{"image": "a.raw", "bps": "0M"}]}, 'drive[0].bps: found "0M", expected a size above zero'),
        ({"drive": [{"image": "a.raw", "bps": "-1M"}]}, 'drive[0].bps: found "-1M", expected a size with its unit'),
        ({"drive": [{"image": "a.raw", "iops": "5"}]}, 'drive[0].iops: found "5", expected a whole number'),
        ({"drive": [{"image": "a.raw", "iops": True}]}, "drive[0].iops: found true, expected a whole number"),
        ({"drive": [{"image": "a.raw", "aio": "uring"}]}, 'drive[0].aio: found "uring", expected one of "io_uring"'),
        ({"drive": [{"image": "a.raw", "detect_zeroes": True}]}, "drive[0].detect_zeroes: found true, expected one of"),
        ({"drive": [{"image": ""}]}, 'drive[0].image: found "", expected a path'),
    ],
)  # fmt: skip
def test_a_wrong_key_is_named_with_what_is_wanted(table: dict[str, Any], problem: str) -> None:
    found, problems = guest(table)
    assert found is None
    assert len(problems) == 1
    assert problem in problems[0]


def test_all_errors_are_told_at_once_in_their_order() -> None:
    _, problems = guest({"x": 1, "y": 1, "cpus": "a", "memory": 5, "drive": [{"siez": 5}], "nic": [{"mac": 1}]})
    assert [one.split(":")[0] for one in problems] == [
        "x", "y", "cpus", "memory", "drive[0].siez", "nic[0].mac",
    ]  # fmt: skip


@pytest.mark.parametrize("key", ["cpu", "uuid", "user", "uplink", "description", "boot", "limits", "drive", "nic"])
@pytest.mark.parametrize("value", [False, True, 0, ""])
def test_a_value_that_says_nothing_is_told(key: str, value: object) -> None:
    found, problems = guest({key: value})
    assert (found, [one.split(":")[0] for one in problems]) == (None, [key])


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({"subnet": "192.168.0.1/24"}, "(host bits are set)"),
        ({"subnet": "192.168.0.0/33"}, 'subnet: found "192.168.0.0/33", expected an IPv4 subnet'),
        ({"subnet": 5}, "subnet: found 5, expected an IPv4 subnet"),
        ({"bridge": "a/b"}, "expected an interface name"),
        ({"external": "no"}, 'external: found "no", expected true or false'),
        ({"mtu": "1500"}, 'mtu: found "1500", expected a whole number'),
    ],
)
def test_a_wrong_key_of_a_network_is_named(table: dict[str, Any], problem: str) -> None:
    found, problems = converted(Network, table, name=NicName("lan"))
    assert found is None
    assert problem in problems[0]


GOOD = {"drive": [{"image": "a.raw"}]}


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({"cpus": 0}, "cpus: 0: 1 to 255"),
        ({"cpus": 256}, "cpus: 256: 1 to 255"),
        ({"cpus": 4, "topology": {"cores": 3}}, "topology: 1 * 3 * 1 = 3: "),
        ({"cpus": 256, "topology": {"cores": 64, "threads": 4}}, "topology: 1 * 64 * 4 = 256: at most 255"),
        ({"topology": {"threads": -1}}, "topology.threads: -1: 1 to 255"),
        ({"machine": "microvm", "display": "vnc"}, "display: vnc: "),
        ({"boot": {"initrd": "i"}}, "boot.initrd: /images/i: a kernel beside it"),
        ({"boot": {"cmdline": "quiet"}}, "boot.cmdline: quiet: a kernel beside it"),
        ({"args": ["-device virtio-balloon"], "free_page_reporting": True}, "free_page_reporting: true: no value"),
        ({"args": ["it's"]}, "args[0]: it's: "),
        ({"args": [" "]}, "args[0]:  : "),
        ({"drive": [{"image": "a.vmdk"}]}, "drive[0].format"),
        ({"drive": [{"image": "a.qcow2", "base": "b"}]}, "drive[0].base_format"),
        ({"drive": [{"image": "a.raw", "base": "b.raw"}]}, "drive[0].base"),
        ({"drive": [{"image": "a.qcow2", "base": "a.qcow2"}]}, "drive[0].base"),
        ({"drive": [{"image": "a.iso", "media": "cdrom", "interface": "nvme"}]}, "drive[0].interface"),
        ({"drive": [{"image": "a.raw", "readonly": True, "interface": "ide"}]}, "drive[0].interface"),
        ({"drive": [{"image": "a.raw", "interface": "ide"}], "machine": "microvm"}, "drive[0].interface"),
        ({"drive": [{"image": f"{n}.raw", "interface": "ide"} for n in range(7)]}, "drive[6].interface: ide: "),
        (
            {"drive": [{"image": f"{n}.raw", "interface": "ide"} for n in range(5)], "machine": "pc"},
            "drive[4].interface",
        ),
        *(
            ({"drive": [{"image": "a.raw", **keys}]}, f"drive[0].{problem}")
            for keys, problem in (
                ({"detect_zeroes": "unmap", "discard": False}, 'detect_zeroes: unmap: "on" or "off"'),
                ({"aio": "native"}, 'aio: native: cache = "none"'),
                ({"aio": "native", "cache": "unsafe"}, "aio: native: "),
                ({"iops": 0}, "iops: 0: 1 to 1000000000000000"),
                ({"write_iops": -5}, "write_iops: -5: 1 to "),
                ({"read_iops": 10**15 + 1}, "read_iops: 1000000000000001: 1 to "),
                ({"bps": "910T"}, "bps: 910T: 1 to 909T"),
                ({"bps": "1M", "read_bps": "1M"}, "bps: 1M: no value beside read_bps"),
                ({"iops": 5, "write_iops": 5}, "iops: 5: no value beside read_iops"),
            )
        ),
        *(
            ({"drive": [{"image": "a.iso", "media": "cdrom", key: value}]}, f"drive[0].{key}: {value}: no value")
            for key, value in (("aio", "threads"), ("detect_zeroes", "off"), ("bps", "1M"), ("write_iops", 3))
        ),
        ({"drive": [{}]}, "drive[0].image: : a path: "),
        ({"drive": [{"image": "a.raw", "optional": True}]}, "drive[0].optional: true: "),
        *(
            ({"drive": [{"media": "cdrom", key: value}]}, f"drive[0].{key}: {shown}: no value")
            for key, value, shown in (("format", "raw", "raw"), ("size", "1G", "1G"), ("optional", True, "true"))
        ),
        ({"nic": [{"queues": 0}]}, "nic[0].queues"),
        ({"nic": [{"queues": 17}]}, "nic[0].queues"),
        ({"nic": [{"queues": 2, "model": "e1000"}]}, "nic[0].queues"),
        ({"nic": [{"model": "e1000"}], "machine": "microvm"}, "nic[0].model"),
        ({"nic": [{"mac": "fe:54:00:00:00:01"}]}, "nic[0].mac"),
    ],
    ids=str,
)
def test_keys_that_do_not_go_together_are_named(table: dict[str, Any], problem: str) -> None:
    found, problems = guest(table)
    assert problems == []
    (said,) = (f"{key}: {value}: {wanted}" for key, value, wanted in found.problems())
    assert said.startswith(problem)


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ({"subnet": "192.168.0.0/30"}, "subnet"),
        ({"host": "192.168.1.1"}, "host"),
        ({"host": "192.168.0.0"}, "host"),
        ({"host": "192.168.0.255"}, "host"),
        ({"mtu": 575}, "mtu"),
        ({"mtu": 65536}, "mtu"),
    ],
)
def test_a_network_that_cannot_be_is_named(table: dict[str, Any], key: str) -> None:
    found, _ = converted(Network, table, name=NicName("lan"))
    assert [problem[0] for problem in found.problems()] == [key]
