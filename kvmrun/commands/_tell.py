"""Telling running guests one thing, side by side: pause, resume and reset."""

from kvmrun.commands import _end
from kvmrun.commands._peer import accounts, believed
from kvmrun.commands._words import Args
from kvmrun.errors import KvmrunError, NotRunning, Refused, Unresponsive
from kvmrun.host.process.signals import held_back
from kvmrun.host.rundir import rundir, socket_clients
from kvmrun.light.contextlib import ExitStack
from kvmrun.model.deadline import Deadline
from kvmrun.model.printable import printable
from kvmrun.model.value import Frozen
from kvmrun.monitor.qmp.query_many import Answer, ask

_LIMIT = 5.0


class Word(Frozen):
    """A QMP command; what is said while and after; the states in which nothing is to be done, and must be after."""

    command: str
    doing: str
    done: str
    already: tuple[str, ...] = ()
    ended: str = ""
    """Why the guest may have ended by this."""


def tell(args: Args, word: Word) -> int:
    """Tell the guests that the words on the command line name. Raises Several."""

    def one(name: str, directory: str, deadline: Deadline, calm: ExitStack) -> str:
        with rundir.held(directory, name, limit=deadline.left(rundir.OP_LIMIT)):
            return _told((name, directory), word, deadline, calm)

    return _end.at_each(args, word.doing, one, limit=_LIMIT)


def tell_one(name: str, directory: str, word: Word) -> str:
    """Tell the running guest of that run directory; what is to be said of it afterwards."""
    with rundir.held(directory, name), ExitStack() as calm:
        return _told((name, directory), word, Deadline.begin(_LIMIT), calm)


def _told(guest: tuple[str, str], word: Word, deadline: Deadline, calm: ExitStack) -> str:
    name, directory = guest
    state = _state(name, _ask(name, directory, ("query-status",), deadline))
    record = rundir.read_record(directory)
    if state == "prelaunch" and not (record and record.paused and record.pid):
        raise Refused(f"{name} is only half started", f"kvmrun {name} begins again", why="its start did not finish")
    if state in word.already:
        return f"is {word.done} already"
    calm.enter_context(held_back())  # it answers, and so it will at once
    deadline = Deadline.begin(deadline.left(_LIMIT))
    answer = _ask(name, directory, (word.command, "query-status"), deadline, word.ended)
    if error := answer.errors.get(word.command):
        raise KvmrunError(f"{name} could not be {word.done}", why=printable(error))
    if word.already and (state := _state(name, answer)) not in word.already:
        raise KvmrunError(f"{name} is not {word.done}", "kvmrun --list shows its state", why=f"QEMU calls it {state}")
    return f"is {word.done}" if word.already else f"was {word.done}"


def _ask(name: str, directory: str, commands: tuple[str, ...], deadline: Deadline, ended: str = "") -> Answer:
    limit = deadline.granted(_LIMIT)
    answer = believed(ask({"": f"{directory}/q"}, commands, limit=limit)[""], accounts(directory))
    if answer.silence == "stranger":
        hint, why = f"kvmrun kill {name} ends it", "another account answers there"
        raise Refused(f"the monitor of {name} is somebody else's", hint, why=why)
    if answer.silence == "gone":
        raise NotRunning(f"{name} has ended, or closed its monitor", "kvmrun --list shows its state", why=ended)
    if answer.silence:
        hint, why = f"kvmrun kill {name} ends it; --timeout SECONDS waits longer", f"its monitor was {answer.silence}"
        if who := socket_clients.connected(f"{directory}/q"):
            hint, why = f"end {who}: kvmrun monitor {name} is for people", f"{who} is connected to its monitor"
        raise Unresponsive(f"{name} does not answer", hint, why=f"{why} for {limit:g} s")
    return answer


def _state(name: str, answer: Answer) -> str:
    status = answer.replies.get("query-status")
    if not isinstance(status, dict):
        raise Unresponsive(f"{name} does not say how it is", "kvmrun --list shows its state")
    return printable(status.get("status"), 40)
