"""Text written beside other work, to a terminal or pipe on which a write does not block."""

import asyncio
import os


async def send_text(sink: int, text: str) -> None:
    """Write all of it. Where nobody reads, guests are listened to meanwhile, within the bounds of their connections."""
    data = text.encode()
    while data:
        try:
            data = data[os.write(sink, data) :]
        except BlockingIOError:
            await _writable(sink)


async def _writable(sink: int) -> None:
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    loop.add_writer(sink, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_writer(sink)
