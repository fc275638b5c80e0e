"""Following many guests at once: those that start are picked up, those that end are let go."""

import asyncio
import time
from contextlib import aclosing

from kvmrun.commands import _peer
from kvmrun.errors import KvmrunError, NotRunning
from kvmrun.host.rundir import rundir
from kvmrun.light.abc import AsyncGenerator, Callable, Coroutine, Iterable
from kvmrun.model.event import Event
from kvmrun.monitor.qmp.event_stream import events

_LOOK = 0.25
"""How often it is looked whether a guest has started, in seconds."""
_AGAIN = 5.0
"""A guest that cannot be followed is tried again after so many seconds."""
_UNLOCKED = 2.0
"""How long a QEMU that has closed its monitor may take to end, in seconds."""

_HANGS_UP = 2.0
"""How long followers may take to close their connections at the end, in seconds."""
_SILENT = 3.0
"""Without a word for so many seconds, a guest is told of."""

Note = Callable[[str, str], None]
_NO_WORD = "it does not answer, or somebody else follows it already"
_News = asyncio.Queue[Event | BaseException]


async def follow(where: Callable[[], dict[str, str]], note: Note) -> AsyncGenerator[Event, None]:
    """The events of the guests that `where` gives by name, with their run directories, as they happen; without end.

    No event is taken from a guest's connection before the one before it was asked for here: the connection keeps them
    within its bounds. `note` hears why a guest cannot be followed.
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
    """Cancel the tasks and let them hang up: `asyncio.run` would cancel what hangs up in the middle."""
    for task in (left := [task for task in tasks if not task.done()]):
        task.cancel()
    if left:
        await asyncio.wait(left, timeout=_HANGS_UP)


async def _one(name: str, directory: str, note: Note, news: _News) -> None:
    """Follow one guest that runs until it ends, or its connection does."""
    record = rundir.read_record(directory)
    silent = asyncio.get_running_loop().call_later(_SILENT, note, name, _NO_WORD)
    try:
        who = _peer.accounts(directory)
        async with aclosing(events(f"{directory}/e", name, record.uuid if record else "", who)) as found:
            async for event in found:
                silent.cancel()
                await news.put(event)
    except NotRunning:
        if silent.cancelled() and await _ended(directory):
            await news.put(Event(at=time.time(), guest=name, name="ended"))
    except KvmrunError as error:
        note(name, ": ".join(filter(None, [error.message, error.why])))
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
