"""Following many guests at once: those that start are picked up, those that end are let go."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import aclosing

from kvmrun.api.guest_socket import socket_of
from kvmrun.api.lab import LabHandle, expand_groups, no_such_guest, own_guests, read_definitions, refuse_other
from kvmrun.api.status.live_status import visible_run_directories
from kvmrun.errors import KvmrunError, NotRunning
from kvmrun.host.rundir import rundir
from kvmrun.model.deadline import Deadline
from kvmrun.model.event import GuestEvent
from kvmrun.model.paths import Paths
from kvmrun.monitor.qmp import event_stream

_LOOK = 0.25
"""How often it is looked whether a guest has started, in seconds."""
_AGAIN = 5.0
"""A guest that cannot be followed is tried again after so many seconds."""
_UNLOCKED = 2.0
"""How long a QEMU that has closed its monitor may take to end, in seconds."""

_HANG_UP = 2.0
"""How long connections may take to be closed in order, in seconds; then they are dropped."""
_SILENT = 3.0
"""Without a word for so many seconds, a guest is told of."""

Note = Callable[[str, str], None]
_NO_WORD = "it does not answer, or somebody else follows it already"
_News = asyncio.Queue[GuestEvent | BaseException]


def events(
    lab: LabHandle, names: Sequence[str] = (), *, timeout: float | None = None, note: Note = lambda *_: None
) -> Iterator[GuestEvent]:
    """The events of guests as they happen: of those that are named, also by @GROUP, or of all.

    Guests need not run: they are followed whenever they do. Without `timeout`, in seconds, there is no end. `note`
    hears of a guest that cannot be followed now, and why.

    Raises: NoSuchGuest, OtherLab at once.
    """
    return _until_over(follow(followable(lab, names), note), Deadline.begin(timeout))


def _until_over(news: AsyncGenerator[GuestEvent, None], deadline: Deadline) -> Iterator[GuestEvent]:
    """The events, from a loop that runs only while the next one is waited for; signals are the caller's."""
    loop = asyncio.new_event_loop()
    try:
        while True:
            limit = None if deadline.limit is None else deadline.granted(0.0)
            try:
                event = loop.run_until_complete(asyncio.wait_for(anext(news), limit))
            except TimeoutError:
                return
            yield event
    finally:
        loop.run_until_complete(news.aclose())
        loop.run_until_complete(_end_others())
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


async def _end_others() -> None:
    """Let all other tasks of this loop end: they have been cancelled, and close their connections in order."""
    for limit in (_HANG_UP, _HANG_UP):
        while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
            _, late = await asyncio.wait(tasks, timeout=limit)
            if late:
                break
        for task in tasks:
            task.cancel()
    await asyncio.sleep(0)  # the loop takes leave of closed connections in its next round


def followable(lab: LabHandle, names: Sequence[str] = ()) -> Callable[[], dict[str, str]]:
    """What gives the run directories, by name, of the guests that are meant and are there now.

    Raises: NoSuchGuest, OtherLab at once.
    """
    where, chosen = lab.paths, _known(lab.paths, names)

    def present() -> dict[str, str]:
        found = visible_run_directories(where)
        mine = set(own_guests(where, [name for name, path in found.items() if path == where.guest(name)]))
        here = {name: path for name, path in found.items() if name in mine or path != where.guest(name)}
        return {name: path for name, path in here.items() if not chosen or name in chosen}

    return present


def _known(where: Paths, words: Sequence[str]) -> set[str]:
    """The guests that are meant, none for all."""
    if not words:
        return set()
    lab = read_definitions(where)
    names = expand_groups(lab, words)
    there = {*lab.guests, *lab.invalid, *visible_run_directories(where)}
    if unknown := next((name for name in names if name not in there), ""):
        raise no_such_guest(lab, unknown)
    for name in names:
        refuse_other(where, name)
    return set(names)


async def follow(where: Callable[[], dict[str, str]], note: Note) -> AsyncGenerator[GuestEvent, None]:
    """The events of the guests that `where` gives by name, with their run directories, as they happen; without end.

    No event is taken from a guest's connection before the one before it was asked for here: the connection keeps them
    within its bounds. `note` hears why a guest cannot be followed.

    Raises: what looking for guests raises; the error of one guest goes to `note`.
    """
    news: _News = asyncio.Queue(maxsize=1)
    looking = asyncio.create_task(_told(news, _look(where, note, news)))
    try:
        while True:
            found = await news.get()
            if isinstance(found, BaseException):
                raise found
            yield found
    finally:
        await _cancel([looking])


async def _told(news: _News, work: Coroutine[None, None, None]) -> None:
    """Do it; what it raises is raised where the news are heard."""
    try:
        await work
    except Exception as bug:
        await news.put(bug)


async def _look(where: Callable[[], dict[str, str]], note: Note, news: _News) -> None:
    tasks: dict[str, asyncio.Task[None]] = {}
    try:
        while True:
            for name, directory in where().items():
                if (name not in tasks or tasks[name].done()) and rundir.is_running(directory):
                    tasks[name] = asyncio.create_task(_told(news, _one(name, directory, note, news)))
            await asyncio.sleep(_LOOK)
    finally:
        await _cancel(tasks.values())


async def _cancel(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel the tasks and let them close their connections, before the end of the loop cancels that too."""
    for task in (left := [task for task in tasks if not task.done()]):
        task.cancel()
    if left:
        await asyncio.wait(left, timeout=_HANG_UP)


async def _one(name: str, directory: str, note: Note, news: _News) -> None:
    """Follow one guest that runs until it ends, or its connection does."""
    record = rundir.read_record(directory)
    silent = asyncio.get_running_loop().call_later(_SILENT, note, name, _NO_WORD)
    try:
        socket, uuid = socket_of(directory, name, "e"), record.uuid if record else ""
        async with aclosing(event_stream.read_events(socket, uuid)) as found:
            async for event in found:
                silent.cancel()
                await news.put(event)
    except NotRunning:
        if silent.cancelled() and await _ended(directory):
            await news.put(GuestEvent(at=time.time(), guest=name, name="ended"))
    except KvmrunError as error:
        note(name, ": ".join(filter(None, [error.message, error.reason])))
        await asyncio.sleep(_AGAIN)
    finally:
        silent.cancel()


async def _ended(directory: str) -> bool:
    """Whether its QEMU is gone; the lock is free a moment after the monitor is closed."""
    deadline = time.monotonic() + _UNLOCKED
    while runs := rundir.is_running(directory):
        if time.monotonic() > deadline:
            break
        await asyncio.sleep(0.02)
    return not runs
