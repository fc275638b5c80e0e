"""The memory and the processors of a guest: as they are given, or as they follow from its system and from the host.

A guest that names no operating system has the built-in values, wherever it runs.
"""

from collections.abc import Mapping
from typing import Any

from kvmrun.config.lab_host import LabHost
from kvmrun.model.guest.guest import Guest
from kvmrun.model.lab import Problem
from kvmrun.model.osinfo.os_facts import OsMissing

_KEYS = ("memory", "cpus")


def sized(
    guest: Guest, own: Mapping[str, Any], inherited: Mapping[str, Any], host: LabHost
) -> tuple[Guest, Mapping[str, str], list[Problem]]:
    """The guest with its size, where each value of that comes from, and a warning where nothing is known of its system.

    `own` is the table of its file, `inherited` what it takes over from defaults.toml.
    """
    reasons = dict.fromkeys(_KEYS, "the built-in default")
    reasons |= {key: "defaults.toml" for key in _KEYS if key in inherited}
    reasons |= {key: f"{guest.name}.toml" for key in _KEYS if key in own}
    unset = [key for key in _KEYS if key not in own and key not in inherited]
    if guest.topology and "cpus" in unset:
        guest, unset = guest.replace(cpus=guest.topology.count()), [key for key in unset if key != "cpus"]
        reasons["cpus"] = "the product of its topology"
    name = guest.os
    if name is None or not unset:
        return guest, reasons, []
    from kvmrun.model.osinfo import os_size  # most guests have a size of their own

    if "memory" in unset:
        guest = guest.replace(memory=os_size.usual_memory(guest.memory, guest.limits.memory))
    if host.find is None or host.size is None:
        return guest, reasons, []
    facts = host.find(name)
    if isinstance(facts, OsMissing):
        file = f"{guest.name}.toml" if "os" in own else "defaults.toml"
        return guest, reasons, [_missing(guest, facts, unset, file)]
    there = host.size()
    derived = {
        "memory": os_size.derived_memory(facts, there, guest.limits.memory),
        "cpus": os_size.derived_cpus(facts, there),
    }
    found = {key: one for key, one in derived.items() if key in unset and one}
    reasons |= {key: one.reason for key, one in found.items()}
    return guest.replace(**{key: one.value for key, one in found.items()}), reasons, []


def _missing(guest: Guest, facts: OsMissing, unset: list[str], file: str) -> Problem:
    hold = " and ".join(f"{key} = {getattr(guest, key)}" for key in unset)
    text = f"{facts.reason}, so {hold} {'hold' if len(unset) > 1 else 'holds'}; {facts.fix}"
    return Problem(file=file, key="os", found=f"{guest.os}", wanted=facts.fix, warning=True, text=text)
