"""A directory of definitions to a Lab. One bad file costs its own row, never the others."""

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from kvmrun.config import cross_checks
from kvmrun.config.guest import guest_size, partial_guest, unset_keys
from kvmrun.config.lab_host import ANY_HOST, LabHost
from kvmrun.config.networks_file import NetworksFile, convert_networks
from kvmrun.config.toml_file import Unreadable, parse_toml, read_toml
from kvmrun.config.toml_values import Converter
from kvmrun.model.guest.guest import Guest
from kvmrun.model.lab import Lab, Problem
from kvmrun.model.paths import store_beside
from kvmrun.model.printable import printable
from kvmrun.model.scalars import GuestName, PathBase
from kvmrun.model.value import EMPTY

RESERVED = ("networks", "defaults", "images")


class _LabBase(PathBase):
    """Where paths start, and the images that the lab pins, each a PinnedImage by its path."""

    systems: Mapping[str, Any] = EMPTY
    host: LabHost = ANY_HOST


def load_lab(
    directory: str,
    images: str,
    drafts: Mapping[str, bytes | None] = EMPTY,
    distrusted: Mapping[str, str] = EMPTY,
    *,
    host: LabHost = ANY_HOST,
) -> Lab:
    """The lab in `directory`; bare image names mean files in `images`. A missing directory is an empty lab.

    `drafts` are files by name that are not written yet, and count as if they were; None is one that is to go.
    `distrusted` are files that are not read, by name with the reason; `host` is where the lab is read.
    """
    files = _listed(directory, drafts)
    problems: list[Problem] = []
    refused = {name: reason for name, reason in distrusted.items() if name not in drafts}
    problems += [_distrusted(name, reason) for name, reason in refused.items() if name in files]
    readable = [name for name in files if name not in refused]
    tables = dict.fromkeys(name[:-5] for name in files) | {
        name[:-5]: _read(directory, name, problems, drafts.get(name)) for name in readable
    }
    base = _path_base(directory, images, tables.get("images"), problems).replace(host=host)
    networks = _networks(tables.get("networks", {}), base, problems)
    defaults = _defaults(tables.get("defaults", {}), base, problems)
    stems = [stem for stem in tables if stem not in RESERVED]
    guests = {
        stem: found for stem in stems if (found := _guest(stem, tables[stem], defaults, base, problems)) is not None
    }
    lab = Lab(
        directory=directory,
        seed=networks.seed,
        firewall=networks.firewall,
        networks=networks.network,
        uplinks=networks.uplink,
        guests={stem: guest for stem, (guest, _) in guests.items()},
        sources={stem: sources for stem, (_, sources) in guests.items()},
        problems=tuple(problems),
    )
    parts = {one: _valid_part(one, tables[one], defaults, base) for one in stems if one not in guests}
    return cross_checks.cross_check(lab, _printable(stems), host.name, parts)


def _listed(directory: str, drafts: Mapping[str, bytes | None]) -> list[str]:
    try:
        found = {name for name in os.listdir(directory) if name.endswith(".toml") and not name.startswith(".")}
    except OSError:
        found = set()
    return sorted((found | drafts.keys()) - {name for name, data in drafts.items() if data is None})


def _read(directory: str, name: str, problems: list[Problem], draft: bytes | None) -> dict[str, Any] | None:
    try:
        return read_toml(os.path.join(directory, name)) if draft is None else parse_toml(draft)
    except Unreadable as error:
        found, text = printable(error.found, 200), printable(error.text, 300)
        problems.append(Problem(file=printable(name, 60), key="", found=found, wanted=error.wanted, text=text))
        return None


def _distrusted(name: str, reason: str) -> Problem:
    wanted = "a file that nobody but you and root can write or replace"
    text = f"the file is not trusted, because {reason}; it must be {wanted}"
    return Problem(
        file=printable(name, 60), key="", found=f"what is not to be trusted, as {reason}", wanted=wanted, text=text
    )


def path_base(directory: str, images: str) -> PathBase:
    """Where the paths in the files of a lab start, for whoever reads one of them by itself."""
    table = _read(directory, "images.toml", [], None) if os.path.lexists(f"{directory}/images.toml") else None
    return _path_base(directory, images, table, [])


def _path_base(directory: str, images: str, table: dict[str, Any] | None, problems: list[Problem]) -> _LabBase:
    """The same, with the files of the pinned images, which are kept beside the directory of images."""
    base = _LabBase(directory=directory, images=images)
    if not table:
        return base
    from kvmrun.config.image.images_file import convert_images  # only a lab that pins images needs it

    file = Converter("images.toml", base)
    pins = convert_images(file, table).pin
    problems += file.problems
    paths = {name: f"{store_beside(images)}/{pin.file}" for name, pin in pins.items()}
    return base.replace(pins=paths, systems={paths[name]: pin for name, pin in pins.items()})


def _networks(table: dict[str, Any] | None, base: PathBase, problems: list[Problem]) -> NetworksFile:
    """The networks; none at all when their file cannot be read, so that nothing starts on a wrong one."""
    if table is None:
        return NetworksFile()
    file = Converter("networks.toml", base)
    networks = convert_networks(file, table)
    problems += file.problems
    return networks


def _defaults(table: dict[str, Any] | None, base: PathBase, problems: list[Problem]) -> dict[str, Any] | None:
    """The values every guest starts from, None when the file has errors: they are its own, not each guest's."""
    file = Converter("defaults.toml", base)
    good = table is not None and file.convert(Guest, table, name=GuestName("defaults"))
    if table and "unset" in table:
        file.sentence("unset", "only the file of a guest can unset a key of this one")
    problems += file.problems
    return table if not file.problems and good else None


def _guest(
    stem: str, table: dict[str, Any] | None, defaults: dict[str, Any] | None, base: _LabBase, problems: list[Problem]
) -> tuple[Guest, Mapping[str, str]] | None:
    if table is None or defaults is None:  # a guest without the defaults it counts on is another guest
        return None
    file = Converter(f"{printable(stem, 60)}.toml", base)
    try:
        name = GuestName.parse(stem)
    except ValueError as wanted:
        file.sentence("", f"the name of the file is not that of a guest, which is {wanted}")
        problems += file.problems
        return None
    inherited = unset_keys.inherited(defaults, table)
    merged = _merged(inherited, table)
    guest: Guest | None = file.convert(Guest, merged, name=name)
    sources: Mapping[str, str] = EMPTY
    if guest is not None:
        guest, sources, warnings = guest_size.sized(guest, table, inherited, base.host)
        problems += [one for one in warnings if one not in problems]
        for key, found, wanted_text in guest.problems():
            file.problem(key, found, wanted_text)
        for number, wanted_text in unset_keys.unset_problems(guest.unset):
            file.problem(f"unset[{number}]", f'"{guest.unset[number]}"', wanted_text)
        if guest.seed is not None:
            from kvmrun.config.image.image_seed import with_image_seed  # only a guest with a seed needs it

            guest = with_image_seed(file, guest, base.systems)
    problems += file.problems
    if guest is None or file.problems:
        return None
    problems += _kernel_of_the_defaults(guest, table)
    return guest, sources


def _valid_part(
    stem: str, table: dict[str, Any] | None, defaults: dict[str, Any] | None, base: PathBase
) -> Guest | None:
    """The valid part of a guest with errors."""
    if not table:
        return None
    return partial_guest.valid_part(stem, _merged(unset_keys.inherited(defaults or {}, table), table), base)


def _kernel_of_the_defaults(guest: Guest, table: Mapping[str, Any]) -> Iterator[Problem]:
    """A warning where a kernel of defaults.toml boots instead of the drives that the guest's own file gives it.

    A kernel with `root=` on its command line uses such a drive, and is no mistake.
    """
    boot = table.get("boot")
    own = isinstance(boot, dict) and "kernel" in boot
    if guest.boot.kernel and not own and table.get("drive") and "root=" not in (guest.boot.cmdline or ""):
        text = 'the kernel of defaults.toml boots instead of the drive; unset = ["boot"] makes the drive boot'
        found = str(guest.boot.kernel)
        yield Problem(file=f"{guest.name}.toml", key="boot.kernel", found=found, wanted="", warning=True, text=text)


def _merged(defaults: Mapping[str, Any], table: Mapping[str, Any]) -> dict[str, Any]:
    """`table` over `defaults`; tables are merged key by key, lists are replaced."""
    merged = dict(defaults) | dict(table)
    for key, value in table.items():
        if isinstance(value, dict) and isinstance(defaults.get(key), dict):
            merged[key] = _merged(defaults[key], value)
    return merged


def _printable(stems: Iterable[str]) -> list[str]:
    return [printable(stem, 60) for stem in stems]
