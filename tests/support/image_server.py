"""An HTTP server of the test's own on loopback, which serves files well or in one of many wrong ways."""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """One request: answered by what the test has put at its path, a file or a function."""

    protocol_version = "HTTP/1.1"
    server: "ImageServer"

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers.get("Range", ""), self.headers.get("If-Range", "")))
        answer = self.server.answers.get(self.path)
        with suppress(ConnectionError, ssl.SSLError):
            if callable(answer):
                answer(self)
            elif answer is None:
                self.say(404, b"<html>not found</html>", {"Content-Type": "text/html"})
            else:
                self.serve(answer)

    def serve(self, body: bytes, etag: str = '"one"', *, upto: int | None = None) -> None:
        """The file, or the range of it that was asked for; cut after `upto` bytes of the file."""
        start, condition = self.headers.get("Range", ""), self.headers.get("If-Range", "")
        headers = {"ETag": etag} if etag else {}
        first = 0
        if start and (not condition or condition == etag):
            first = int(start.removeprefix("bytes=").partition("-")[0])
            if first >= len(body):
                self.say(416, b"", {"Content-Range": f"bytes */{len(body)}"})
                return
            headers["Content-Range"] = f"bytes {first}-{len(body) - 1}/{len(body)}"
        self.head(206 if "Content-Range" in headers else 200, len(body) - first, headers)
        self.wfile.write(body[first:upto])
        if upto is not None:
            self.close()

    def say(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.head(status, len(body), headers or {})
        self.wfile.write(body)

    def head(self, status: int, length: int | None, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        if length is not None:
            self.send_header("Content-Length", f"{length}")
        self.end_headers()

    def close(self) -> None:
        """End the connection in the middle of things."""
        self.close_connection = True
        self.wfile.flush()
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_: Any) -> None:
        return


class ImageServer(ThreadingHTTPServer):
    """`answers` by path; `asked` is every request, as (path, Range, If-Range)."""

    daemon_threads = True

    def __init__(self, certificate: Path | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[str, bytes | Answer] = {}
        self.asked: list[tuple[str, str, str]] = []
        self.ended = threading.Event()
        self.scheme = "http"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.socket = context.wrap_socket(self.socket, server_side=True)
            self.scheme = "https"

    def url(self, path: str = "/image.qcow2") -> str:
        return f"{self.scheme}://127.0.0.1:{self.server_address[1]}{path}"

    def handle_error(self, *_: Any) -> None:
        """A client that leaves, or does not trust the certificate, is what several tests are about."""


@contextmanager
def image_server(certificate: Path | None = None) -> Iterator[ImageServer]:
    """A server that answers while the block lasts."""
    with ImageServer(certificate) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.ended.set()
            server.shutdown()
            thread.join()


def dripping(body: bytes, pause: float = 0.05) -> Answer:
    """One byte after the other, until the server ends."""

    def answer(handler: Handler) -> None:
        handler.head(200, len(body), {"ETag": '"one"'})
        for position in range(len(body)):
            handler.wfile.write(body[position : position + 1])
            if handler.server.ended.wait(pause):
                return

    return answer


def silent(body: bytes, after: int) -> Answer:
    """Some bytes, and then nothing until the server ends."""

    def answer(handler: Handler) -> None:
        handler.head(200, len(body), {"ETag": '"one"'})
        handler.wfile.write(body[:after])
        handler.wfile.flush()
        handler.server.ended.wait(60)

    return answer


def awaited(condition: Callable[[], bool], limit: float = 20.0) -> None:
    """Return when `condition` holds; fail after `limit` seconds."""
    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end, "the condition did not come to hold"
        time.sleep(0.01)
