"""What is wrong with a guest, by what was found of it, and who it was by its QEMU's own words."""

import pytest
from support.builders import guest, lab_of

from kvmrun.model.guest.guest import Guest
from kvmrun.model.guest.launch_record import Record
from kvmrun.model.guest.nic import Nic
from kvmrun.model.guest.qemu_option import argv
from kvmrun.model.machine.processor import Topology
from kvmrun.model.paths import Paths
from kvmrun.model.scalars import Size
from kvmrun.plan.guest.start_plan import launch_record as record_of
from kvmrun.plan.network import nft_guard
from kvmrun.plan.repair import orphan_links, repair_plan
from kvmrun.plan.repair.orphan_links import OwnedLink
from kvmrun.plan.repair.repair_plan import Fault, GuestFacts

WHERE = Paths(vms="/l", run="/r", state="/s", root=True)
VM1 = guest(accel="tcg", cpus=3, memory=Size(96 << 20), nic=(Nic(), Nic(queues=2)))
LAB = lab_of(VM1, directory="/l")
PLACE = LAB.derived_runtimes(WHERE)["vm1"]
RECORD = record_of(VM1, PLACE, ()).replace(pid=7, started=70, boot="b")
WELL = GuestFacts(name="vm1", pid=7, started=70, locked=True, monitors=("q",), record=RECORD, boot="b")


def command(raw: tuple[str, ...] = (), one: Guest = VM1) -> tuple[str, ...]:
    """The words of its QEMU, with descriptors for its handles."""
    options = tuple(one.options(PLACE, vhost=False))
    handles = dict.fromkeys(handle for option in options for handle in option.handles())
    table = {handle: [10 * number, 10 * number + 1] for number, handle in enumerate(handles, 1)}
    return ("qemu", *(word for option in argv(options, table) for word in option), *raw)


def taps(words: tuple[str, ...]) -> dict[str, str]:
    found = (word for word in words if '"type": "tap"' in word)
    fds = [word.split('"fd')[1].split('"')[2].partition(":")[0] for word in found]
    return dict(zip(fds, [port.tap for port in PLACE.ports], strict=True))


def faults(found: GuestFacts) -> list[Fault]:
    return list(repair_plan.guest_faults(found, VM1, PLACE, "/r/vm/vm1/record"))


@pytest.mark.parametrize(
    ("found", "text", "steps"),
    [
        (GuestFacts(name="vm1", record=RECORD, boot="b"), "left by a crash", ["remove what it left"]),
        (GuestFacts(name="vm1", record=RECORD, boot="c"), "left by an earlier boot", ["remove what it left"]),
        (GuestFacts(name="vm1"), "left by a crash", ["remove what it left"]),
        (WELL.replace(locked=False), "its lock was removed", ["give it a new lock"]),
        (
            WELL.replace(unheard=True, monitors=("e", "p")),
            "its first monitor was removed",
            ["reach it by its monitor p"],
        ),
        (WELL.replace(guarded=False), "its packet filter was changed", ["guard its ports again"]),
        (WELL.replace(logger="dead"), "its logger died", ["give it a new logger"]),
        (WELL.replace(logger="stalled", monitors=()), "its logger does not read on, and QEMU waits for it", None),
        (WELL.replace(unbegun=True), "its start was cut short", None),
        (WELL.replace(monitors=()), "it does not answer", []),
        (WELL.replace(pid=0, monitors=()), "it does not answer", []),
        (WELL.replace(monitors=(), locked=False), "its lock and its monitors were removed: it runs on", []),
    ],
)
def test_a_fault_and_its_steps(found: GuestFacts, text: str, steps: list[str] | None) -> None:
    [fault] = faults(found)
    assert fault.text.startswith(text)
    assert bool(fault.fix) is not bool(fault.steps)
    assert steps is None or [f"{step}" for step in fault.steps] == steps


def test_what_is_well_has_none() -> None:
    assert faults(WELL) == []


@pytest.mark.parametrize("raw", [(), ("-device", "virtio-balloon", "-name", "it's"), ("-uuid", "x")])
@pytest.mark.parametrize("more", [{}, {"free_page_reporting": True, "topology": Topology(cores=3), "clock": "local"}])
def test_a_record_is_read_from_the_command(raw: tuple[str, ...], more: dict[str, object]) -> None:
    words = command(raw, VM1.replace(**more))
    found = WELL.replace(record=None, command=words, taps=taps(words))
    made = repair_plan.reconstruct_record(found, VM1, PLACE)
    assert made == RECORD.replace(raw=made.raw)
    assert len(made.raw) == len(raw)


def test_a_record_tells_of_a_temporary_image_and_of_a_tpm() -> None:
    words = command(("-tpmdev", "emulator,id=tpm0"))
    found = WELL.replace(record=None, command=words, taps=taps(words), temporary=True)
    made = repair_plan.reconstruct_record(found, VM1, PLACE)
    assert (made.throwaway, made.tpm) == (True, True)


def test_a_record_keeps_what_it_tells_and_is_told_who_it_is() -> None:
    words = command()
    old = RECORD.replace(pid=1, started=1, paused=True, said=99)
    assert repair_plan.reconstruct_record(WELL.replace(record=old, command=words), VM1, PLACE) == RECORD.replace(
        paused=True, said=99
    )


def test_a_guest_without_a_definition_and_words_that_make_no_sense() -> None:
    words = command()
    found = WELL.replace(record=None, command=words, taps={})
    assert repair_plan.reconstruct_record(found, None, None) == Record(**{**RECORD.as_dict(), "ports": ()})
    odd = ("qemu", "-device", "{", "-smp", "x", "-m", "", "-netdev")
    assert repair_plan.reconstruct_record(found.replace(command=odd), None, None).cpus == 0


def test_orphans_are_told_from_what_may_be_anothers() -> None:
    eth0 = PLACE.ports[0]
    marked = [
        OwnedLink(name="br0", alias="kvmrun:net:lan", bridge=True, ports=3),
        OwnedLink(name="br9", alias="kvmrun:net:lan", bridge=True),
        OwnedLink(name="br8", alias="kvmrun:net:lan", bridge=True, ports=1),
        OwnedLink(name="br7", alias="kvmrun:net:other", bridge=True),
        OwnedLink(name=eth0.tap, alias=eth0.alias("vm1"), bridge=False, kept=True, master="kvmrun:net:lan"),
        OwnedLink(name="tap-vm2", alias="kvmrun:vm2:eth0", bridge=False, kept=True, master="kvmrun:net:lan"),
        OwnedLink(name="tap-vm3", alias="kvmrun:vm3:eth0", bridge=False, kept=True, held=True, master="kvmrun:net:lan"),
        OwnedLink(name="tap-vm4", alias="kvmrun:vm4:eth0", bridge=False, kept=True, master="kvmrun:net:other"),
        OwnedLink(name="tap-vm5", alias="kvmrun:vm5:eth0", bridge=False),
    ]
    tables = {nft_guard.TABLE, "netdev kvmrun_net_lan", "netdev kvmrun_net_lan from_vm8_", "netdev filter from_vm9_"}
    parts = tables | {nft_guard.nft_part(name) for name in ("vm1", "vm5", "vm6", "vm7")}
    found = {fault.subject: fault for fault in orphan_links.orphan_faults(LAB, marked, ["vm7"], parts)}
    assert list(found) == ["br9", "br8", "tap-vm2", "vm6"]
    assert [bool(one.steps) for one in found.values()] == [True, False, True, True]
