"""Everything kvmrun can say no with; the class is chosen by what the caller can do about it.

    KvmrunError               1   failed, and what was done is undone
     +-- UsageError           2   the words on the command line
     +-- NotRunning           3   the guest is not running
     +-- NoSuchGuest          4   no definition and no running guest has that name
     +-- ConfigError          5   a file of the lab must be edited (carries every problem found)
     +-- Refused              6   a conflict, or an object that is not ours
     |    +-- OtherLab        6   an object of another lab, which -C names
     +-- Unresponsive         7   asked in time, not answered in time
     +-- HostLacks           69   this machine has not what it takes
     +-- Busy                75   somebody else holds it now; try again
     +-- NotPermitted        77   this user may not
     |    +-- OtherUser      77   a guest of another user, whom `prefix` names
     +-- Several                  one a guest; the code of the first

Only `cli` prints them and only `cli` exits. `EXIT_CODES` is the table that the manual shows.
"""

import errno
import os

AS_ROOT = "run it with sudo"
"""What a fix says where the same command line succeeds as root."""
BUG = 70
"""The exit code where kvmrun itself is wrong: EX_SOFTWARE of sysexits.h."""
INTERRUPTED = 130
"""The exit code after Ctrl-C: 128 and the number of SIGINT, as a shell has it."""
READER_GONE = 141
"""The exit code where the reader of the output has left: 128 and the number of SIGPIPE."""
EXIT_CODES = {
    0: "done",
    1: "failed; what was done has been undone, or, after an end or a removal, the same command goes on with it",
    2: "usage error: the command line is wrong",
    3: "the guest is not running",
    4: "there is no guest of that name",
    5: "a definition is invalid",
    6: "refused: a conflict, or an object that kvmrun did not make",
    7: "no answer in time: a guest, or what a --wait names; the guest goes on",
    69: "the host lacks something that is needed",
    BUG: "a bug in kvmrun; the path of a file with the traceback is printed",
    75: "busy: another command holds what is needed; try again",
    77: "not permitted",
    129: "ended by SIGHUP: the terminal was closed; what was begun is undone",
    INTERRUPTED: "interrupted by Ctrl-C; what was begun is undone",
    READER_GONE: "the reader of the output has gone",
    143: "ended by SIGTERM; what was begun is undone",
}
"""Every exit code and what it means, for the manual. `exec` and `ssh` pass on the code of their command.

Of several guests, it is that of the first failure in the order they were named.
"""
_HOST = {
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EINTR),
    *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EAGAIN),
}
"""What the kernel says when this machine is full, broken or forbids it. Anything else it says is news: a bug."""


class KvmrunError(Exception):
    """`message` says what happened, in the user's names; `reason` why; `fix` is a command or an edit that corrects it.

    `lines` are the problems of a file, or the last lines of another program (QEMU, dnsmasq, nft): untrusted text. All
    but the message may be empty.
    """

    code = 1

    def __init__(self, message: str, fix: str = "", *, reason: str = "", lines: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix
        self.reason = reason
        self.lines = lines


class UsageError(KvmrunError):
    """The words on the command line, or the arguments of a call, make no sense."""

    code = 2


class NotRunning(KvmrunError):
    """The guest is not running."""

    code = 3


class NoSuchGuest(KvmrunError):
    """No definition and no running guest has that name."""

    code = 4


class ConfigError(KvmrunError):
    """A file of the lab must be edited; `lines` are all the problems that were found."""

    code = 5


class Refused(KvmrunError):
    """A conflict, or an object that is not ours."""

    code = 6


class OtherLab(Refused):
    """What was named is another lab's: `lab` is its directory, `subject` the words that name the object there."""

    def __init__(self, message: str, lab: str, subject: str, *, reason: str) -> None:
        from shlex import quote  # 2 ms that only this error costs

        super().__init__(message, f"kvmrun -C {quote(lab)} list", reason=reason)
        self.lab = lab
        self.subject = subject


class Unresponsive(KvmrunError):
    """Somebody was asked in time, and has not answered in time."""

    code = 7


class HostLacks(KvmrunError):
    """This machine does not have what it takes."""

    code = 69


class Busy(KvmrunError):
    """Another command holds it at this moment."""

    code = 75


class NotPermitted(KvmrunError):
    """This user may not."""

    code = 77


class OtherUser(NotPermitted):
    """A guest that runs for another user: a command line after `prefix` acts as that user."""

    def __init__(self, message: str, prefix: str, guest: str, *, reason: str) -> None:
        super().__init__(message, f"{prefix} kvmrun list {guest}", reason=reason)
        self.prefix = prefix


class Several(KvmrunError):
    """One error a guest, in the order the guests were named; the code is the first one's.

    What is wrong with a file of the whole lab is said once.
    """

    def __init__(self, errors: list[KvmrunError]) -> None:
        different = {(error.message, error.fix, error.lines): error for error in errors}
        self.errors = list(different.values())
        super().__init__("; ".join(error.message for error in self.errors))
        self.code = errors[0].code


class Interrupted(KeyboardInterrupt):
    """A signal came while several guests were at work: its exit code, and an error for each guest that was not done."""

    def __init__(self, code: int, errors: dict[str, KvmrunError]) -> None:
        super().__init__(code)
        self.errors = errors


def refused_by_host(doing: str, error: OSError) -> KvmrunError:
    """The error for what the host refused when we were to do `doing`; raises `error` where we are to blame."""
    if error.errno not in _HOST:
        raise error
    return KvmrunError(f"could not {doing}", host_fix(error), reason=host_reason(error))


def host_reason(error: OSError) -> str:
    """What the kernel says, and of which file."""
    text = os.strerror(error.errno) if error.errno else f"{error}"
    return f"{os.fsdecode(error.filename)}: {text}" if isinstance(error.filename, (str, bytes)) else text


def host_fix(error: OSError) -> str:
    """What corrects the host where it is exhausted."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return "free some room there"
    if error.errno in {errno.EMFILE, errno.ENFILE}:
        return "ulimit -n prints how many files may be open"
    return "free some memory" if error.errno == errno.ENOMEM else "correct that, then try again"
