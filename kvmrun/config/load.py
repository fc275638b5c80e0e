"""A directory of definitions to a Lab. One bad file costs its own row, never the others."""

import os
from collections.abc import Iterable, Mapping
from typing import Any

from kvmrun.config import check
from kvmrun.config.convert import Converter
from kvmrun.config.read import Unreadable, read
from kvmrun.model.frozen import EMPTY, Frozen
from kvmrun.model.guest import Guest
from kvmrun.model.lab import Lab, Problem
from kvmrun.model.network import Network
from kvmrun.model.text import printable
from kvmrun.model.values import Base, GuestName, Line, NicName

RESERVED = ("networks", "defaults")


class Networks(Frozen):
    """`networks.toml` but for its tables of networks, which are converted one by one."""

    seed: Line = Line("")
    network: Mapping[str, Any] = EMPTY


def load(directory: str, images: str) -> Lab:
    """The lab in `directory`; bare image names mean files in `images`. A missing directory is an empty lab."""
    base = Base(directory=directory, images=images)
    try:
        files = sorted(name for name in os.listdir(directory) if name.endswith(".toml") and not name.startswith("."))
    except OSError:
        files = []
    problems: list[Problem] = []
    tables = {name[:-5]: _read(directory, name, problems) for name in files}
    networks, seed = _networks(tables.get("networks", {}), base, problems)
    defaults = _defaults(tables.get("defaults", {}), base, problems)
    guests = {}
    stems = [stem for stem in tables if stem not in RESERVED]
    for stem in stems:
        if (guest := _guest(stem, tables[stem], defaults, base, problems)) is not None:
            guests[stem] = guest
    lab = Lab(directory=directory, seed=seed, networks=networks, guests=guests, problems=tuple(problems))
    return check.across(lab, _printable(stems))


def _read(directory: str, name: str, problems: list[Problem]) -> dict[str, Any] | None:
    try:
        return read(os.path.join(directory, name))
    except Unreadable as why:
        problems.append(Problem(file=printable(name, 60), key="", found=printable(why.found, 200), wanted=why.wanted))
        return None


def _networks(table: dict[str, Any] | None, base: Base, problems: list[Problem]) -> tuple[dict[str, Network], str]:
    """The networks and the seed; with no tables at all the one of the original laptop. None: the file had errors."""
    if table is None:
        return {}, ""
    file = Converter("networks.toml", base)
    whole = file.convert(Networks, table)
    networks: dict[str, Network] = {}
    for name, one in (whole.network if whole else {}).items():
        key = f"network.{printable(name, 40)}"
        if not isinstance(one, dict):
            file.problem(key, one, "a table")
        elif (network := _network(file, name, one)) is not None:
            networks[name] = network
    if whole and not whole.network:
        networks["lan"] = Network(name=NicName("lan"))
    problems += file.problems
    return networks, whole.seed if whole else ""


def _network(file: Converter, name: str, table: dict[str, Any]) -> Network | None:
    key = f"network.{printable(name, 40)}"
    try:
        network: Network | None = file.convert(Network, table, key, name=NicName.parse(name))
    except ValueError as wanted:
        file.problem(key, name, str(wanted))
        return None
    found = list(network.problems()) if network else []
    for inner, value, wanted_text in found:
        file.problem(f"{key}.{inner}", value, wanted_text)
    return None if found else network


def _defaults(table: dict[str, Any] | None, base: Base, problems: list[Problem]) -> dict[str, Any] | None:
    """The values every guest starts from, None when the file has errors: they are its own, not each guest's."""
    file = Converter("defaults.toml", base)
    good = table is not None and file.convert(Guest, table, name=GuestName("defaults"))
    problems += file.problems
    return table if good else None


def _guest(
    stem: str, table: dict[str, Any] | None, defaults: dict[str, Any] | None, base: Base, problems: list[Problem]
) -> Guest | None:
    if table is None or defaults is None:  # a guest without the defaults it counts on is another guest
        return None
    file = Converter(f"{printable(stem, 60)}.toml", base)
    try:
        name = GuestName.parse(stem)
    except ValueError as wanted:
        file.problem("", f"a file named {stem}.toml", str(wanted))
        problems += file.problems
        return None
    guest: Guest | None = file.convert(Guest, _merged(defaults, table), name=name)
    if guest is not None:
        for key, found, wanted_text in guest.problems():
            file.problem(key, found, wanted_text)
    problems += file.problems
    return guest if not file.problems else None


def _merged(defaults: Mapping[str, Any], table: Mapping[str, Any]) -> dict[str, Any]:
    """`table` over `defaults`; tables are merged key by key, lists are replaced."""
    merged = dict(defaults) | dict(table)
    for key, value in table.items():
        if isinstance(value, dict) and isinstance(defaults.get(key), dict):
            merged[key] = _merged(defaults[key], value)
    return merged


def _printable(stems: Iterable[str]) -> list[str]:
    return [printable(stem, 60) for stem in stems]
