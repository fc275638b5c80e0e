"""Work on images whose guests do not run: a conversation with a QEMU that has no machine."""

import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from kvmrun.errors import KvmrunError, NotRunning, Unresponsive
from kvmrun.host.disk import image_process
from kvmrun.model.deadline import Deadline
from kvmrun.model.printable import printable
from kvmrun.monitor.qmp.fd_passing import QmpConnection
from kvmrun.monitor.qmp.qmp_socket import QmpSocket

_LIMIT = 3600.0
_END = 10.0
Node = Mapping[str, object]


@contextmanager
def image_tool(what: str, nodes: Sequence[Node], fds: Sequence[int], deadline: Deadline) -> Iterator[QmpConnection]:
    """A connection to a QEMU that has these images open; it has closed them, all written, at the end of the body.

    Raises: KvmrunError, which begins with `what`, where QEMU cannot open an image or ends by itself.
    """
    ours, its = socket.socketpair()
    with ours, its, image_process.started(nodes, fds, its.fileno()) as child:
        its.close()
        qmp = QmpConnection(QmpSocket(ours), time.monotonic() + deadline.granted(_LIMIT))
        try:
            qmp.execute("qmp_capabilities")
            yield qmp
        except NotRunning:
            raise KvmrunError(what, "free some room, or use another image", lines=_said(child)) from None
        try:
            qmp.execute("quit")
        except NotRunning:  # it may end before its answer is read
            child.terminate()
        _require_end(child, what)


def _require_end(child: subprocess.Popen[bytes], what: str) -> None:
    try:
        code = child.wait(_END)
    except subprocess.TimeoutExpired:
        raise Unresponsive(what, "try again", reason=f"QEMU has not closed its images within {_END:g} s") from None
    if code:
        raise KvmrunError(what, "free some room, or use another image", lines=_said(child))


def _said(child: subprocess.Popen[bytes]) -> tuple[str, ...]:
    """The last of what QEMU printed before it ended."""
    child.kill()
    assert child.stderr is not None
    return tuple(printable(line, 400) for line in child.stderr.read(65536).decode(errors="replace").splitlines()[-3:])
