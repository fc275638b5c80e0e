"""A guest, its place and the host: the steps of a start in their order, or the one thing in the way."""

from collections.abc import Mapping
from typing import Any

import pytest
from support.builders import PORT, defined_guest

from kvmrun.errors import HostLacks, KvmrunError, NotPermitted, Refused
from kvmrun.model.guest.guest import Guest
from kvmrun.model.guest.nic import PersistentTap
from kvmrun.model.guest.qemu_option import Image
from kvmrun.model.paths import GuestRuntime
from kvmrun.plan.guest.start_plan import split_at_launch, start_steps
from kvmrun.plan.host_facts import ImageFacts, StartFacts
from kvmrun.plan.steps.guest_steps import (
    GuestStep,
    Launch,
    MakeImage,
    MakeTemporaryImage,
    MakeVncDirectory,
    OpenFile,
    OpenTap,
    PlugTap,
    WriteRecord,
)

PLACE = GuestRuntime(guest="vm1", uuid="u", directory="/run/vm1", log="/log/vm1", ports=(PORT,), uid=1000, log_uid=1001)
HOST = StartFacts(qemu="/usr/bin/qemu", kvm="ready", kvm_gid=36, vhost=True, nft=True, root=True, uid=0, memory=8 << 30)
IMAGE = {"drive": [{"image": "a.qcow2"}]}
OVERLAY = {"drive": [{"image": "a.qcow2", "base": "b.raw", "size": "20G"}]}
HERE = ImageFacts(kind="file", size=1)


def on(**files: ImageFacts | None) -> StartFacts:
    """The host with these files among the images: a stands for a.qcow2, b for b.raw."""
    names = {"a": "/i/a.qcow2", "b": "/i/b.raw", "k": "/i/k", "initrd": "/i/initrd", "iso": "/i/a.iso"}
    return HOST.replace(files={names[name]: file for name, file in files.items()})


def words(steps: tuple[GuestStep, ...]) -> list[str]:
    return [str(step) for step in steps]


def test_the_steps_are_in_their_order() -> None:
    one = defined_guest(**OVERLAY, boot={"kernel": "k"}, display="vnc")
    assert words(start_steps(one, PLACE, on(b=HERE, k=HERE))) == [
        "make qcow2 image /i/a.qcow2 of 20G over /i/b.raw",
        "claim the runtime directory /run/vm1 for vm1",
        "open /i/a.qcow2 for writing",
        "open /i/b.raw read-only",
        "open /i/k",
        "open tap tap-vm1",
        "listen on /run/vm1/q",
        "listen on /run/vm1/e",
        "listen on /run/vm1/p",
        "listen on /run/vm1/c",
        "listen on /run/vm1/a",
        "make /run/vm1/vnc for the VNC socket",
        "write the record /run/vm1/record",
        "start /usr/bin/qemu, paused, as uid 1000",
        "start its logger, which keeps the newest 4 MB in /log/vm1",
        "plug tap tap-vm1 into br0",
    ]


def step(
    kind: type[Any], one: Guest, runtime: GuestRuntime = PLACE, host: StartFacts = HOST, raw: tuple[str, ...] = ()
) -> Any:
    (found,) = (step for step in start_steps(one, runtime, host, raw) if isinstance(step, kind))
    return found


def test_a_guest_without_console_and_cards_needs_less() -> None:
    steps = start_steps(defined_guest(console=False, nic=[]), PLACE.replace(ports=()), HOST)
    assert not [one for one in words(steps) if "tap" in one or one.endswith("/c")]


def test_the_tap_carries_our_mark_and_its_own_mac() -> None:
    plug = step(PlugTap, defined_guest())
    assert (plug.alias, plug.mac) == ("kvmrun:vm1:eth0", "fe:54:00:00:00:01")
    assert step(OpenTap, defined_guest()).tap == PORT.handle(vhost=True)


def test_what_needs_the_network_comes_after_the_launch() -> None:
    now, then = split_at_launch(start_steps(defined_guest(), PLACE, HOST))
    assert [type(one) for one in then] == [PlugTap]
    assert [type(one).__name__ for one in now[-2:]] == ["Launch", "StartLogger"]
    assert split_at_launch(start_steps(defined_guest(nic=[]), PLACE.replace(ports=()), HOST))[1] == ()


@pytest.mark.parametrize(("accel", "group"), [("kvm", 36), ("tcg", None)])
def test_only_a_guest_with_kvm_gets_its_group(accel: str, group: int | None) -> None:
    launch = step(Launch, defined_guest(accel=accel))
    assert (launch.uid, launch.group) == (1000, group)


def test_raw_words_are_launched_and_recorded() -> None:
    one = defined_guest(args=["-rtc base=utc"])
    assert step(Launch, one, raw=("-snapshot",)).raw == ("-rtc base=utc", "-snapshot")
    assert step(WriteRecord, one, raw=("-snapshot",)).record.raw == ("-rtc base=utc", "-snapshot")


def test_without_root_everything_runs_as_the_caller() -> None:
    place = PLACE.replace(uid=None, log_uid=None)
    launch = step(Launch, defined_guest(nic=[]), place.replace(ports=()), HOST.replace(root=False))
    assert (launch.uid, str(launch)) == (None, "start /usr/bin/qemu, paused")
    assert step(MakeVncDirectory, defined_guest(display="vnc"), place).uid is None


def test_a_display_on_a_port_is_bound_before_qemu_begins() -> None:
    one = defined_guest(display="vnc:5901", nic=[])
    steps = words(start_steps(one, PLACE.replace(ports=()), HOST))
    assert "listen on 127.0.0.1:5901 for VNC viewers" in steps
    assert step(WriteRecord, one).record.display == "127.0.0.1:5901"
    assert step(WriteRecord, defined_guest(display="vnc")).record.display == "/run/vm1/vnc/v"
    with pytest.raises(Refused, match="vm1 cannot have port 5901 for its display") as refused:
        start_steps(one, PLACE, HOST.replace(taken_ports={5901: "vm2"}))
    assert (refused.value.reason, "vnc:5902" in refused.value.fix) == ("vm2 has it", True)


@pytest.mark.parametrize(
    ("drive", "base", "size"),
    [
        ({"image": "a.qcow2", "size": "1G"}, None, 1 << 30),
        ({"image": "a.qcow2", "base": "b.raw"}, "/i/b.raw", None),
        ({"image": "a.qcow2", "base": "b.raw", "size": "2G"}, "/i/b.raw", 2 << 30),
    ],
)
def test_an_image_that_is_not_there_is_made(drive: Mapping[str, str], base: str | None, size: int | None) -> None:
    made = step(MakeImage, defined_guest(drive=[drive]), host=on(b=HERE))
    assert (made.path, made.format, made.base, made.size) == ("/i/a.qcow2", "qcow2", base, size)
    assert made.base_format == ("raw" if base else "")


THROWAWAY = [
    (
        {"image": "a.qcow2", "base": "b.raw"},
        {"a": HERE.replace(backing=True), "b": HERE},
        ["/i/a.qcow2", "/i/b.raw"],
        1,
    ),
    ({"image": "a.qcow2", "base": "b.raw"}, {"b": HERE}, ["/i/b.raw"], 1),
    ({"image": "a.qcow2", "base": "b.raw", "size": "1M"}, {"b": HERE}, ["/i/b.raw"], 1 << 20),
    ({"image": "a.qcow2", "size": "1M"}, {}, [], 1 << 20),
    ({"image": "a.qcow2"}, {"a": HERE.replace(reader="vm2")}, ["/i/a.qcow2"], 1),
]
"""Drives, the files that are there, those that are opened, and the size of the temporary image."""


@pytest.mark.parametrize(("drive", "files", "opened", "size"), THROWAWAY)
def test_nothing_of_a_throwaway_guest_is_written(
    drive: Mapping[str, str], files: dict[str, ImageFacts], opened: list[str], size: int
) -> None:
    steps = start_steps(defined_guest(throwaway=True, drive=[drive]), PLACE, on(**{"a": None, **files}))
    assert [
        (one.file.path, one.file.readonly) for one in steps if isinstance(one, OpenFile) and isinstance(one.file, Image)
    ] == [(path, True) for path in opened]
    assert [one.size for one in steps if isinstance(one, MakeTemporaryImage)] == [size]
    assert not [one for one in steps if isinstance(one, MakeImage)]
    (launch,) = (one for one in steps if isinstance(one, Launch))
    props = [option.props for option in launch.options if option.flag == "blockdev"]
    assert [found["driver"] for found in props] == ["qcow2"]
    depth, layer = 0, props[0]
    while below := layer.get("backing"):
        assert isinstance(below, Mapping)
        assert below["read-only"] is True
        depth, layer = depth + 1, below
    assert depth == len(opened)


@pytest.mark.parametrize(
    "files",
    [{"a": HERE.replace(backing=True), "b": HERE}, {"a": HERE.replace(backing=True), "b": HERE.replace(reader="vm2")}],
)
def test_an_overlay_that_is_there_is_used(files: dict[str, ImageFacts]) -> None:
    assert not [
        one for one in words(start_steps(defined_guest(**OVERLAY), PLACE, on(**files))) if one.startswith("make")
    ]


@pytest.mark.parametrize(
    ("keys", "lacks", "used"),
    [
        ({}, {}, "io_uring"),
        ({"cache": "none"}, {}, "io_uring"),
        ({}, {"io_uring": "no"}, "threads"),
        ({"cache": "none"}, {"io_uring": "no"}, "native"),
        ({"cache": "directsync"}, {"io_uring": "no"}, "native"),
        ({"cache": "none"}, {"io_uring": "no", "native": "no"}, "threads"),
        ({"aio": "threads"}, {}, "threads"),
        ({"aio": "native", "cache": "none"}, {}, "native"),
        ({"aio": "native", "cache": "none"}, {"io_uring": "no"}, "native"),
    ],
)
def test_images_are_used_by_the_best_way_there_is(keys: dict[str, str], lacks: dict[str, str], used: str) -> None:
    one = defined_guest(drive=[{"image": "a.qcow2", "base": "b.raw", **keys}])
    host = on(a=HERE.replace(backing=True), b=HERE).replace(aio={"io_uring": "", "native": "", **lacks})
    [node] = [option.props for option in step(Launch, one, host=host).options if option.flag == "blockdev"]
    assert (node["file"]["aio"], node["backing"]["file"]["aio"]) == (used, used)


def test_a_temporary_image_is_never_used_past_the_page_cache() -> None:
    one = defined_guest(throwaway=True, drive=[{"image": "a.qcow2", "cache": "none", "aio": "native"}])
    host = on(a=HERE).replace(aio={"io_uring": "", "native": ""})
    [node] = [option.props for option in step(Launch, one, host=host).options if option.flag == "blockdev"]
    assert (node["file"]["aio"], node["backing"]["file"]["aio"]) == ("threads", "native")


def test_a_base_of_two_drives_is_opened_once() -> None:
    both = [{"image": "a.qcow2", "base": "b.raw"}, {"image": "c.qcow2", "base": "b.raw"}]
    assert words(start_steps(defined_guest(drive=both), PLACE, on(b=HERE))).count("open /i/b.raw read-only") == 1


CDROM = {"drive": [{"image": "a.iso", "media": "cdrom"}]}
KERNEL = {"boot": {"kernel": "k", "initrd": "initrd"}}
BUILT = HOST.replace(images="/i", beside={"/i/demo-vmlinux": ("demo-initrd", "demo-vmlinuz")})
REFUSALS: list[tuple[dict[str, Any], StartFacts, type[KvmrunError], tuple[str, ...]]] = [
    ({}, HOST.replace(kvm="absent"), HostLacks, ("no /dev/kvm", "modprobe", "--accel tcg")),
    ({}, HOST.replace(kvm="forbidden"), NotPermitted, ("may not use /dev/kvm", "chgrp kvm /dev/kvm", "--accel tcg")),
    ({}, HOST.replace(kvm="forbidden", root=False), NotPermitted, ("add yourself to the group kvm", "--accel tcg")),
    ({"memory": "9G"}, HOST, Refused, ("asks for 9G", "8192M", "vm1.toml")),
    ({"user": "ann"}, HOST, Refused, ("is to run as ann", "no such account")),
    ({}, HOST.replace(taken_uids={1000: "vm2"}), Refused, ("share its uid 1000", "that of vm2", "seed")),
    ({}, HOST.replace(taken_taps=frozenset({"tap-vm1"})), Refused, ("interface tap-vm1", "ip -d link show tap-vm1")),
    ({}, HOST.replace(qemu=""), HostLacks, ("not installed", "apt install", "KVMRUN_QEMU")),
    (
        {},
        HOST.replace(qemu="/q", qemu_problem="/q: No such file"),
        HostLacks,
        ("cannot run /q", "/q: No", "KVMRUN_QEMU"),
    ),
    (IMAGE, HOST, Refused, ("has no image /i/a.qcow2", "give size")),
    (IMAGE, on(a=HERE.replace(kind="other")), Refused, ("cannot use /i/a.qcow2", "not a regular file")),
    (
        IMAGE,
        on(a=HERE.replace(writer="vm2")),
        Refused,
        ("cannot write to /i/a.qcow2", "vm2 is running", "kvmrun stop vm2"),
    ),
    (IMAGE, on(a=HERE.replace(reader="vm2")), Refused, ("cannot write to /i/a.qcow2", "vm2 is running")),
    (IMAGE, on(a=HERE.replace(data_file=True)), Refused, ("data file", "qemu-img convert")),
    (IMAGE, on(a=HERE.replace(backing=True)), Refused, ("is an overlay", "base = ")),
    (OVERLAY, HOST, Refused, ("has no /i/b.raw", "correct the path")),
    (OVERLAY, on(a=HERE, b=HERE), Refused, ("is no overlay", "leave base out")),
    (OVERLAY, on(b=HERE.replace(backing=True)), Refused, ("cannot use /i/b.raw", "is an overlay", "qemu-img convert")),
    (OVERLAY, on(b=HERE.replace(data_file=True)), Refused, ("cannot use /i/b.raw", "data file")),
    (OVERLAY, on(b=HERE.replace(writer="vm2")), Refused, ("cannot read /i/b.raw", "vm2 is running")),
    (
        {"drive": [{"image": "a.qcow2", "aio": "io_uring"}]},
        on(a=HERE).replace(aio={"io_uring": "kernel.io_uring_disabled is 2", "native": ""}),
        HostLacks,
        ("io_uring", "leave aio out in drive 0 of vm1.toml"),
    ),
    (CDROM, HOST, Refused, ("has no image /i/a.iso", "optional = true")),
    (CDROM, on(iso=HERE.replace(writer="vm2")), Refused, ("cannot read /i/a.iso", "vm2")),
    (KERNEL, HOST, Refused, ("has no /i/k", "vm1.toml")),
    (KERNEL, on(k=HERE), Refused, ("has no /i/initrd", "vm1.toml")),
    ({"boot": {"kernel": "demo-vmlinuz"}}, BUILT, Refused, ("has no /i/demo-vmlinuz", "kvmrun build demo")),
    ({"boot": {"kernel": "demo-vmlinux"}}, BUILT, Refused, ("has no /i/demo-vmlinux", "did you mean demo-vmlinuz?")),
    ({"boot": {"kernel": "other-kernel"}}, BUILT, Refused, ("has no /i/other-kernel", "correct the path in vm1.toml")),
    (IMAGE, HOST.replace(beside={"/i/a.qcow2": ("a.qcow",)}), Refused, ("did you mean a.qcow?",)),
]


@pytest.mark.parametrize(("table", "host", "kind", "says"), REFUSALS)
def test_what_is_in_the_way_is_said(
    table: dict[str, Any], host: StartFacts, kind: type[KvmrunError], says: tuple[str, ...]
) -> None:
    with pytest.raises(kind) as refused:
        start_steps(defined_guest(**table), PLACE, host)
    error = refused.value
    assert error.fix
    assert not [one for one in says if one not in f"{error.message} {error.reason} {error.fix}"]


@pytest.mark.parametrize(
    ("table", "host"),
    [
        ({"accel": "tcg"}, HOST.replace(kvm="absent")),
        ({"accel": "tcg"}, HOST.replace(kvm="forbidden")),
        ({"memory": "8G"}, HOST),
        ({"user": "ann"}, HOST.replace(accounts={"ann": 1000}, taken_uids={1000: "vm2"})),
        ({}, HOST.replace(taken_uids={1000: "vm1", 999: "vm2"})),
        ({}, HOST.replace(taken_taps=frozenset({"tap-vm2"}))),
        (IMAGE, on(a=HERE.replace(kind="device"))),
        (CDROM, on(iso=HERE.replace(reader="vm2"))),
    ],
)
def test_what_is_not_in_the_way_is_let_pass(table: dict[str, Any], host: StartFacts) -> None:
    assert step(Launch, defined_guest(**table), host=host).qemu == HOST.qemu


KEPT = PersistentTap(name="tap-vm1", alias="kvmrun:vm1:eth0", owner=1000, queues=1, held=False)


def test_a_kept_tap_is_opened_and_not_plugged() -> None:
    host = HOST.replace(root=False, uid=1000, kept_taps={"tap-vm1": KEPT}, taken_taps=frozenset({"tap-vm1"}))
    steps = start_steps(defined_guest(accel="tcg"), PLACE, host)
    opened = [OpenTap(tap=PORT.handle(vhost=True), kept=True)]
    assert [step for step in steps if isinstance(step, OpenTap | PlugTap)] == opened


@pytest.mark.parametrize(
    ("kept", "root", "error"),
    [
        ({}, False, NotPermitted),
        ({"tap-vm1": KEPT.replace(owner=1)}, False, NotPermitted),
        ({"tap-vm1": KEPT.replace(held=True)}, False, Refused),
        ({"tap-vm1": KEPT.replace(held=True)}, True, Refused),
        ({"tap-vm1": KEPT.replace(alias="kvmrun:other:eth0")}, True, Refused),
    ],
)
def test_a_tap_that_is_not_for_this_guest_and_user_is_refused(
    kept: dict[str, PersistentTap], root: bool, error: type[Exception]
) -> None:
    host = HOST.replace(root=root, uid=1000, kept_taps=kept, taken_taps=frozenset(kept))
    with pytest.raises(error):
        start_steps(defined_guest(accel="tcg"), PLACE, host)
