"""The same for many guests, side by side: one that fails does not stop the others."""

import os
from collections.abc import Callable, Sequence
from typing import Protocol

from kvmrun.errors import KvmrunError


class Worker(Protocol):
    """The part of a thread that is used here; threading itself is loaded only for several guests."""

    def start(self) -> None: ...
    def join(self) -> None: ...


def each(names: Sequence[str], do: Callable[[str], None]) -> dict[str, KvmrunError]:
    """Call `do` for every name, a few a core at once; the errors by name. Bugs are raised at the end."""
    if len(names) == 1:
        return _one(names[0], do)
    import threading

    errors: dict[str, KvmrunError] = {}
    bugs: list[BaseException] = []
    left = list(reversed(names))

    def work() -> None:
        while left:
            try:
                name = left.pop()
            except IndexError:
                return
            try:
                errors.update(_one(name, do))
            except BaseException as bug:  # carried to the caller's thread
                bugs.append(bug)

    _run([threading.Thread(target=work) for _ in range(min(len(names), 4 * (os.cpu_count() or 1)))], left)
    if bugs:
        raise bugs[0]
    return errors


def _run(workers: Sequence[Worker], left: list[str]) -> None:
    for worker in workers:
        worker.start()
    try:
        for worker in workers:
            worker.join()
    except BaseException:
        left.clear()  # an interrupt: nothing new is begun, what was begun comes to its end
        for worker in workers:
            worker.join()
        raise


def _one(name: str, do: Callable[[str], None]) -> dict[str, KvmrunError]:
    try:
        do(name)
    except KvmrunError as error:
        return {name: error}
    return {}
