"""What the kernel tells of a process: who it is, what it holds, how far it may go."""

import os
import re
import subprocess
from contextlib import suppress
from pathlib import Path


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def limit(pid: int, what: str) -> list[str]:
    """Soft and hard limit of a process."""
    text = Path(f"/proc/{pid}/limits").read_text()
    return next(line for line in text.splitlines() if line.startswith(what))[len(what) :].split()[:2]


def held(pid: int) -> dict[int, str]:
    """Descriptor to what it is open on."""
    found = {}
    for one in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            found[int(one.name)] = os.readlink(one)
    return found


def taps(pid: int) -> list[str]:
    """The names of the taps a process has open, one a descriptor."""
    texts = (Path(f"/proc/{pid}/fdinfo/{fd}").read_text() for fd, what in held(pid).items() if what == "/dev/net/tun")
    return sorted(found[1] for text in texts if (found := re.search(r"^iff:\s*(\S+)", text, re.MULTILINE)))


def logger(name: str) -> int:
    """The pid of the logger of a guest, or of "net-NETWORK"; 0 when there is none."""
    for one in Path("/proc").iterdir():
        if one.name.isdigit():
            try:
                words = (one / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if words[0].endswith(b"s6-log") and words[-2:-1] == [
                f"{os.environ['KVMRUN_STATE_DIR']}/log/{name}".encode()
            ]:
                return int(one.name)
    return 0


def sockets_of(directory: Path) -> set[str]:
    """What the kernel calls the listening sockets below `directory`."""
    lines = Path("/proc/net/unix").read_text().splitlines()
    return {f"socket:[{line.split()[6]}]" for line in lines if line.split()[-1].startswith(str(directory))}


def reads_ahead() -> bool:
    """Whether this is s6 2.13, whose s6-log processes nothing while its input never pauses; 2.11 and 2.15 do."""
    asked = ["dpkg-query", "-W", "-f", "${Version}", "s6"]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.startswith("2.13.")
