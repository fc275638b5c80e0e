"""Which networks are meant."""

from collections.abc import Iterable

from kvmrun.errors import ConfigError, OtherLab
from kvmrun.model.lab import Lab
from kvmrun.model.printable import printable
from kvmrun.model.suggest import closest


def select_networks(now: Lab, verb: str, names: Iterable[str] | None) -> list[str]:
    """The networks that are meant: without names all of the lab, for up and restart those that are still defined.

    Raises: ConfigError for a name that is no network, or is not defined any more.
    """
    defined_only = verb in {"up", "restart"}
    if names is None:
        left_out = set(now.now.undefined) if defined_only else set()
        left_out |= set(now.now.networks_elsewhere) if verb == "down" else set()
        return sorted(now.networks.keys() - left_out)
    wanted = list(dict.fromkeys(names))
    for name in wanted:
        _check(now, name, verb)
        if defined_only and name in now.now.undefined:
            wrong = definition_problems(now)
            fix = f"edit {now.directory}/networks.toml" if wrong else f"kvmrun net down {name}"
            raise ConfigError(f"network {name} is {'not valid' if wrong else 'no longer defined'}", fix, lines=wrong)
    return wanted


def _check(lab: Lab, name: str, verb: str) -> None:
    """Raises ConfigError, or OtherLab, for a network that is not this lab's."""
    if name in lab.networks:
        return
    if other := lab.now.networks_elsewhere.get(name):
        raise OtherLab(
            f"network {name} is another lab's", other, f"{verb} {name}", reason=f"the lab {other} has brought it up"
        )
    near = closest(name, lab.networks)
    fix = f"did you mean {near}?" if near else f"networks: {', '.join(lab.networks) or 'none'}"
    raise ConfigError(f"there is no network {printable(name)}", fix, lines=definition_problems(lab))


def definition_problems(lab: Lab) -> tuple[str, ...]:
    """What is wrong with networks.toml."""
    return tuple(f"{one}" for one in lab.problems if one.file == "networks.toml")
