"""A shell on a running guest: line editing, completion, and events shown above the line being typed."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.output import ColorDepth
from prompt_toolkit.patch_stdout import patch_stdout

from kvmrun.errors import KvmrunError, NotRunning
from kvmrun.model.value import Value
from kvmrun.ui.shell.qmp_history import History
from kvmrun.ui.text.output import BOLD, DIM, YELLOW, Answer, print_answer, print_error, print_line


class ShellBackend(Value):
    """What the shell needs to know of whom it talks to; every text it is given is shown one printable line at a time.

    `answer` gives what to print, or None to leave; `complete` gives (text, characters to replace, what it is);
    `event` waits for the next thing to announce; `question` is what to ask before a line is carried out, or "".
    """

    guest: str
    prompt: str
    welcome: str
    answer: Callable[[str], Awaitable[Answer]]
    complete: Callable[[str], Iterable[tuple[str, int, str]]]
    event: Callable[[], Awaitable[str]]
    question: Callable[[str], str]
    history: str
    color: bool = False


async def run_shell(talk: ShellBackend) -> None:
    """Until the person leaves or the guest ends, which is said. Raises KvmrunError when the monitor misbehaves."""
    print_line(talk.welcome, style=DIM, color=talk.color)
    announcer = asyncio.create_task(_announce(talk))
    try:
        with _on_interrupt(lambda: None):  # a Ctrl-C between two prompts
            await _lines(talk, announcer)
    except NotRunning:
        print_line(f"{talk.guest} has ended; its monitor is closed.", style=BOLD, color=talk.color)
    finally:
        announcer.cancel()
        await asyncio.gather(announcer, return_exceptions=True)


async def _lines(talk: ShellBackend, announcer: asyncio.Task[None]) -> None:
    session = _session(talk)
    while (line := await _typed(session, talk.prompt, announcer)) is not None:
        if not line.strip():
            continue
        if (question := talk.question(line)) and not await _agreed(question, announcer):
            continue
        try:
            answer = await _interruptible(talk.answer(line))
        except NotRunning:
            raise
        except KvmrunError as error:
            print_error(error, color=talk.color)
            continue
        if answer is None:
            return
        print_answer(answer, color=talk.color)


def _session(talk: ShellBackend) -> PromptSession[str]:
    return PromptSession(
        completer=_Words(talk.complete),
        complete_while_typing=False,
        history=History(talk.history),
        color_depth=None if talk.color else ColorDepth.DEPTH_1_BIT,
        enable_history_search=True,
    )


async def _typed(session: PromptSession[str], prompt: str, announcer: asyncio.Task[None]) -> str | None:
    """The next line; "" after Ctrl-C, None after Ctrl-D. Raises what ended the conversation meanwhile."""
    typing = asyncio.ensure_future(_prompted(session, prompt))
    await asyncio.wait((typing, announcer), return_when=asyncio.FIRST_COMPLETED)
    if announcer.done():
        typing.cancel()
        await asyncio.wait((typing,))
        announcer.result()
    return await typing


async def _prompted(session: PromptSession[str], prompt: str) -> str | None:
    """What is said meanwhile goes above the line. A KeyboardInterrupt that left this task would end the whole loop."""
    try:
        with patch_stdout(raw=True):
            return await session.prompt_async(prompt)
    except KeyboardInterrupt:
        return ""
    except EOFError:
        return None


async def _agreed(question: str, announcer: asyncio.Task[None]) -> bool:
    answer = await _typed(PromptSession(), f"{question} [y/N] ", announcer)
    return (answer or "").strip().lower() in ("y", "yes")


async def _interruptible(answer: Awaitable[Answer]) -> Answer:
    """The answer; Ctrl-C stops the waiting, not what QEMU is doing."""
    waiting = asyncio.ensure_future(answer)
    with _on_interrupt(waiting.cancel):
        try:
            return await waiting
        except asyncio.CancelledError:
            if not waiting.cancelled():
                raise
            return ("No longer waiting; QEMU may still carry it out.",)


@contextmanager
def _on_interrupt(call: Callable[[], object]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    before = signal.getsignal(signal.SIGINT)
    loop.add_signal_handler(signal.SIGINT, call)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        if before is not None:  # it was not set from Python
            signal.signal(signal.SIGINT, before)


async def _announce(talk: ShellBackend) -> None:
    while True:
        print_line(await talk.event(), style=YELLOW, color=talk.color)


class _Words(Completer):
    """prompt_toolkit's form of a function from the text before the cursor to completions."""

    def __init__(self, complete: Callable[[str], Iterable[tuple[str, int, str]]]) -> None:
        self._complete = complete

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """Called by prompt_toolkit on Tab; whole words replace what is typed, so that the menu shows them whole."""
        del complete_event
        for text, length, meta in self._complete(document.text_before_cursor):
            yield Completion(text, start_position=-length, display_meta=meta)
