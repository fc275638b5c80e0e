"""How much memory and how many processors a guest gets whose definition names an operating system and no numbers."""

from kvmrun.model.osinfo.os_facts import HostSize, OsFacts
from kvmrun.model.scalars import Size
from kvmrun.model.value import Value

_STEP = 64 << 20
"""What a share of the host is rounded down to: two hosts of the same size differ by some MiB."""
_USUAL_CPUS = 2
_MOST_CPUS = 255


class Derived(Value):
    """A value, and why it is this one."""

    value: int
    reason: str


def derived_memory(facts: OsFacts, host: HostSize, limit: Size | None = None) -> Derived | None:
    """The memory that the system recommends, or needs; at most half of the host's, and three quarters of `limit`.

    Half of a host may be less than what the system needs: it then gets what it needs. None where nothing is told.
    """
    wanted, least = facts.recommended.memory or 0, facts.minimum.memory or 0
    if not (value := max(wanted, least)):
        return None
    reason = f"{facts.name} {'recommends' if wanted >= least else 'needs'} {Size(value)}"
    half = max(host.memory // 2 // _STEP * _STEP, least)
    if value > half:
        value, reason = half, f"half of the host's; {reason}"
    if limit is not None and value > limit // 4 * 3:
        value, reason = _share(limit), f"for limits.memory = {limit}; {reason}"
    return Derived(value=Size(value), reason=reason)


def usual_memory(usual: Size, limit: Size | None) -> Size:
    """The built-in memory, or less, where the limit of QEMU leaves no room for it: a guest starts on every host."""
    return usual if limit is None or usual < limit else Size(_share(limit))


def _share(limit: Size) -> int:
    return max(_STEP, limit // 4 * 3 // _STEP * _STEP)


def derived_cpus(facts: OsFacts, host: HostSize) -> Derived:
    """The processors that the system recommends, or two; at most half of the host's, and at least what it needs."""
    recommended, least = facts.recommended.cpus or 0, facts.minimum.cpus or 1
    value = max(recommended, least, _USUAL_CPUS)
    reason = f"{facts.name} recommends no number"
    if value in {recommended, least}:
        reason = f"{facts.name} {'recommends' if value == recommended else 'needs'} {value}"
    half = max(host.cpus // 2, least)
    if value > half:
        value, reason = half, f"half of the host's; {reason}"
    return Derived(value=min(value, _MOST_CPUS), reason=reason)
