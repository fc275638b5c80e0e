"""kvmrun exec NAME COMMAND: run a command inside a guest, by its agent."""

import shlex
import sys

from kvmrun.api.conversation.agent_exec import INPUT_LIMIT, OUTPUT_LIMIT, ExecOptions, run_command
from kvmrun.cli.arguments import Args, Parser, opened
from kvmrun.cli.report import reporting
from kvmrun.cli.terminal.guest_output import write_guest_output
from kvmrun.errors import UsageError
from kvmrun.model.printable import printable

HELP = "run a command in a guest through its agent"
TIMEOUT = "none"
COMMAND_LINE = "NAME [--] COMMAND [ARGUMENT ...]"


def configure(parser: Parser) -> None:
    parser.add_argument("guest", metavar="NAME", help="a running guest; the arguments after it are the command")
    parser.add_argument("-i", "--stdin", action="store_true", help="pass standard input to it, at most 8 MiB")
    parser.add_argument("-t", "--tty", action="store_true", help="refused: the agent has no terminal, but ssh has one")
    parser.add_argument("-e", "--env", action="append", metavar="VAR=VALUE", help="set a variable of its environment")
    parser.add_argument("-w", "--workdir", metavar="DIR", help="the directory in the guest to run it in")
    parser.add_argument("-u", "--user", metavar="USER", help="the account in the guest to run it as, by runuser")


def run(args: Args) -> int:
    """Exits as the command in the guest did: 128 and its number for a signal, 127 and 126 where it cannot be run."""
    if not args.raw:
        raise UsageError("no command to run", f"kvmrun exec {args.guest} COMMAND")
    if args.tty:
        fix = f"{_again('ssh', args)}; or without a terminal: {_again('exec', args)}"
        raise UsageError("exec gives no terminal to a command", fix, reason="the agent passes only what it has printed")
    if args.raw[0].startswith("-"):
        reason = f"{printable(args.raw[0], 60)} stands where the command is expected"
        raise UsageError(
            "options stand before the name of the guest", f"kvmrun exec {args.guest} -- COMMAND", reason=reason
        )
    options = ExecOptions(
        env=tuple(args.env or ()),
        directory=args.workdir,
        user=args.user,
        input=(lambda: sys.stdin.buffer.read(INPUT_LIMIT + 1)) if args.stdin else None,
        timeout=args.timeout,
    )
    with reporting(args) as report:
        outcome = run_command(opened(args), args.guest, args.raw, options, report=report)
    write_guest_output(1, outcome.out)
    write_guest_output(2, outcome.err)
    for stream in outcome.cut:
        text = f"kvmrun: the agent keeps {OUTPUT_LIMIT >> 20} MiB of a stream: the rest of std{stream} is lost\n"
        sys.stderr.write(text)
    return outcome.code


def _again(verb: str, args: Args) -> str:
    """The same command line with that verb, and no options."""
    return printable(shlex.join(["kvmrun", verb, args.guest, *args.raw]), 400)
