"""Requests by HTTP and HTTPS: proxies and certificates as the environment says, a limit on every wait, errors in words.

The library is imported when a request is made: it takes 60 ms, which no other command should pay.
"""

import ipaddress
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

from kvmrun.errors import KvmrunError, Refused, Unresponsive
from kvmrun.model.deadline import Deadline
from kvmrun.model.printable import printable
from kvmrun.model.value import EMPTY

_CONNECT = 15.0
_READ = 30.0
_REDIRECTS = 10
_LARGEST = 32 << 20
"""What a checksum file, a list of files or a stream may hold, in bytes."""
CHUNK = 256 << 10


class Cut(Exception):
    """The connection ended before the body did; `reason` says how."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def is_believed(url: str) -> bool:
    """Whether nobody on the way can change what comes from there: HTTPS, or a server on this host."""
    found = urlsplit(url)
    if found.scheme == "https" or found.hostname == "localhost":
        return True
    try:
        return ipaddress.ip_address(found.hostname or "").is_loopback
    except ValueError:
        return False


def fetch_document(url: str, deadline: Deadline) -> bytes:
    """A small document, whole. Raises Refused where a redirect leads from HTTPS to HTTP, KvmrunError for any fault."""
    data = bytearray()
    with response_to(url, deadline) as response:
        hops = [one.url for one in (*response.history, response)]
        if is_believed(hops[0]) and not all(map(is_believed, hops)):
            reason = f"it redirects to {printable(hops[-1], 200)}"
            raise Refused(f"{url} is not answered over HTTPS", "name another address", reason=reason)
        try:
            for chunk in chunks_of(response, deadline, url):
                data += chunk
                if len(data) > _LARGEST:
                    raise Refused(
                        f"{url} is too long", "correct the address", reason=f"it has more than {_LARGEST} bytes"
                    )
        except Cut as cut:
            raise KvmrunError(f"{url} was not received whole", "try again", reason=cut.reason) from None
        length = response.headers.get("Content-Length", "")
        if length.isdecimal() and len(data) < int(length):
            reason = f"{len(data)} of {length} bytes came"
            raise KvmrunError(f"{url} was not received whole", "try again", reason=reason)
    return bytes(data)


@contextmanager
def response_to(
    url: str, deadline: Deadline, headers: Mapping[str, str] = EMPTY, *, allowed: frozenset[int] = frozenset({200})
) -> Iterator[Any]:
    """The response, its body still to be read. Raises KvmrunError unless its status is one of `allowed`."""
    import requests  # only a command that downloads pays for it

    sent = {"Accept-Encoding": "identity", "User-Agent": "kvmrun"} | dict(headers)
    limits = (max(0.1, deadline.left(_CONNECT)), max(0.1, deadline.left(_READ)))
    with requests.Session() as session:
        session.max_redirects = _REDIRECTS
        try:
            response = session.get(url, headers=sent, stream=True, timeout=limits)
        except requests.RequestException as error:
            raise _failure(url, error) from None
        except ValueError as error:  # what urllib3 says of a redirect to an address that is none
            raise KvmrunError(f"{url} cannot be fetched", "correct the address", reason=printable(error, 200)) from None
        with response:
            if response.status_code not in allowed:
                raise _refusal(url, response.status_code)
            yield response


def chunks_of(response: Any, deadline: Deadline, url: str) -> Iterator[bytes]:
    """The body in pieces as they come. Raises Cut, and Unresponsive after the deadline or a long silence."""
    import urllib3  # after `response_to`, which has brought it

    while True:
        if deadline.is_over():
            raise Unresponsive(f"{url} was not received within {deadline.limit:g} s", "--timeout SECONDS")
        try:
            chunk = response.raw.read1(CHUNK)
        except urllib3.exceptions.ReadTimeoutError:
            if deadline.is_over():
                continue
            host = urlsplit(url).hostname
            reason = f"nothing came from {host} for {_READ:.0f} s"
            raise Unresponsive(f"{url} was not received whole", "try again", reason=reason) from None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Cut(printable(error, 200)) from None
        if not chunk:
            return
        yield chunk


def _failure(url: str, error: Exception) -> KvmrunError:
    """The error for a request that had no response."""
    import requests

    host = urlsplit(url).hostname
    reason = printable(_innermost(error), 200)
    if isinstance(error, requests.TooManyRedirects):
        return KvmrunError(f"{url} cannot be fetched", "correct the address", reason="it redirects without an end")
    if isinstance(error, requests.exceptions.SSLError):
        fix = "correct the clock, or name the certificate in REQUESTS_CA_BUNDLE"
        return KvmrunError(f"{host} is not trusted", fix, reason=reason)
    if isinstance(error, requests.exceptions.ProxyError):
        return KvmrunError(
            f"the proxy for {url} does not work", "correct http_proxy, https_proxy or no_proxy", reason=reason
        )
    if isinstance(error, requests.Timeout):
        return Unresponsive(f"{host} does not answer", "try again; --timeout SECONDS", reason=reason)
    if isinstance(error, requests.ConnectionError):
        return KvmrunError(f"{host} cannot be reached", "kvmrun doctor, or correct the address", reason=reason)
    return KvmrunError(f"{url} cannot be fetched", "correct the address", reason=reason)


def _innermost(error: BaseException) -> BaseException:
    """The first cause; the libraries wrap it several times."""
    for _ in range(8):
        inner = error.__cause__ or error.__context__
        with suppress(AttributeError):
            inner = inner or error.reason  # type: ignore[attr-defined]
        if not isinstance(inner, BaseException):
            break
        error = inner
    return error


def _refusal(url: str, status: int) -> KvmrunError:
    reason = f"the server answers with status {status}"
    if status in {404, 410}:
        return KvmrunError(f"there is no {url}", "kvmrun image pull --update pins the present build", reason=reason)
    fix = "try again later" if status >= 500 or status == 429 else "correct the address"
    return KvmrunError(f"{url} cannot be fetched", fix, reason=reason)
