"""Links and parts of the packet filter that carry our mark and belong to no guest and no network."""

from collections.abc import Collection, Iterable, Iterator

from kvmrun.model.lab import Lab
from kvmrun.model.network import link_alias
from kvmrun.model.value import Value
from kvmrun.plan.network import nft_guard
from kvmrun.plan.repair.repair_plan import Fault
from kvmrun.plan.steps.network_steps import DropRules, RemoveBridge, RemovePersistentTap


class OwnedLink(Value):
    """A link that carries our mark. `master` is the mark of the bridge it is a port of; `kept` a tap that stays."""

    name: str
    alias: str
    bridge: bool
    ports: int = 0
    master: str = ""
    kept: bool = False
    held: bool = False
    queues: int = 1


def orphan_faults(
    lab: Lab, marked: Iterable[OwnedLink], present: Collection[str], parts: Collection[str]
) -> Iterator[Fault]:
    """Links, and parts of the packet filter, that are ours and belong to nobody. Another lab's are left alone.

    The guests that are `present` in the run directory look after their own parts.
    """
    links = list(marked)
    bridges = {one.name for one in links if one.bridge}
    known = {port.alias(name) for name, ports in lab.ports().items() for port in ports}
    for one in (link for link in links if link_alias.lab_of(link.alias) in {"", lab.identity}):
        network_name = link_alias.name(one.alias)
        if one.bridge and network_name in lab.now.up:
            continue  # what belongs to a network that is up is looked at with it
        if one.bridge and network_name in lab.networks and lab.networks[network_name].bridge in bridges - {one.name}:
            steps = () if one.ports else (RemoveBridge(name=one.name),)
            text = f"it was the bridge of network {network_name}, which is called otherwise now"
            yield Fault(subject=one.name, text=text, steps=steps, fix="stop the guests that are plugged into it")
        elif any(link_alias.is_same(one.alias, alias) for alias in known):
            continue
        elif one.kept and not one.held and _is_this_labs(lab, one):
            drop = RemovePersistentTap(tap=one.name, queues=one.queues)
            text = f"a persistent tap for {one.alias}, and no guest has this NIC"
            yield Fault(subject=one.name, text=text, steps=(drop,))
    guests = {link_alias.subject(one.alias) for one in links if not one.bridge}
    for part in sorted(parts):
        name = nft_guard.guest_of_part(part)
        if name and name not in guests and name not in present:
            yield Fault(subject=name, text="its packet filter outlived it", steps=(DropRules(table=part, record=""),))


def _is_this_labs(lab: Lab, one: OwnedLink) -> bool:
    """A kept tap whose mark names no lab is another lab's while its bridge is that of a network this lab has not."""
    return not one.master or link_alias.name(one.master) in lab.networks
