"""A small S3 server in a thread, with faults to order; alone, or in front of moto.

It speaks what genbench asks for: objects with conditional writes, ranges, listings and deletions. Requests
go to `Memory`, or are handed on to a server that somebody else wrote (`Behind`), which referees `Memory`.
"""

import contextlib
import hashlib
import http.client
import random
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Protocol
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape, unescape


class Answer(NamedTuple):
    status: int
    body: bytes = b""
    headers: Mapping[str, str] = {}


class Server(Protocol):
    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer: ...


def refusal(status: int, code: str) -> Answer:
    return Answer(status, f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode())


@dataclass
class Memory:
    """Objects of the buckets that exist; without `conditions`, it ignores those of writes, as rclone does."""

    buckets: set[str] = field(default_factory=lambda: {"bucket"})
    conditions: bool = True
    denied: str = ""  # methods that are refused
    objects: dict[str, tuple[bytes, float]] = field(default_factory=dict)
    guard: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        split = urlsplit(target)
        bucket, _, name = unquote(split.path).lstrip("/").partition("/")
        query = parse_qs(split.query, keep_blank_values=True)
        if bucket not in self.buckets:
            return refusal(404, "NoSuchBucket")
        if method in self.denied.split():
            return refusal(403, "AccessDenied")
        with self.guard:
            if method == "POST" and "delete" in query:
                names = re.findall(r"<Key>(.*?)</Key>", body.decode())
                for found in names:
                    self.objects.pop(f"{bucket}/{unescape(found)}", None)
                done = "".join(f"<Deleted><Key>{found}</Key></Deleted>" for found in names)
                return Answer(200, f"<DeleteResult>{done}</DeleteResult>".encode())
            if not name:
                return self.listing(bucket, query)
            return getattr(self, method.lower())(f"{bucket}/{name}", headers, body)

    def listing(self, bucket: str, query: Mapping[str, list[str]]) -> Answer:
        prefix, after = query.get("prefix", [""])[0], query.get("continuation-token", [""])[0]
        names = sorted(one.partition("/")[2] for one in self.objects if one.startswith(f"{bucket}/{prefix}"))
        page = [name for name in names if name > after][:1000]
        is_cut = bool(page) and page[-1] != names[-1]
        inner = "".join(
            f"<Contents><Key>{escape(name)}</Key><Size>{len(content)}</Size><ETag>{tag_of(content)}</ETag>"
            f"<LastModified>{time.strftime('%Y-%m-%dT%H:%M:%S.000Z', time.gmtime(when))}</LastModified>"
            "</Contents>"
            for name in page
            for content, when in [self.objects[f"{bucket}/{name}"]]
        )
        more = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if is_cut else ""
        text = f"<IsTruncated>{str(is_cut).lower()}</IsTruncated>{more}{inner}"
        return Answer(200, f"<ListBucketResult>{text}</ListBucketResult>".encode())

    def put(self, name: str, headers: Mapping[str, str], body: bytes) -> Answer:
        there = self.objects.get(name)
        wanted = headers.get("if-match", "")
        if self.conditions and headers.get("if-none-match") == "*" and there is not None:
            return refusal(412, "PreconditionFailed")
        if self.conditions and wanted and there is None:
            return refusal(404, "NoSuchKey")
        if self.conditions and wanted and there is not None and wanted != tag_of(there[0]):
            return refusal(412, "PreconditionFailed")
        self.objects[name] = body, time.time()
        return Answer(200, b"", {"ETag": tag_of(body)})

    def get(self, name: str, headers: Mapping[str, str], body: bytes) -> Answer:
        if name not in self.objects:
            return refusal(404, "NoSuchKey")
        content, when = self.objects[name]
        modified = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(when))
        about = {"ETag": tag_of(content), "Last-Modified": modified}
        if "range" not in headers:
            return Answer(200, content, about)
        start, end = (int(part) for part in headers["range"].removeprefix("bytes=").split("-"))
        end = min(end, len(content) - 1)
        return Answer(
            206, content[start : end + 1], {**about, "Content-Range": f"bytes {start}-{end}/{len(content)}"}
        )

    head = get

    def delete(self, name: str, headers: Mapping[str, str], body: bytes) -> Answer:
        self.objects.pop(name, None)
        return Answer(204)


@dataclass
class Behind:
    """A server on a port of this machine."""

    port: int

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            line.request(method, target, body, dict(headers))
            got = line.getresponse()
            kept = {"etag", "last-modified", "content-range", "x-amz-version-id"}
            about = {name: value for name, value in got.getheaders() if name.lower() in kept}
            content = got.read()
            length = {"x-length": got.headers.get("Content-Length", "0")} if method == "HEAD" else {}
            return Answer(got.status, content, {**about, **length})
        finally:
            line.close()


def tag_of(content: bytes) -> str:
    return f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'


@dataclass
class Fault:
    """What goes wrong with requests.

    Attributes:
        kind: `lost`: the connection is cut before anything is done; `answer`: after it was done; `half`:
            after half of the content; `slow`: nothing, but it takes a while.
        method: Of the requests.
        name: A pattern of what they are about.
        times: How often.
        share: Of the requests that it could hit.
    """

    kind: str
    method: str = "GET|PUT|POST|HEAD|DELETE"
    name: str = ""
    times: int = 10**9
    share: float = 1.0


@dataclass
class Front:
    """What a test sees: the server's address, and what goes wrong."""

    server: Server
    address: str = ""
    faults: list[Fault] = field(default_factory=list)
    hit: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    chance: random.Random = field(default_factory=lambda: random.Random(1))
    guard: threading.Lock = field(default_factory=threading.Lock)

    def fault(self, method: str, target: str) -> str:
        with self.guard:
            self.asked.append(f"{method} {unquote(target)}")
            for one in self.faults:
                is_meant = re.fullmatch(one.method, method) and re.search(one.name, unquote(target))
                if is_meant and one.times > 0 and self.chance.random() < one.share:
                    one.times -= 1
                    self.hit.append(f"{one.kind} {method} {unquote(target)}")
                    return one.kind
        return ""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    front: Front

    def handle_one_request(self) -> None:
        with contextlib.suppress(ConnectionError):
            super().handle_one_request()
            return
        self.close_connection = True

    def serve(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        fault = self.front.fault(self.command, self.path)
        if fault == "lost" or (fault == "half" and self.command == "PUT"):
            self.rfile.read(length // 2)
            self.cut()
            return
        body = self.rfile.read(length)
        if fault == "slow":
            time.sleep(0.3)
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self.front.server.answer(self.command, self.path, headers, body)
        if fault == "answer":
            self.cut()
            return
        about = dict(answer.headers)
        size = about.pop("x-length", str(len(answer.body)))
        self.send_response(answer.status)
        for name, value in {**about, "Content-Length": size}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault == "half" and answer.status < 300:
            self.wfile.write(answer.body[: len(answer.body) // 2])
            self.cut()
            return
        self.wfile.write(answer.body)

    def cut(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = serve  # noqa: N815 - http.server's names

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


class Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing: clients come and go."""


@contextlib.contextmanager
def serving(server: Server) -> Iterator[Front]:
    """Serve on a port of this machine, in a thread."""
    front = Front(server)
    handler = type("Handler", (Handler,), {"front": front})
    listening = Quiet(("127.0.0.1", 0), handler)
    front.address = f"http://127.0.0.1:{listening.server_address[1]}"
    thread = threading.Thread(target=lambda: listening.serve_forever(0.02), daemon=True)
    thread.start()
    try:
        yield front
    finally:
        listening.shutdown()
        listening.server_close()


@contextlib.contextmanager
def moto() -> Iterator[Behind]:
    """Start moto's server."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=_plain(),
    )
    try:
        found = Behind(port)
        until = time.monotonic() + 60
        while time.monotonic() < until:
            with contextlib.suppress(OSError):
                found.answer("PUT", "/bucket", {}, b"")
                break
            time.sleep(0.1)
        yield found
    finally:
        process.kill()
        process.wait()


def _plain() -> dict[str, str]:
    import os

    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
