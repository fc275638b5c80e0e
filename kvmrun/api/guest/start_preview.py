"""What a start would do, without doing it."""

import shlex

from kvmrun.api.guest import start_guest
from kvmrun.api.guest.start import chosen, quoted, undefined
from kvmrun.api.lab import LabHandle, with_accel
from kvmrun.api.network import network_use
from kvmrun.api.network.network_hold import are_there
from kvmrun.api.options import StartOptions
from kvmrun.api.selection import in_order
from kvmrun.errors import KvmrunError
from kvmrun.host.facts.guest_facts import Others
from kvmrun.host.rundir import records
from kvmrun.light.abc import Iterable
from kvmrun.model.guest.paths import Directories, Place
from kvmrun.model.guest.qemu_option import argv
from kvmrun.model.lab import Lab
from kvmrun.model.value import Frozen
from kvmrun.plan.guest.guest_start import halves
from kvmrun.plan.steps.guest_steps import Launch


class StartPreview(Frozen):
    """The steps of a start as sentences, and the QEMU command for reading: a tuple for the program and each option."""

    guest: str
    steps: tuple[str, ...]
    command: tuple[tuple[str, ...], ...]


def preview_start(
    lab: LabHandle, names: Iterable[str] | None, options: StartOptions = StartOptions()
) -> dict[str, StartPreview | KvmrunError]:
    """What `start` would do, by guest, from the host as it is now; nothing is changed. Raises what `start` raises."""
    defined, where = lab.definitions, lab.paths
    wanted = chosen(defined, names, options)
    errors = undefined(defined, wanted)
    others = Others(where)
    now = records.in_force(with_accel(defined, options.accel), where, others.records())
    places = now.places(where)
    found: dict[str, StartPreview] = {}
    shared = _Shared(now, where, others)
    for name in wanted:
        if name not in errors:
            try:
                found[name] = _preview(name, _planned(shared, places[name], quoted(options.raw)))
            except KvmrunError as error:
                errors[name] = error
    return in_order(wanted, found, errors)


def _preview(name: str, steps: list[Frozen]) -> StartPreview:
    launch = next(step for step in steps if isinstance(step, Launch))
    raw = (tuple(shlex.split(words)) for words in launch.raw)
    command = ((launch.qemu,), *(tuple(option) for option in argv(launch.options, None)), *raw)
    return StartPreview(guest=name, steps=tuple(f"{step}" for step in steps), command=command)


class _Shared:
    """What the plans of one command share: the host is looked at once for all of them."""

    def __init__(self, lab: Lab, where: Directories, others: Others) -> None:
        self.lab = lab
        self.where = where
        self.others = others
        self._networks: dict[str, tuple[Frozen, ...]] = {}

    def steps(self, network: str) -> tuple[Frozen, ...]:
        """What is still to be done for that network."""
        if network not in self._networks:
            self._networks[network] = network_use.steps(self.lab, self.where, network)
        return self._networks[network]


def _planned(shared: _Shared, place: Place, raw: tuple[str, ...]) -> list[Frozen]:
    """What a start would do, in its order: with the network between the halves, or first where it is down."""
    names = sorted({port.network for port in place.ports})
    networks = [step for network in names for step in shared.steps(network)]
    now, then = halves(start_guest.plan(shared.lab, shared.where, place, raw, shared.others)[1])
    return [*now, *networks, *then] if are_there(shared.lab, names) else [*networks, *now, *then]
