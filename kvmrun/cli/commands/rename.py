"""kvmrun rename: another name for a guest that does not run, wherever the lab mentions it."""

from kvmrun.api.definition.rename_guest import current_identity, rename_guest
from kvmrun.api.report import Done
from kvmrun.cli.arguments import Args, Parser, opened
from kvmrun.cli.report import reporting
from kvmrun.model.paths import GuestRuntime
from kvmrun.ui.text.prompt import confirm

HELP = "give a guest another name"


def configure(parser: Parser) -> None:
    parser.add_argument("guest", metavar="NAME", help="a guest that does not run")
    parser.add_argument("new", metavar="NEW", help="the new name")
    parser.add_argument(
        "--keep", action="store_true", help="keep MAC, address and UUID by writing them into the definition"
    )


def run(args: Args) -> int:
    lab = opened(args)
    now = current_identity(lab, args.guest, args.new)
    done = rename_guest(lab, args.guest, args.new, keep_identity=args.keep or _ask_keep_identity(now, args.new))
    with reporting(args) as report:
        report(Done(text=f"{args.guest} is {args.new} now"))
        for file in done.files:
            report(Done(text=f"  {file} mentions it by its new name"))
        for change in done.changes:
            report(Done(text=f"  {change.what}: {change.before} -> {change.after}"))
        if done.images:
            report(Done(text=f"  images keep their names: {', '.join(done.images)}"))
    return 0


def _ask_keep_identity(now: GuestRuntime, new: str) -> bool:
    """Whether the person, where there is one, wants to keep what followed from the name."""
    ports = ", ".join(f"{port.mac} {port.address or ''}".strip() for port in now.ports)
    return bool(confirm(f"{new} would have another UUID, MAC and address; keep {ports or now.uuid}?", usual=False))
