"""What a start would do, without doing it."""

import shlex
from collections.abc import Iterable

from kvmrun.api.guest import start_guest
from kvmrun.api.guest.start import definition_errors, guests_to_start, quoted_arguments
from kvmrun.api.guest.start_changes import with_start_options
from kvmrun.api.lab import LabHandle
from kvmrun.api.network import network_use
from kvmrun.api.network.network_hold import bridges_exist
from kvmrun.api.options import StartOptions
from kvmrun.api.selection import in_order
from kvmrun.errors import KvmrunError
from kvmrun.host.facts.guest_facts import RunningGuests
from kvmrun.host.facts.guest_runtime import guest_runtimes
from kvmrun.host.rundir import records
from kvmrun.model.guest.qemu_option import argv
from kvmrun.model.lab import Lab
from kvmrun.model.paths import GuestRuntime, Paths
from kvmrun.model.value import Value
from kvmrun.plan.guest.start_plan import split_at_launch
from kvmrun.plan.steps.guest_steps import Launch


class StartPreview(Value):
    """The steps of a start as sentences, and the QEMU command for reading: a tuple for the program and each option."""

    guest: str
    steps: tuple[str, ...]
    command: tuple[tuple[str, ...], ...]


def preview_start(
    lab: LabHandle, names: Iterable[str] | None, options: StartOptions = StartOptions()
) -> dict[str, StartPreview | KvmrunError]:
    """What `start` would do, by guest, from the host as it is now; nothing is changed.

    Raises: ConfigError and Refused for a lab that cannot be read, UsageError for options that make no sense.
    """
    defined, where = lab.definitions, lab.paths
    wanted = guests_to_start(defined, names, options)
    errors = definition_errors(defined, wanted)
    others = RunningGuests(where)
    now = records.in_force(with_start_options(defined, where, wanted, options), where, others.records())
    runtimes = guest_runtimes(now, where)
    found: dict[str, StartPreview] = {}
    shared = _Shared(now, where, others)
    for name in wanted:
        if name not in errors:
            try:
                found[name] = _preview(name, _planned(shared, runtimes[name], quoted_arguments(options.raw)))
            except KvmrunError as error:
                errors[name] = error
    return in_order(wanted, found, errors)


def _preview(name: str, steps: list[Value]) -> StartPreview:
    launch = next(step for step in steps if isinstance(step, Launch))
    raw = (tuple(shlex.split(words)) for words in launch.raw)
    command = ((launch.qemu,), *(tuple(option) for option in argv(launch.options, None)), *raw)
    return StartPreview(guest=name, steps=tuple(f"{step}" for step in steps), command=command)


class _Shared:
    """What the plans of one command share: the host is looked at once for all of them."""

    def __init__(self, lab: Lab, where: Paths, others: RunningGuests) -> None:
        self.lab = lab
        self.where = where
        self.others = others
        self._networks: dict[str, tuple[Value, ...]] = {}

    def steps(self, network: str) -> tuple[Value, ...]:
        """What is still to be done for that network."""
        if network not in self._networks:
            self._networks[network] = network_use.pending_steps(self.lab, self.where, network)
        return self._networks[network]


def _planned(shared: _Shared, runtime: GuestRuntime, raw: tuple[str, ...]) -> list[Value]:
    """What a start would do, in its order: with the network between the halves, or first where it is down."""
    names = sorted({port.network for port in runtime.ports})
    networks = [step for network in names for step in shared.steps(network)]
    now, then = split_at_launch(start_guest.plan(shared.lab, shared.where, runtime, raw, shared.others)[0])
    return [*now, *networks, *then] if bridges_exist(shared.lab, names) else [*networks, *now, *then]
