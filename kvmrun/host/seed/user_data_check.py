"""A document of the user's own, judged before a guest gets it: by cloud-init itself, where this host has it."""

import json
import os
import re
import subprocess

from kvmrun.errors import Refused
from kvmrun.host.process import process
from kvmrun.host.seed.yaml_check import yaml_problem
from kvmrun.model.printable import printable

_HEADS = (
    "#cloud-config",
    "#cloud-boothook",
    "#include",
    "#part-handler",
    "#!",
    "## template:",
    "Content-Type:",
    "MIME-",
)
"""What the first line of user data begins with (cloud-init, "User data formats"); gzip has no lines."""
_GZIP = b"\x1f\x8b"
_LIMIT = 20.0
_MOST = 10


def user_data_problem(path: str, data: bytes, backend: str) -> Refused | None:
    """What is wrong with the document, None for nothing that can be told on this host."""
    if backend == "ignition":
        return _ignition_problem(path, data)
    if data.startswith(_GZIP):
        return None
    first = data.split(b"\n", 1)[0].decode(errors="replace")
    if not first.startswith(_HEADS):
        reason = f"its first line is {printable(first, 60)!r}, which cloud-init does not know"
        return Refused(f"{path} is no user data", "begin it with #cloud-config", reason=reason)
    return _schema_problem(path, data) if first.strip() == "#cloud-config" else None


def _ignition_problem(path: str, data: bytes) -> Refused | None:
    fix = "butane translates a file that people write; ignition-validate tells more"
    try:
        found = json.loads(data)
        version = found["ignition"]["version"]
    except json.JSONDecodeError as error:
        return Refused(f"{path} is no configuration of Ignition", fix, reason=f"line {error.lineno}: {error.msg}")
    except (ValueError, LookupError, TypeError, RecursionError):
        return Refused(f"{path} is no configuration of Ignition", fix, reason="it has no key ignition.version")
    if not isinstance(version, str) or not re.fullmatch(r"3\.\d+\.\d+", version):
        return Refused(f"{path} is for another Ignition", fix, reason=f"ignition.version is {printable(version, 20)}")
    return None


def _schema_problem(path: str, data: bytes) -> Refused | None:
    if not (program := process.find_program("cloud-init")):
        reason = yaml_problem(data)
        return Refused(f"{path} is not valid user data", f"edit {path}", reason=reason) if reason else None
    found = re.search(r"schema errors: (.*)", _said_by(program, data), re.DOTALL)
    if found is None:
        return None
    parts = re.split(r"(?:^|, )(?=[\w.-]+: )", found[1].strip())
    lines = tuple(_told(part, data.decode(errors="replace")) for part in parts if part)
    return Refused(
        f"{path} is not valid user data", f"edit {path}", reason="cloud-init does not accept it", lines=lines[:_MOST]
    )


def _said_by(program: str, data: bytes) -> str:
    """What the validator of cloud-init prints, which reads the text by its descriptor; "" where it does not end."""
    fd = os.memfd_create("user-data", os.MFD_CLOEXEC)
    try:
        with open(fd, "wb", closefd=False) as file:
            file.write(data)
        done = subprocess.run(
            [program, "schema", "--config-file", f"/proc/self/fd/{fd}"],
            pass_fds=(fd,),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"},
            timeout=_LIMIT,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    finally:
        os.close(fd)
    return done.stdout.decode(errors="replace") if done.returncode else ""


def _told(part: str, text: str) -> str:
    """One error with the line that it is about: cloud-init names the key alone."""
    key = part.partition(":")[0]
    if place := re.match(r"format-l(\d+)\.", key):
        return f"line {place[1]}: {printable(part.partition(': ')[2], 200)}"
    top = re.escape(key.partition(".")[0])
    number = next((n for n, line in enumerate(text.splitlines(), 1) if re.match(rf"[\"']?{top}[\"']?\s*:", line)), 0)
    return f"line {number}: {printable(part, 200)}" if number else printable(part, 200)
