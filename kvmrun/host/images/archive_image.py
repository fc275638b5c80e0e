"""An image built from a signed archive of packages, by the recipe of `kvmrun build debian`."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from kvmrun.errors import KvmrunError, NotPermitted, Unresponsive, UsageError
from kvmrun.host.images.recipes import recipe_command, recipe_environment
from kvmrun.model.deadline import Deadline
from kvmrun.model.printable import printable
from kvmrun.model.scalars import DIGITS, LOWER, consists_of
from kvmrun.model.value import Value

_LIMIT = 3600.0


Waiting = Callable[[str], AbstractContextManager[None]]


class BuiltFiles(Value):
    """The files of an image that has no boot loader."""

    image: str
    kernel: str
    initrd: str


@contextmanager
def built(suite: str, directory: str, deadline: Deadline, waiting: Waiting) -> Iterator[BuiltFiles]:
    """Build Debian of that suite in a directory, which is removed at the end with what was not moved away.

    `waiting` is around the building, which takes a minute or more. Raises UsageError for what is no suite,
    NotPermitted for others than root, and KvmrunError with the last lines where the building fails.
    """
    if not consists_of(suite, LOWER | DIGITS | {"-"}, 32):
        raise UsageError(f"{printable(suite, 60)} is no suite of Debian", "such as apt:bookworm")
    if os.geteuid() != 0:
        raise NotPermitted("an image cannot be built", "run it with sudo", reason="its files have owners")
    command = recipe_command("debian", ["--suite", suite, "--into", directory])
    shutil.rmtree(directory, ignore_errors=True)
    os.mkdir(directory, 0o700)
    try:
        with waiting(f"the packages of {suite}"):
            _run(command, deadline)
        files = (f"{directory}/debian{end}" for end in (".raw", "-vmlinuz", "-initrd"))
        yield BuiltFiles(**dict(zip(("image", "kernel", "initrd"), files, strict=True)))
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _run(argv: list[str], deadline: Deadline) -> None:
    with subprocess.Popen(
        argv,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=recipe_environment(os.environ),
        start_new_session=True,
    ) as child:
        try:
            said = child.communicate(timeout=deadline.granted(_LIMIT))[0].decode(errors="replace")
        except BaseException as error:
            os.killpg(child.pid, 15)  # the recipe removes what it has made
            child.wait()
            if isinstance(error, subprocess.TimeoutExpired):
                raise Unresponsive("the image was not built in time", "--timeout SECONDS") from None
            raise
    if child.returncode:
        raise KvmrunError(
            "the image was not built", "correct that, then try again", lines=tuple(said.splitlines()[-5:])
        )
