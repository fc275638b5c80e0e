"""kvmrun show: one guest with every default filled in, what follows from its name, how it runs, its QEMU command."""

import sys

from kvmrun.api.status.guest_details import guest_details
from kvmrun.cli.arguments import Args, Parser, opened
from kvmrun.cli.guest_rows import pasteable
from kvmrun.cli.json_output import print_document
from kvmrun.ui.text.command_text import QEMU, command_text
from kvmrun.ui.text.guest_text import guest_text, recorded_text, size_text

_LIVE = {"state", "throwaway", "confinement", "agent"}
"""What is told of the status of the guest."""
HELP = "print a guest's definition, derived names and QEMU command"


def configure(parser: Parser) -> None:
    parser.add_argument("guest", metavar="NAME", help="the guest")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="the format of the output")


def run(args: Args) -> int:
    lab = opened(args)
    found = guest_details(lab, args.guest)
    guest, runtime, now = found.definition, found.runtime, pasteable([found.status], lab)[0]
    media = [f"{one}" for one in found.media or ()]
    if args.output == "json":
        qemu = [*(word for option in found.command for word in option), *(guest.args if guest else ())]
        document: dict[str, object] = {"definition": guest and guest.as_dict(), "runtime": runtime.as_dict()}
        document |= {"command": qemu, "display": found.display, "machine": found.machine}
        document["media"] = None if found.media is None else [one.as_dict() for one in found.media]
        document["sources"] = dict(found.sources)
        document |= {key: value for key, value in now.as_dict().items() if key in _LIVE}
        print_document(**document)
    elif guest:
        text = guest_text(guest, runtime, now, found.machine or "", media=media)
        text += size_text(guest, now, found.sources)
        sys.stdout.write(f"{text}{QEMU}{command_text(found.command, guest.args)}")
    else:
        [command] = found.command
        definition = f"{lab.paths.vms}/{runtime.guest}.toml"
        sys.stdout.write(recorded_text(runtime, now, definition, command, media=media))
    return 0
