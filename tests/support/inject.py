"""Commands that fail or die at a system call of their own: strace does it, and the command knows nothing of it."""

import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from support.cli import Cli, Result
from support.warm import TRACED

_CHANGES = (
    "mkdir,rmdir,unlink,unlinkat,rename,chmod,fchmod,fchmodat,chown,lchown,fchown,fchownat,"
    "ftruncate,truncate,write,pwrite64,memfd_create,pipe2,socket,bind,listen,connect,sendmsg,pidfd_open,pidfd_send_signal,kill,clone3,vfork,clone"
)
_SOME = ("openat", "fcntl", "ioctl", "sendto")
"""Of these only some change anything: which, the arguments say."""
_LINE = re.compile(r"(?P<name>\w+)\((?P<words>.*)\) += ")
_PATH = re.compile(r'AT_FDCWD[^,]*, "(?P<path>[^"]*)", (?P<flags>[A-Z_|]+)')
_FILE = re.compile(r"\d+<(?P<path>/(?!memfd:)[^>]*)>(?!\(deleted\))")
"""A descriptor with its file. Calls are told apart by files where there is one: how often the kernel begins a write to
/proc/sys again is nobody's to say."""
_NAMED_ANEW = re.compile(r"\.[0-9a-f]{12}$")
"""The end of a name that no file has twice: calls on it are told apart among all calls of their name."""
_TYPE = re.compile(r"nlmsg_type=(?:(?P<number>0x[0-9a-f]+)|(?P<name>RTM_\w+))")
_GETS = {0xA01, 0xA04, 0xA07, 0xA10}
"""Questions to the packet filter: tables, chains, rules, generation."""


@dataclass(frozen=True)
class Call:
    """The `nth` system call `name` of a command (of those on `path`, where one is given)."""

    name: str
    path: str
    nth: int
    words: str

    def __str__(self) -> str:
        return f"{self.name}({self.words[:70]})"

    @property
    def prints(self) -> bool:
        """Whether it only tells people something."""
        return self.name == "write" and self.words.startswith(("1<", "2<"))


def calls(cli: Cli, *words: str) -> list[Call]:
    """Every system call by which that command changes something, in order; it is carried out. Fails where it fails."""
    log = _log()
    done = cli.call(*words, tracer=_strace(log, "-y", trace=",".join((_CHANGES, *_SOME))))
    assert done.code == 0, f"{words}: exit {done.code}\n{done.out}{done.err}"
    return _calls(log.read_text(errors="replace"))


def struck(cli: Cli, call: Call, how: str, *words: str) -> Result | None:
    """The same command with `how` (signal=… or error=…) done to `call`; None when it came to no such call."""
    log = _log()
    only = ("-P", TRACED, "-P", call.path) if call.path else ()
    inject = ("-e", f"inject={call.name}:{how}:when={call.nth}")
    done = cli.call(*words, tracer=_strace(log, *only, *inject, trace=call.name))
    if how.startswith("signal"):
        return done if done.code < 0 else None
    lines = log.read_text(errors="replace").splitlines()
    return done if any("(INJECTED)" in line for line in lines if TRACED not in line) else None


def _log() -> Path:
    return Path(os.environ["KVMRUN_RUN_DIR"]).parent / "strace"


def _strace(log: Path, *more: str, trace: str) -> list[str]:
    begin = ("-e", f"trace=access,{trace}", "-e", "inject=access:retval=0:when=1")
    return ["strace", "-qq", "-s", "80", "-o", str(log), *begin, *more]


def _calls(log: str) -> list[Call]:
    counts: Counter[tuple[str, str]] = Counter()
    all_of: Counter[str] = Counter()
    found = []
    for line in log.splitlines():
        if (match := _LINE.match(line)) is None:
            continue
        name, words = match["name"], match["words"]
        if name == "access" or "ERESTART" in line:
            continue
        opened = _PATH.match(words) if name == "openat" else _FILE.match(words)
        path = opened["path"] if opened else ""
        counts[name, path] += 1
        all_of[name] += 1
        if name in _SOME and not _changes(name, words):
            continue
        anew = _NAMED_ANEW.search(path)
        nth = all_of[name] if anew else counts[name, path]
        found.append(Call(name=name, path="" if anew else path, nth=nth, words=words))
    return found


def _changes(name: str, words: str) -> bool:
    if name == "openat":
        opened = _PATH.match(words)
        return bool(opened and re.search("WRONLY|RDWR|CREAT", opened["flags"]) and opened["path"] != "/dev/null")
    if name == "fcntl":
        return "F_OFD_SETLK" in words
    if name == "ioctl":
        return bool(re.search(r", (TUNSET|SIOCS|SIOCBR)", words))
    if "SOCK_DIAG_BY_FAMILY" in words:
        return False
    kind = _TYPE.search(words)
    if kind is None:
        return True
    if kind["name"]:
        return not kind["name"].startswith("RTM_GET")
    number = int(kind["number"], 16)
    return number not in _GETS and (number >= 0xA00 or number % 4 != 2)
