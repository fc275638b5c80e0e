"""Performs the steps of a network, each with what takes it back."""

from collections.abc import Callable
from typing import assert_never

from kvmrun.errors import KvmrunError
from kvmrun.host import dnsmasq, resolved, sysctl
from kvmrun.host.files import atomic_write
from kvmrun.host.firewall import nft
from kvmrun.host.links import (
    kernel_routes,
    link_list,
    persistent_taps,
    policy_routing,
    port_settings,
    pyroute2_links,
    tap_device,
)
from kvmrun.host.rundir import records
from kvmrun.model.paths import Paths
from kvmrun.plan.network.reach import KernelRoute, Neighbour
from kvmrun.plan.network.uplink_routing import AddDefaultRoute, AddRule, RemoveDefaultRoute, RemoveRule, WayStep
from kvmrun.plan.steps import network_steps
from kvmrun.plan.steps.guest_steps import PlugTap, RemoveTap
from kvmrun.plan.steps.network_steps import RevertHostResolution, SetHostResolution

Undo = Callable[[], None]


def execute(where: Paths) -> Callable[[network_steps.NetworkStep], Undo | None]:
    """What does the steps of networks whose run state is below `where`."""

    def do(step: network_steps.NetworkStep) -> Undo | None:
        if isinstance(step, network_steps.LinkStep):
            return _link(step)
        if isinstance(step, WayStep):
            return _way(step)
        if isinstance(step, network_steps.NamesStep):
            return _names(step, f"{where.run}/net/{step.network}/dnsmasq")
        return _rest(step, where)

    return do


def _link(step: network_steps.LinkStep) -> Undo | None:
    match step:
        case network_steps.MakeBridge():
            pyroute2_links.make_bridge(step.name, step.alias)
            return lambda: pyroute2_links.remove_unused(step.name)
        case network_steps.MarkBridge():
            tap_device.set_alias(step.name, step.alias)
        case network_steps.SetBridge():
            pyroute2_links.set_bridge(step.name, step.mac, step.mtu)
            for name, value in step.conf:
                sysctl.write(name.replace("/", f"/conf/{step.name}/"), value)
        case network_steps.AddAddress():
            pyroute2_links.add_address(step.link, step.address)
        case network_steps.RemoveAddress():
            pyroute2_links.remove_address(step.link, step.address, step.keeps)
        case network_steps.SetLinkUp():
            pyroute2_links.set_up(step.link)
        case network_steps.MakePersistentTap():
            return _keep_tap(step)
        case PlugTap():
            port_settings.configure_port(step)
        case network_steps.RemovePersistentTap():
            tap_device.release_persistent(step.tap, step.queues)
            persistent_taps.forget(step.record, step.tap)
        case RemoveTap():
            port_settings.remove_port(step.tap)
        case network_steps.RemoveBridge():
            pyroute2_links.remove(step.name)
        case KernelRoute():
            kernel_routes.restore(step)
        case Neighbour():
            kernel_routes.forget(step)
        case _:
            assert_never(step)
    return None


def _keep_tap(step: network_steps.MakePersistentTap) -> Undo:
    persistent_taps.note(step.record, step.tap, step.owner)  # first: one that persists without a note is not ours
    try:
        tap_device.make_persistent(step.tap, step.queues, step.owner)
    except BaseException:
        persistent_taps.forget(step.record, step.tap)
        raise
    try:
        tap_device.set_alias(step.tap, step.alias)
        if tap_device.sysfs_is_ours(step.tap) and tap_device.alias(step.tap) != step.alias:
            raise KvmrunError(f"{step.tap} could not be marked", "try again", reason="read back, different")
    except BaseException:
        _drop_tap(step)
        raise
    return lambda: _drop_tap(step)


def _drop_tap(step: network_steps.MakePersistentTap) -> None:
    tap_device.release_persistent(step.tap, step.queues)
    persistent_taps.forget(step.record, step.tap)


def _way(step: WayStep) -> Undo | None:
    match step:
        case AddRule():
            policy_routing.add_rule(step.rule)
            return lambda: policy_routing.remove_rule(step.rule)
        case RemoveRule():
            policy_routing.remove_rule(step.rule)
        case AddDefaultRoute():
            policy_routing.add_default(step)
            return lambda: policy_routing.remove_default(step)
        case RemoveDefaultRoute():
            policy_routing.remove_default(step)
        case _:
            assert_never(step)
    return None


def _names(step: network_steps.NamesStep, hint: str) -> Undo | None:
    match step:
        case network_steps.StartDnsmasq():
            return dnsmasq.start_dnsmasq(step, hint)
        case network_steps.ReloadDnsmasq():
            dnsmasq.reload_dnsmasq(step.uid, step.config, hint)
        case network_steps.StopDnsmasq():
            dnsmasq.stop_dnsmasq(step.uid, step.config, hint)
        case _:
            assert_never(step)
    return None


def _record(step: network_steps.RecordNetwork) -> Undo:
    """Write the record of a network; the undo writes the earlier one, or removes it."""
    before = records.read_network(step.path)
    records.write_network(step.path, step.record)
    return lambda: records.write_network(step.path, before) if before else atomic_write.remove(step.path)


def _rest(step: network_steps.OtherStep, where: Paths) -> Undo | None:
    match step:
        case network_steps.RecordNetwork():
            return _record(step)
        case network_steps.RenameBridge():
            port_settings.rename(tap_device.ifindex(step.name), step.to)
            return lambda: port_settings.rename(tap_device.ifindex(step.to), step.name)
        case network_steps.RecordBridge():
            made = link_list.device(step.record.network.bridge)
            records.write_network(step.path, step.record.replace(device=made))
        case network_steps.SetSysctl():
            return sysctl.set_and_remember(where, step.name, step.value, step.user)
        case network_steps.RestoreSysctls():
            sysctl.restore_settings(where, step.user, step.names)
        case network_steps.LoadRules():
            return nft.load_ruleset(step.table, step.text, step.record, step.digest)
        case network_steps.DropRules():
            nft.drop_ruleset(step.table, step.record)
        case network_steps.WriteDnsmasqFiles():
            return dnsmasq.write_files(step)
        case SetHostResolution():
            return resolved.set_resolution(step)
        case RevertHostResolution():
            resolved.revert_resolution(step)
        case network_steps.RemoveFiles():
            for path in step.paths:
                atomic_write.remove(path)
        case _:
            assert_never(step)
    return None
