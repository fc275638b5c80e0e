"""Text that means harm: to terminals, to markup, to option parsers, to whoever reads a name as a path."""

import os
import random
import resource
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

_CSI = ["31m", "2J", "H", "?1049h", "6n", "5n", "c", ">c", "8;50;80t", "21t", "1;1r", "4h", "?25l", "3J", "0K", "10A"]
_OSC = ["0;title", "8;;http://x/", "52;c;ZXZpbA==", "4;1;?", "10;?", "9;note", "7;file://x/", "1337;File=:AA==", "104"]
_STRINGS = ["P$q q", "_evil", "^evil", "Xevil", "P+q544e"]
_MARKUP = [
    "[/x]", "[link=http://x/]y[/link]", "[bold]", "[", "]", "[[]]", "[/]", "[@click=app.bell]x[/]", "[red on blue]x",
    ":smile:", "[#ff0000]x", r"\[x]", "[not a tag", "[1]", "{0}", "%s", "%(x)s", "${HOME}", "{x!r}", "<b>x</b>",
]  # fmt: skip
_OPTIONS = [
    "a,readonly=on", "a,,b", "a,process=sshd", "x,id=evil", "=", ",", ",,", "a=b", "-device", "--", "-", "nbd:host:1",
    "json:{}", 'json:{"driver":"file"}', "fd:3", "fdset:1", "/dev/fdset/1", "exec:sh", "|sh", "unix:/x", "host:1",
    "a b", "a\tb", "'", '"', "\\", '","filename":"/etc/shadow', '"}{"', "$(id)", "`id`", ";id", "&&id", "*", "~root",
    "%d", "#x", "@file", "on", "off", "null", "0x10", "1e9", "id=x,addr=0x7", "a,file=/etc/shadow", "/../../etc/shadow",
    "..", ".", "a/../b", "rbd:x", "ssh://x", "https://x/y", "blkdebug::x", "a:b:c", "fat:/etc", "vvfat:rw:/", "\u2028",
]  # fmt: skip
_WORDS = [
    "\r overwritten", "ok\r\nkvmrun: all is well", "a\bb", "a\x7fb", "\x07", "\x00", "\x0e\x0f", "\x1b",
    "\x1bc", "\x1b7", "\x1b(0lqk", "\x1b]", "\x1b[", "\x1b[31", "\x9b31m", "\x9d0;t\x9c", "\x90q\x9c", "\x84",
    "\x85", "\x8d", "\x9a", "\u202eevil", "\u202d", "\u2066x\u2069", "\u2067", "\u200e", "\u200f", "\u061c",
    "\u200b", "\u200d", "\ufeff", "\u2060", "\u00ad", "\u180e", "\u3164", "\ufff9\ufffb", "\U000e0041",
    "e\u0301\u0301\u0301", "\u2028", "\u2029", "\u00a0", "\u3000", "\ud800", "\udcff", "\udc1b", "\ue000",
    "\uffff", "\U0010ffff", "\u0378", "\x1b\x1b[31m", "x" * 5000, "界" * 300, "😀", "\v\f", "a\n\n\nb",
    "\n\x1b[31m\n", "\x1b[?1000h", "\x1b#8", "\x1b%G", "\x1bN", "\x05", "\x11\x13", "\x1a", "\x04",
]  # fmt: skip


def strings() -> list[str]:
    """More than two hundred, each once, always in the same order."""
    found = [*_WORDS, *_MARKUP, *_OPTIONS]
    for one in _CSI:
        found += [f"a\x1b[{one}b", f"\x9b{one}"]
    for one in _OSC:
        found += [f"\x1b]{one}\x07", f"\x1b]{one}\x1b\\", f"\x9d{one}\x9c"]
    for one in _STRINGS:
        found += [f"\x1b{one}\x1b\\", f"\x1b{one}\x9c"]
    return list(dict.fromkeys(found))


def text(chance: random.Random) -> str:
    """Any string: pieces of the above, and characters of every kind."""
    pieces = [
        chance.choice(_OPTIONS) if chance.random() < 0.5 else "".join(map(chr, _codes(chance)))
        for _ in range(chance.randint(1, 4))
    ]
    return "".join(pieces)


def _codes(chance: random.Random) -> Iterator[int]:
    for _ in range(chance.randint(0, 8)):
        code = chance.choice([chance.randrange(0x20, 0x7F), chance.randrange(0x100), chance.randrange(0x110000)])
        if not 0xD800 <= code < 0xE000:
            yield code


def harm(text: str, *, bare: str = "\n\t") -> str:
    """The first character of `text` that a terminal or a reader could fall for, as a name; "" when there is none."""
    for char in text:
        if char not in bare and char != " " and unicodedata.category(char) in {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}:
            return f"U+{ord(char):04X}"
    return ""


@dataclass(frozen=True)
class Cost:
    """How a command ended, and what it took: wall seconds, and the most memory it had, in KiB."""

    code: int
    out: str
    err: str
    seconds: float
    rss: int


_MEASURE = """
import re, subprocess, sys, time
began, most = time.monotonic(), 0
child = subprocess.Popen(sys.argv[2:], stdin=subprocess.DEVNULL)
while child.poll() is None and time.monotonic() < began + 60:
    with open(f"/proc/{child.pid}/status") as file:
        most = max([most, *map(int, re.findall(r"VmHWM:\\s+(\\d+) kB", file.read()))])
    try:
        child.wait(0.01)
    except subprocess.TimeoutExpired:
        pass
open(sys.argv[1], "w").write(f"{child.wait(5)} {time.monotonic() - began} {most}")
"""
"""The kernel's own figure of a child that has ended counts the children that it has waited for as well."""


def measured(words: list[str], note: str, **environ: str) -> Cost:
    """Run a command from a small process of its own, so that what it took is known. `note` is a file to write."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _MEASURE, note, *words],
        capture_output=True, check=False, timeout=90, env={**os.environ, **environ},
    )  # fmt: skip
    with open(note) as file:
        code, seconds, rss = file.read().split()
    return Cost(
        code=int(code), out=done.stdout.decode(errors="surrogateescape"),
        err=done.stderr.decode(errors="surrogateescape"), seconds=float(seconds), rss=int(rss),
    )  # fmt: skip


def memory() -> int:
    """The most memory this process has had, in KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
