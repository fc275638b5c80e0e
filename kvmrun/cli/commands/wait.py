"""kvmrun wait NAME --for COND: until a guest is as one wants it."""

from kvmrun.api.guest.wait import wait
from kvmrun.cli.arguments import Args, Parser, opened
from kvmrun.cli.json_output import print_document
from kvmrun.cli.report import exit_code, reporting
from kvmrun.errors import KvmrunError, UsageError
from kvmrun.model.printable import printable

HELP = "wait until guests run, answer, accept connections, print a text, or have ended"
TIMEOUT = "60 s, or 600 s for seed"
_FOR = "the condition: running (the default), address, agent, seed, port:NUMBER, console:TEXT or stopped"


def configure(parser: Parser) -> None:
    parser.add_argument("guests", nargs="*", metavar="NAME", help="the guests to wait for, or @GROUP")
    parser.add_argument("--for", dest="condition", default="running", metavar="COND", help=_FOR)
    parser.add_argument(
        "-o", "--output", choices=("text", "json"), default="text", help="json: which guests meet the condition"
    )


def run(args: Args) -> int:
    """Raises Several with Unresponsive for a guest that is not so within --timeout (60 s)."""
    lab, as_json = opened(args), args.output == "json"
    if not args.guests:
        raise UsageError("no guest was named", "Name at least one guest: kvmrun wait NAME --for address")
    with reporting(args, quiet=as_json) as report:
        results = wait(lab, args.guests, args.condition, timeout=args.timeout, report=report)
    if as_json:
        problems = {name: _problem(one) for name, one in results.items()}
        met = [{"name": name, "met": problem is None, "problem": problem} for name, problem in problems.items()]
        print_document(condition=args.condition, guests=met)
    return exit_code(results)


def _problem(result: object) -> str | None:
    if not isinstance(result, KvmrunError):
        return None
    return printable(f"{result.message}{f': {result.reason}' if result.reason else ''}")
