"""The lab as files for other programs: Shorewall and systemd."""

import os
from collections.abc import Mapping

from kvmrun.api.lab import LabHandle, read_definitions
from kvmrun.api.report import Noted, Report, discard
from kvmrun.config.standard_paths import make_absolute
from kvmrun.errors import ConfigError, HostLacks
from kvmrun.export import shorewall_export, systemd_units
from kvmrun.export.shorewall_file import MARK
from kvmrun.host.facts import guest_facts, network_facts
from kvmrun.host.files import export_files
from kvmrun.host.links import gateway_probe
from kvmrun.host.rundir import records
from kvmrun.model.lab import Lab
from kvmrun.model.network.network import Uplink
from kvmrun.model.value import Value
from kvmrun.plan.network import uplink_routing

KINDS = ("shorewall", "systemd")
"""For whom a lab can be exported."""
_INSTALLED = "/usr/local/bin/kvmrun"
_ENVIRONMENT = ("KVMRUN_RUN_DIR", "KVMRUN_STATE_DIR", "KVMRUN_QEMU")


class Exported(Value):
    """A directory that was written, and what of it was kept or copied, each as a sentence."""

    directory: str
    notes: tuple[str, ...]


def export_texts(
    lab: LabHandle, kind: str, *, force: bool = False, program: str | None = None, report: Report = discard
) -> dict[str, str]:
    """The lab as files for `kind`, "shorewall" or "systemd": their texts by name.

    With `force` also for a Shorewall that is too old here. `program` is the kvmrun that systemd is to call.

    Raises: ConfigError where the networks are not valid; HostLacks where Shorewall is too old here, without `force`.
    """
    definitions = _exportable(lab, report)
    if kind == "shorewall":
        return _shorewall(definitions, report, force=force)
    guest_facts.qemu_facts()  # refuses a name that a unit could not hold
    environment = {name: value for name in _ENVIRONMENT if (value := os.environ.get(name))}
    return {**systemd_units.unit_files(definitions, program or _INSTALLED, environment)}


def write_export(directory: str, kind: str, texts: Mapping[str, str], *, force: bool = False) -> Exported:
    """Have `directory` hold these texts, and no others that were exported for `kind` before.

    Raises: Refused where files are somebody else's or were changed, unless `force`: they are copied then; KvmrunError.
    """
    directory = make_absolute(directory)
    notes = export_files.write(directory, texts, f"{MARK} {kind}:", force=force)
    return Exported(directory=directory, notes=tuple(notes))


def missing_lines(lab: LabHandle, directory: str = "/etc/shorewall", *, report: Report = discard) -> dict[str, str]:
    """What has to be added to a Shorewall configuration that somebody wrote, by the path of the file.

    Raises: ConfigError where the networks are not valid.
    """
    definitions = _exportable(lab, report)
    from kvmrun.export import shorewall_lines

    directory = make_absolute(directory)
    present = {name: text for name in shorewall_lines.FILES if (text := guest_facts.read(f"{directory}/{name}"))}
    view = shorewall_export.view(definitions, *_host_view(definitions))
    missing = shorewall_lines.missing_lines(definitions, view, present)
    if not missing:
        report(Noted(text=f"{directory} has all that the lab needs"))
    return {f"{directory}/{name}": text for name, text in missing.items()}


def _exportable(lab: LabHandle, report: Report) -> Lab:
    """The lab with addresses as they are now, also of guests that run as they were started.

    Guests that are invalid are left out and named; networks that are would make the whole wrong.
    """
    definitions = read_definitions(lab.paths)
    errors = [one for one in definitions.problems if not one.warning]
    if wrong := tuple(f"{one}" for one in errors if one.file == "networks.toml"):
        raise ConfigError("the networks are not valid", f"edit {definitions.directory}/networks.toml", lines=wrong)
    for name in definitions.invalid:
        report(Noted(text=f"{name} is invalid and left out; kvmrun check says why"))
    return records.in_force(definitions, lab.paths)


def _shorewall(lab: Lab, report: Report, *, force: bool) -> dict[str, str]:
    from kvmrun.host.facts import shorewall_facts

    found = shorewall_facts.shorewall_version()
    if found and found < shorewall_export.OLDEST and not force:
        text = ".".join(map(str, found))
        fix = "apt install shorewall; or add --force, to write for another host"
        raise HostLacks(f"Shorewall {text} is too old for these files", fix, reason="they are in the syntax of 5.2")
    texts = shorewall_export.shorewall_files(lab, *_host_view(lab))
    for one in _unreachable_gateways(lab):
        text = f"{one.gateway} on {one.interface} does not answer; Shorewall will not start without it"
        report(Noted(text=f"uplink {one.name}: {text}"))
    if lab.firewall == "nftables":
        text = 'kvmrun would keep its own rules too; set firewall = "shorewall" in networks.toml'
        report(Noted(text=f'firewall = "nftables": {text}'))
    return {**texts}


def _host_view(lab: Lab) -> tuple[list[str], dict[str, str], dict[str, str]]:
    """What an export needs to know of the host: the links that lead out, our addresses there, the gateways' MACs."""
    from kvmrun.host.facts import shorewall_facts

    bridges = {str(one.bridge) for one in lab.networks.values()}
    links = [link for link in network_facts.uplinks() if link not in bridges]
    return links, shorewall_facts.own_addresses(lab.uplinks.values()), _macs(lab)


def _macs(lab: Lab) -> dict[str, str]:
    """The MACs of the gateways on interfaces that uplinks share: Shorewall need not ask for what it is given."""
    found = gateway_probe.gateway_macs(uplink_routing.gateway_list(_shared(lab)))
    places = {str(one.name): (str(one.interface), str(one.gateway)) for one in _shared(lab)}
    return {name: found[place] for name, place in places.items() if place in found}


def _unreachable_gateways(lab: Lab) -> list[Uplink]:
    """The uplinks on a shared interface whose gateways' MACs Shorewall has to ask for, and that do not answer now."""
    asked = [one for one in _shared(lab) if not one.gateway_mac]
    silent = gateway_probe.silent_gateways(uplink_routing.gateway_list(asked))
    return [one for one in asked if (one.interface, str(one.gateway)) in silent]


def _shared(lab: Lab) -> list[Uplink]:
    wires = [one.interface for one in lab.uplinks.values()]
    return [one for one in lab.uplinks.values() if one.table and wires.count(one.interface) > 1]
