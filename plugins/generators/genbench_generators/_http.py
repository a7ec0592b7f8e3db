"""One request to one host: no redirects, no other scheme, and an end to its size and its time.

A socket's timeout begins anew with every byte that comes; here what is left of the whole time is set before
each read, so that an answer cannot drip. An environment's proxy is used for https, which goes through it
encrypted, and not for http.
"""

import contextlib
import email.utils
import http.client
import io
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

OK = 200
UNREACHED, TIMED_OUT, TOO_LARGE, BROKEN_OFF = 0, -1, -2, -3  #: in place of a status
LARGEST_ANSWER_BYTES = 64 << 20  #: base64 of a noisy PNG of 4,096 x 4,096 pixels
_REDIRECTS = range(300, 400)
_CHUNK_BYTES = 1 << 16


class Answer(NamedTuple):
    """What came, or why nothing came.

    Attributes:
        status: Of HTTP; or `UNREACHED`, where the request did not arrive, and `TIMED_OUT`, `TOO_LARGE` or
            `BROKEN_OFF`, where it may have been answered.
        body: What came.
        retry_after_seconds: What the service asks for.
    """

    status: int
    body: bytes
    retry_after_seconds: float | None = None

    @property
    def is_redirect(self) -> bool:
        """Whether it names another address, which is not followed."""
        return self.status in _REDIRECTS


def sent(request: urllib.request.Request, timeout_seconds: float) -> Answer:
    """Send a request; every way to fail becomes an answer.

    Args:
        request: To an https or http address.
        timeout_seconds: For everything: connecting, sending, and the whole answer.
    """
    try:
        return _exchanged(request, timeout_seconds)
    except urllib.error.URLError as problem:  # while connecting or sending
        return Answer(UNREACHED, f"cannot be reached: {_named(problem.reason)}".encode())
    except TimeoutError:
        return Answer(TIMED_OUT, b"")
    except (OSError, http.client.HTTPException, ValueError) as problem:
        return Answer(BROKEN_OFF, f"the answer broke off: {_named(problem)}".encode())


def _named(problem: object) -> str:
    """Name a problem by its kind: its own words may quote what was sent."""
    return str(getattr(problem, "strerror", None) or type(problem).__name__)


def _exchanged(request: urllib.request.Request, timeout_seconds: float) -> Answer:
    deadline = time.monotonic() + timeout_seconds
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler({} if request.type == "http" else None),
        _Http(deadline),
        _Https(deadline),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),  # and no handler of redirects, of files or of anything else
    ):
        opener.add_handler(handler)
    try:
        reply = opener.open(request, timeout=timeout_seconds)
    except urllib.error.HTTPError as problem:
        reply = problem
    if reply is None:
        return Answer(UNREACHED, b"cannot be reached: no such scheme")
    with reply:
        status = int(reply.status or UNREACHED)
        asked = _retry_after_seconds(reply.headers.get("Retry-After"))
        body = bytearray()
        while chunk := reply.read(_CHUNK_BYTES):
            body += chunk
            if len(body) > LARGEST_ANSWER_BYTES:
                return Answer(TOO_LARGE if status == OK else status, b"")
        return Answer(status, bytes(body), asked)


class _Http(urllib.request.HTTPHandler):
    def __init__(self, deadline: float) -> None:
        super().__init__()
        self._deadline = deadline

    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_until(self._deadline, http.client.HTTPConnection), request)


class _Https(urllib.request.HTTPSHandler):
    def __init__(self, deadline: float) -> None:
        super().__init__()
        self._deadline = deadline

    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        make = _until(self._deadline, http.client.HTTPSConnection)
        return self.do_open(make, request, context=ssl.create_default_context())


def _until(
    deadline: float, kind: type[http.client.HTTPConnection]
) -> Callable[..., http.client.HTTPConnection]:
    """Return what makes a connection whose answer ends at a time of `time.monotonic`."""

    def make(host: str, **options: Any) -> http.client.HTTPConnection:
        connection = kind(host, **options)
        connection.response_class = partial(_Reply, deadline=deadline)  # type: ignore[assignment] # made in one way
        return connection

    return make


class _Reply(http.client.HTTPResponse):
    """An answer whose every byte, the headers' too, comes before a deadline."""

    def __init__(self, sock: Any, *arguments: Any, deadline: float, **options: Any) -> None:
        super().__init__(_Socket(sock, deadline), *arguments, **options)  # type: ignore[arg-type] # all that it uses


class _Socket:
    def __init__(self, sock: Any, deadline: float) -> None:
        self._sock, self._deadline = sock, deadline

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Stream(self._sock, self._sock.makefile(mode, buffering=0), self._deadline))


class _Stream(io.RawIOBase):
    def __init__(self, sock: Any, raw: io.RawIOBase, deadline: float) -> None:
        self._sock, self._raw, self._deadline = sock, raw, deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the answer drips")
        self._sock.settimeout(left)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


def _retry_after_seconds(value: str | None) -> float | None:
    """Read Retry-After: seconds, or a date (RFC 9110, Sec. 10.2.3)."""
    if not value:
        return None
    with contextlib.suppress(ValueError):
        return max(0.0, float(value))
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError, OSError):
        return None
