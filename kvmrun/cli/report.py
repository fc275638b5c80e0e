"""Events and results of the API, for a person: each event to its line, errors by name to one exit code."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

from kvmrun.api.report import (
    Detail,
    Done,
    Event,
    Noted,
    Report,
    TransferEnded,
    Transferred,
    Transferring,
    WaitEnded,
    Waiting,
    Warned,
)
from kvmrun.cli.arguments import Args
from kvmrun.errors import KvmrunError, Several
from kvmrun.model.printable import printable
from kvmrun.ui.text.caller import fix
from kvmrun.ui.text.progress import Progress


@contextmanager
def reporting(args: Args, *, quiet: bool = False) -> Iterator[Report]:
    """The report of one command, which prints as -q and -v want it."""
    with Progress(quiet=args.quiet or quiet, verbose=args.verbose) as progress, ExitStack() as waits:
        counted: list[Callable[[int], None]] = []

        def show(event: Event) -> None:
            match event:
                case Done():
                    progress.tell(event.text)
                case Detail():
                    progress.detail(event.text)
                case Warned():
                    progress.warn(event.text)
                case Noted():
                    sys.stderr.write(f"kvmrun: {printable(fix(event.text))}\n")
                case Transferring():
                    counted.append(waits.enter_context(progress.counting(event.what, event.total)))
                case Transferred():
                    counted[-1](event.bytes)
                case TransferEnded():
                    waits.close()
                case Waiting():
                    waits.enter_context(progress.waiting(event.what, limit=event.limit, last=event.last))
                case WaitEnded():
                    waits.close()

        yield show


def exit_code(results: Mapping[str, object], names: Sequence[str] = ()) -> int:
    """The exit code of success. Raises Several with the errors among the results, in the order of `names`."""
    errors = [one for one in (results[name] for name in names or results) if isinstance(one, KvmrunError)]
    if errors:
        raise Several(errors)
    return 0
