"""The hand of a network: each step to the function that does it, and what takes it back."""

from typing import assert_never

from kvmrun.errors import KvmrunError
from kvmrun.host import dnsmasq, link, netlink, nft, persistent, plug, ports, reach, records, small, sysctl, ways
from kvmrun.light.abc import Callable
from kvmrun.model.place import Directories
from kvmrun.plan import network_steps as steps
from kvmrun.plan.reach import KernelRoute, Neighbour
from kvmrun.plan.steps import PlugTap, RemoveTap
from kvmrun.plan.ways import AddDefault, AddRule, RemoveDefault, RemoveRule, WayStep

Undo = Callable[[], None]


def hand(where: Directories) -> Callable[[steps.NetworkStep], Undo | None]:
    """What does the steps of networks whose run state is below `where`."""

    def do(step: steps.NetworkStep) -> Undo | None:
        if isinstance(step, steps.LinkStep):
            return _link(step)
        if isinstance(step, WayStep):
            return _way(step)
        if isinstance(step, steps.NamesStep):
            return _names(step, f"{where.run}/net/{step.network}/dnsmasq")
        return _rest(step, where)

    return do


def _link(step: steps.LinkStep) -> Undo | None:
    match step:
        case steps.MakeBridge():
            netlink.make_bridge(step.name, step.alias)
            return lambda: netlink.remove_unused(step.name)
        case steps.MarkBridge():
            link.set_alias(step.name, step.alias)
        case steps.SetBridge():
            netlink.set_bridge(step.name, step.mac, step.mtu)
            for name, value in step.conf:
                sysctl.write(name.replace("/", f"/conf/{step.name}/"), value)
        case steps.AddAddress():
            netlink.add_address(step.link, step.address)
        case steps.RemoveAddress():
            netlink.remove_address(step.link, step.address)
        case steps.SetUp():
            netlink.set_up(step.link)
        case steps.KeepTap():
            return _keep_tap(step)
        case PlugTap():
            plug.plug(step)
        case steps.DropTap():
            link.drop_tap(step.tap, step.queues)
            persistent.forget(step.record, step.tap)
        case RemoveTap():
            plug.remove(step.tap)
        case steps.RemoveBridge():
            netlink.remove(step.name)
        case KernelRoute():
            reach.restore(step)
        case Neighbour():
            reach.forget(step)
        case _:
            assert_never(step)
    return None


def _keep_tap(step: steps.KeepTap) -> Undo:
    persistent.note(step.record, step.tap, step.owner)  # first: one that persists without a note is not ours
    try:
        link.keep_tap(step.tap, step.queues, step.owner)
    except BaseException:
        persistent.forget(step.record, step.tap)
        raise
    try:
        link.set_alias(step.tap, step.alias)
        if link.sysfs_is_ours(step.tap) and link.alias(step.tap) != step.alias:
            raise KvmrunError(f"{step.tap} could not be marked", "try again", why="read back, different")
    except BaseException:
        _drop_tap(step)
        raise
    return lambda: _drop_tap(step)


def _drop_tap(step: steps.KeepTap) -> None:
    link.drop_tap(step.tap, step.queues)
    persistent.forget(step.record, step.tap)


def _way(step: WayStep) -> Undo | None:
    match step:
        case AddRule():
            ways.add_rule(step.rule)
            return lambda: ways.remove_rule(step.rule)
        case RemoveRule():
            ways.remove_rule(step.rule)
        case AddDefault():
            ways.add_default(step)
            return lambda: ways.remove_default(step)
        case RemoveDefault():
            ways.remove_default(step)
        case _:
            assert_never(step)
    return None


def _names(step: steps.NamesStep, hint: str) -> Undo | None:
    match step:
        case steps.StartNames():
            return dnsmasq.start(step, hint)
        case steps.ReloadNames():
            dnsmasq.reload(step.uid, step.config, hint)
        case steps.StopNames():
            dnsmasq.stop(step.uid, step.config, hint)
        case _:
            assert_never(step)
    return None


def _record(step: steps.RecordNetwork) -> Undo:
    """Write the record of a network; the undo writes the earlier one, or removes it."""
    before = records.read_network(step.path)
    records.write_network(step.path, step.record)
    return lambda: records.write_network(step.path, before) if before else small.remove(step.path)


def _rest(step: steps.OtherStep, where: Directories) -> Undo | None:
    match step:
        case steps.RecordNetwork():
            return _record(step)
        case steps.RenameBridge():
            plug.rename(link.index(step.name), step.to)
            return lambda: plug.rename(link.index(step.to), step.name)
        case steps.RecordBridge():
            made = ports.device(step.record.network.bridge)
            records.write_network(step.path, step.record.but(device=made))
        case steps.SetSysctl():
            return sysctl.change(where, step.name, step.value, step.user)
        case steps.RestoreSysctls():
            sysctl.restore(where, step.user, step.names)
        case steps.LoadRules():
            return nft.load(step.table, step.text, step.record, step.digest)
        case steps.DropRules():
            nft.drop(step.table, step.record)
        case steps.WriteNames():
            return dnsmasq.write(step)
        case steps.RemoveFiles():
            for path in step.paths:
                small.remove(path)
        case _:
            assert_never(step)
    return None
