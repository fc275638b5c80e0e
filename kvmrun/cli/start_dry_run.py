"""kvmrun up --dry-run: the steps and the QEMU command of a start, as text or as JSON."""

import sys
from collections.abc import Iterable

from kvmrun.api.guest.start_preview import StartPreview, preview_start
from kvmrun.api.lab import LabHandle
from kvmrun.api.options import StartOptions
from kvmrun.cli.json_output import print_document
from kvmrun.cli.report import exit_code
from kvmrun.ui.text.command_text import QEMU, command_text


def dry_run(lab: LabHandle, names: list[str], options: StartOptions, *, as_json: bool) -> int:
    """Print what a start would do. Raises Several for guests that cannot be started, when the others are printed."""
    results = preview_start(lab, names, options)
    (_show_json if as_json else _show)([one for one in results.values() if isinstance(one, StartPreview)])
    return exit_code(results)


def _show(previews: Iterable[StartPreview]) -> None:
    write = sys.stdout.write
    for one in previews:
        write(f"# {one.guest}: what would be done\n")
        for number, step in enumerate(one.steps, 1):
            write(f"# {number:2}. {step}\n")
        write(QEMU)
        write(command_text(one.command))


def _show_json(previews: Iterable[StartPreview]) -> None:
    found = []
    for one in previews:
        command = [word for option in one.command for word in option]
        found.append({"name": one.guest, "steps": [*one.steps], "command": command})
    print_document(guests=found)
