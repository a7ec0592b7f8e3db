"""Hostile image services: what they answer, where they lead, and how they repeat the key that they were sent.

Whatever comes, `image_variations` ends in time with a fault or a message; the key is in no file, log or
message in any form; nobody but the configured host is asked for anything; what was billed is entered once.
"""

import base64
import gzip
import io
import json
import logging
import os
import signal
import socket
import struct
import subprocess
import sys
import textwrap
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock
from urllib.parse import quote

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin

from faults.campaign import Size, Trial
from genbench.errors import GenbenchError
from genbench.images import TensorImages
from genbench.protocols import SampleRequest
from genbench.testing.context import MemoryContext
from genbench_generators import _http
from genbench_generators.configs.image_variations import VariationsConfig
from genbench_generators.image_variations import ImageVariations

KEY = "sk-proj-Zq7wX2+vB9_kL4mN8pR1tY6uI3oE5aS0dF"
PRICE = 0.25
TIMEOUT_SECONDS = 0.4
Reply = Callable[[socket.socket, bytes], None]


# ------------------------------------------------------------------------------------------------ services


@dataclass
class Service:
    """A server of single replies; `replies` come in their order, then honest pictures."""

    replies: list[Reply] = field(default_factory=list)
    asked: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._serve, daemon=True).start()

    def __enter__(self) -> "Service":
        return self

    def __exit__(self, *problem: object) -> None:
        self._socket.close()

    @property
    def posts(self) -> int:
        return sum(request.startswith(b"POST") for request in self.asked)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            connection.settimeout(10)
            try:
                request = _read_request(connection)
                self.asked.append(request)
                reply = self.replies.pop(0) if self.replies else honest
                reply(connection, request)
            except OSError:
                """The client has had enough."""


def _read_request(connection: socket.socket) -> bytes:
    content = b""
    while b"\r\n\r\n" not in content:
        content += (more := connection.recv(1 << 16))
        if not more:
            return content
    head, _, body = content.partition(b"\r\n\r\n")
    length = next(
        (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
    )
    while len(body) < length:
        body += (more := connection.recv(1 << 16))
        if not more:
            break
    return head + b"\r\n\r\n" + body


def raw(content: bytes) -> Reply:
    def reply(connection: socket.socket, request: bytes) -> None:
        connection.sendall(content)

    return reply


def http(status: int, body: bytes, reason: str = "Said", **headers: str) -> Reply:
    lines = [f"HTTP/1.1 {status} {reason}", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return raw("\r\n".join([*lines, "", ""]).encode("latin-1") + body)


def data(entry: object) -> Reply:
    return http(200, json.dumps({"data": [entry]}).encode())


def picture(content: bytes) -> Reply:
    return data({"b64_json": base64.b64encode(content).decode()})


def png(size: int = 16, text: Mapping[str, str] | None = None) -> bytes:
    notes = PngImagePlugin.PngInfo()
    for name, value in (text or {}).items():
        notes.add_text(name, value)
    content = io.BytesIO()
    Image.new("RGB", (size, size), (200, 10, 30)).save(content, "png", pnginfo=notes)
    return content.getvalue()


def honest(connection: socket.socket, request: bytes) -> None:
    picture(png())(connection, request)


def drip(head: bytes, piece: bytes = b"x") -> Reply:
    """Send a beginning, and then a byte at a time for ever."""

    def reply(connection: socket.socket, request: bytes) -> None:
        connection.sendall(head)
        while True:
            connection.sendall(piece)
            time.sleep(0.02)

    return reply


def flood(head: bytes) -> Reply:
    def reply(connection: socket.socket, request: bytes) -> None:
        connection.sendall(head)
        while True:
            connection.sendall(bytes(1 << 20))

    return reply


def reset(connection: socket.socket, request: bytes) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


# ------------------------------------------------------------------------------------------------ one trial


@dataclass(frozen=True)
class Outcome:
    """What a run said: its faults, or its error; with its log."""

    faults: list[str]
    said: str
    seconds: float


def sampled(service: Service, folder: Path, count: int = 1, **options: object) -> Outcome:
    """Sample images from a service, with what must hold whatever it does."""
    config = VariationsConfig.model_validate(
        {
            "base_url": service.url, "price_per_image_usd": PRICE, "max_spend_usd": 100.0, "upload_pixels": 8,
            "parallel_requests": 1, "retries": 1, "backoff_seconds": 0.0, "timeout_seconds": TIMEOUT_SECONDS,
            "key_env": "FAULTS_KEY", **options,
        }
    )  # fmt: skip
    train = TensorImages(torch.zeros(count, 3, 8, 8).byte(), np.zeros(count, dtype=np.int64), ["a", "b"])
    rows = np.arange(count, dtype=np.int64)
    request = SampleRequest(train.labels, rows, rows, train)
    ctx, log, faults, error = MemoryContext(work=folder), io.StringIO(), list[str](), ""
    handler = logging.StreamHandler(log)
    ctx.log.addHandler(handler)
    began = time.monotonic()
    try:
        with mock.patch.dict(os.environ, {"FAULTS_KEY": KEY}):
            for batch in ImageVariations(config).sample(request, ctx):
                faults += batch.faults or ()
    except GenbenchError:
        error = traceback.format_exc()
    finally:
        ctx.log.removeHandler(handler)
    return Outcome(faults, log.getvalue() + error, time.monotonic() - began)


def leaks(content: bytes) -> bool:
    """Say whether the key is in there: eight of its letters in a row, torn apart or encoded."""
    letters = "".join(one for one in content.decode("latin-1").lower() if one.isalnum())
    forms = [KEY, KEY[::-1], KEY.encode().hex(), quote(KEY, safe="")]
    forms += [base64.b64encode(b"x" * lead + KEY.encode()).decode()[4:-4] for lead in range(3)]
    for form in forms:
        plain = "".join(one for one in form.lower() if one.isalnum())
        if any(plain[at : at + 8] in letters for at in range(len(plain) - 7)):
            return True
    return False


def spent_usd(folder: Path) -> float:
    lines = (folder / "answers" / "paid.jsonl").read_text().splitlines()
    return sum(float(json.loads(line)["usd"]) for line in lines)


def check(folder: Path, outcome: Outcome, *, most_seconds: float) -> None:
    assert outcome.seconds < most_seconds, f"took {outcome.seconds:.1f} s"
    assert not leaks(outcome.said.encode()), "the key is in what was said"
    for path in folder.rglob("*"):
        assert not leaks(path.name.encode()), f"the key is in the name {path.name}"
        assert not path.is_file() or not leaks(path.read_bytes()), f"the key is in {path.name}"


def hostile(name: str, reply: Reply, *, billed: bool, download: Reply | None = None) -> Trial:
    """A service that always gives one reply (to a POST), and its address another."""

    def attempt(folder: Path) -> None:
        def always(connection: socket.socket, request: bytes) -> None:
            chosen = download if download is not None and request.startswith(b"GET") else reply
            chosen(connection, request)

        with Service() as trap, Service([always] * 40) as service:
            _TARGETS.update(trap=str(trap.port), own=str(service.port))
            with mock.patch.object(_http, "LARGEST_ANSWER_BYTES", 4 << 20):
                first = sampled(service, folder)
                check(folder, first, most_seconds=4 * TIMEOUT_SECONDS + 4)
                posts = service.posts
                assert posts in {1, 2}
                assert first.faults == ["failed"] or (not first.faults and first.said)
                assert spent_usd(folder) == (posts * PRICE if billed else 0)
                again = sampled(service, folder)
                check(folder, again, most_seconds=4 * TIMEOUT_SECONDS + 4)
            assert not trap.asked, f"somebody else was asked: {trap.asked[0][:60]!r}"
            assert not list(folder.rglob("*.answer-*"))
            if billed and posts == 2 and list(folder.rglob("*.refused-2")):
                assert service.posts == 2, "what was paid for was asked for again"
            assert spent_usd(folder) == (service.posts * PRICE if billed else 0)

    return Trial(name, attempt)


_TARGETS = {"trap": "", "own": ""}  # ports of the trial under way


def lead(address: str) -> Reply:
    """An answer with an address; TRAP is a port of somebody else, OWN that of the service."""

    def reply(connection: socket.socket, request: bytes) -> None:
        data({"url": _aimed(address)})(connection, request)

    return reply


def redirect(status: int, address: str) -> Reply:
    def reply(connection: socket.socket, request: bytes) -> None:
        http(status, b"", Location=_aimed(address))(connection, request)

    return reply


def _aimed(address: str) -> str:
    return address.replace("TRAP", _TARGETS["trap"]).replace("OWN", _TARGETS["own"])


# -------------------------------------------------------------------------------------------------- replies

NONSENSE: Mapping[str, bytes] = {
    "nothing": b"",
    "a list": b"[]",
    "no data": b"{}",
    "data that is an object": b'{"data": {}}',
    "an entry that is a list": b'{"data": [[]]}',
    "a number as picture": b'{"data": [{"b64_json": 7}]}',
    "a list as picture": b'{"data": [{"b64_json": ["x"]}]}',
    "broken base64": b'{"data": [{"b64_json": "!!!"}]}',
    "base64 that is not ASCII": '{"data": [{"b64_json": "\u00e9\u00e9"}]}'.encode(),
    "null as address": b'{"data": [{"url": null}]}',
    "an object as address": b'{"data": [{"url": {}}]}',
    "half a surrogate": b'{"data": [{"url": "\\ud800"}]}',
    "NaN": b"NaN",
    "depth": b"[" * 200_000,
    "depth in an entry": b'{"data": [{"b64_json": ' + b'{"a":' * 200_000,
    "a number of a million digits": b'{"data": ' + b"9" * 1_000_000 + b"}",
    "a million objects": b'{"data": [' + b"{}," * 1_000_000 + b"{}]}",
    "bytes that are no text": bytes(range(256)) * 40,
    "UTF-16": '{"data": []}'.encode("utf-16"),
    "HTML": b"<html><script>alert(1)</script></html>",
    "packed": gzip.compress(bytes(1 << 20)),
}
PICTURES: Mapping[str, bytes] = {
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n",
    "PDF": b"%PDF-1.7\n%%EOF",
    "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
    "half a PNG": png()[:60],
    "one byte": b"\x89",
    "text": b"hello",
}
ADDRESSES = (
    "http://127.0.0.1:TRAP/x.png",
    "http://localhost:TRAP/x.png",
    "http://localhost:OWN/x.png",
    "http://2130706433:TRAP/x.png",
    "http://[::ffff:127.0.0.1]:TRAP/x.png",
    "http://127.0.0.1:OWN@127.0.0.1:TRAP/x.png",
    "http://127.0.0.1:OWN\\@127.0.0.1:TRAP/x.png",
    "http://127.0.0.1:TRAP#@127.0.0.1:OWN/x.png",
    "http://127.0.0.1:TRAP?@127.0.0.1:OWN/x.png",
    "http:127.0.0.1:TRAP/x.png",
    "//127.0.0.1:TRAP/x.png",
    "HTTP://127.0.0.1:TRAP/x.png",
    "http://127.0.0.1:OWN.127.0.0.1:TRAP/x.png",
    "http://127.0.0.1:OWN\r\nHost: 127.0.0.1:TRAP/x.png",
    " http://127.0.0.1:TRAP/x.png",
    "https://127.0.0.1:OWN/x.png",
    "http://169.254.169.254/latest/meta-data",
    "ftp://127.0.0.1:TRAP/x.png",
    "file:///etc/passwd",
    "file://127.0.0.1:OWN/etc/passwd",
    "data:image/png;base64," + base64.b64encode(png()).decode(),
    "gopher://127.0.0.1:TRAP/x",
    "http://127.0.0.1:99999/x.png",
    "http://[::1/x.png",
    "http://",
    "x" * 100_000,
)
ENDLESS: Mapping[str, Reply] = {
    "headers that drip": drip(b"HTTP/1.1 200 OK\r\nX-Slow: "),
    "a body that drips": drip(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"),
    "a body without an end that drips": drip(b"HTTP/1.1 200 OK\r\n\r\n"),
    "chunks that drip": drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "100 Continue for ever": drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "silence": drip(b"", b""),
    "a flood": flood(b"HTTP/1.1 200 OK\r\n\r\n"),
    "a flood that claims to be short": flood(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n"),
}
BROKEN: Mapping[str, bytes] = {
    "no status": b"hello\r\n\r\n",
    "nothing at all": b"",
    "HTTP/9": b"HTTP/9.9 200 OK\r\n\r\n",
    "a status of letters": b"HTTP/1.1 abc OK\r\n\r\n",
    "a status line of a megabyte": b"HTTP/1.1 200 " + b"x" * (1 << 20),
    "a thousand headers": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000 + b"\r\n",
    "a chunk without a size": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "a chunk without an end": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffff\r\nx",
}


def _echoes(text: str) -> Iterator[tuple[str, Reply]]:
    """Yield replies that repeat a text, everywhere where one can stand."""
    message = json.dumps({"error": {"message": f"wrong key: {text}"}}).encode()
    for status in (400, 401, 429, 500):
        yield f"in an error {status}", http(status, message)
    yield "in an error that is no JSON", http(400, f"<p>{text}</p>".encode())
    yield "as a text after a long one", http(400, b"x " * 60 + text.encode())
    yield "in the reason", http(400, b"", reason=text)
    yield "in Retry-After", http(503, b"", Retry_After=text)
    yield "in Location", http(302, b"", Location=f"http://127.0.0.1/{quote(text)}")
    yield "as a status line", raw(f"HTTP/1.1 {text} OK\r\n\r\n".encode())
    yield "as a header line", raw(f"HTTP/1.1 400 OK\r\n{text}\r\n\r\n".encode())


def _disguises() -> Iterator[tuple[str, str]]:
    """Yield the key as a service may repeat it."""
    encoded = base64.b64encode(KEY.encode()).decode()
    yield "plain", KEY
    yield "its first half", KEY[: len(KEY) // 2]
    yield "its last ten letters", KEY[-10:]
    yield "in base64", encoded
    yield "with its name in base64", base64.b64encode(f"Bearer {KEY}".encode()).decode()
    yield "with a user in base64", base64.urlsafe_b64encode(f"me:{KEY}".encode()).decode()
    yield "in an address", quote(KEY, safe="")
    yield "in an address twice", quote(quote(KEY, safe=""), safe="")
    yield "with spaces", " ".join(KEY)
    yield "with dashes", "-".join(KEY)
    yield "in groups", " ".join(KEY[at : at + 4] for at in range(0, len(KEY), 4))
    yield "reversed", KEY[::-1]
    yield "in capitals", KEY.upper()
    yield "in hexadecimal", KEY.encode().hex()
    yield "in hexadecimal with colons", KEY.encode().hex(":")
    yield "as HTML", "".join(f"&#{ord(one)};" for one in KEY)
    yield "as escapes", "".join(f"\\u{ord(one):04x}" for one in KEY)


def _stolen(text: str) -> Iterator[tuple[str, Reply]]:
    """Yield answers that hold a text in what would be kept."""
    yield "in a picture's note", picture(png(text={"Comment": text}))
    yield "instead of a picture", picture(text.encode() * 3)
    yield "as base64", data({"b64_json": text})
    yield "in an address", lead(f"http://127.0.0.1:OWN/made?key={quote(text)}")
    yield "beside a picture", data({"b64_json": "", "revised_prompt": text})


# --------------------------------------------------------------------------------------------------- trials


def trials(size: Size) -> Iterator[Trial]:
    short = size == "short"
    every = [*_answers(), *_paths(), *_endings(), *_repetitions()]
    yield from every[::12] if short else every
    yield Trial("a service that repeats the key beside a picture is used, and the key dropped", _beside)
    yield Trial("keys that cannot be sent", _keys, count=len(KEYS))
    yield Trial("keys over unencrypted connections", _unencrypted, count=6)
    yield Trial("an address on the own host is fetched once, without the key", _own_address)
    yield Trial("an address that fails for a while is not paid for again", _later)
    moments = ("asked", "kept", "looked") if not short else ("kept",)
    for moment in moments:
        yield Trial(f"killed when the first answer is {moment}", lambda folder, m=moment: _killed(folder, m))
    for milliseconds in () if short else (0, 1, 2, 5, 10, 20, 50):
        yield Trial(
            f"killed {milliseconds} ms after the answer was sent",
            lambda folder, after=milliseconds: _killed(folder, "sent", after / 1000),
        )
    yield Trial("half an entry in the ledger", _torn)


def _answers() -> Iterator[Trial]:
    for name, body in NONSENSE.items():
        yield hostile(f"nonsense: {name}", http(200, body), billed=True)
    for name, content in PICTURES.items():
        yield hostile(f"no picture: {name}", picture(content), billed=True)
        yield hostile(f"no picture at the address: {name}", lead("http://127.0.0.1:OWN/x"), billed=True,
                      download=http(200, content))  # fmt: skip


def _paths() -> Iterator[Trial]:
    for address in ADDRESSES:
        yield hostile(f"address: {address[:50]!r}", lead(address), billed=True)
    for status in (300, 301, 302, 303, 304, 305, 307, 308, 399):
        yield hostile(f"redirect {status}", redirect(status, "http://127.0.0.1:TRAP/v1"), billed=False)
        yield hostile(f"redirect {status} of a picture", lead("http://127.0.0.1:OWN/x"), billed=True,
                      download=redirect(status, "http://127.0.0.1:TRAP/x.png"))  # fmt: skip
    for place in ("file:///etc/passwd", "ftp://127.0.0.1:TRAP/", "//127.0.0.1:TRAP/"):
        yield hostile(f"redirect to {place}", redirect(302, place), billed=False)


def _endings() -> Iterator[Trial]:
    for name, reply in ENDLESS.items():
        yield hostile(f"endless: {name}", reply, billed=True)
    for name, content in BROKEN.items():
        yield hostile(f"broken: {name}", raw(content), billed=True)
    yield hostile("broken: a reset", reset, billed=True)
    for status in (204, 206, 299, 400, 401, 403, 404, 418, 499, 500, 599, 999):
        yield hostile(f"status {status}", http(status, b"no"), billed=False)


def _repetitions() -> Iterator[Trial]:
    for how, text in _disguises():
        for where, reply in _echoes(text):
            yield hostile(f"the key {how} {where}", reply, billed="status line" in where)
        for where, reply in _stolen(text):
            if where != "beside a picture":
                yield hostile(f"the key {how} {where}", reply, billed=True)


def _beside(folder: Path) -> None:
    encoded = base64.b64encode(png()).decode()
    with Service([data({"b64_json": encoded, "revised_prompt": KEY})]) as service:
        outcome = sampled(service, folder)
        check(folder, outcome, most_seconds=5)
        assert outcome.faults == [""]


KEYS = (
    KEY + "\nsecond", KEY + "\r\nX: y", KEY[:9] + " " + KEY[9:], KEY + "\u00e9", "\u202e" + KEY, KEY + "\x00",
    KEY + "\x7f", KEY + "\t1", KEY[:5] + "\u2028" + KEY[5:],
)  # fmt: skip


def _keys(folder: Path) -> None:
    with Service() as service:
        for key in KEYS:
            with mock.patch(f"{__name__}.KEY", KEY), mock.patch("os.environ.get", _environment(key)):
                outcome = sampled(service, folder)
            check(folder, outcome, most_seconds=5)
            assert "the key in FAULTS_KEY holds a space, a line break or another character" in outcome.said
        assert not service.asked


def _environment(key: str) -> Callable[..., str]:
    """What `os.environ.get` gives: a process can be started with any bytes but NUL."""
    kept = dict(os.environ)
    return lambda name, default=None: key if name == "FAULTS_KEY" else kept.get(name, default)


def _unencrypted(folder: Path) -> None:
    for host in (
        "example.org",
        "127.0.0.1.example.org",
        "localhost.example.org",
        "10.0.0.1",
        "[::2]",
        "0.0.0.0",
    ):
        fields = {"price_per_image_usd": 0, "base_url": f"http://{host}/v1"}
        with pytest.raises(ValueError, match="unencrypted"):
            VariationsConfig.model_validate({**fields, "key_env": "FAULTS_KEY"})
        VariationsConfig.model_validate({**fields, "key_env": ""})


def _own_address(folder: Path) -> None:
    with Service([lead("HTTP://127.0.0.1:OWN/a/b.png?x=1&y=2#part"), http(200, png())]) as service:
        _TARGETS["own"] = str(service.port)
        assert sampled(service, folder).faults == [""]
        assert service.posts == 1
        fetched = service.asked[1]
    assert fetched.startswith(b"GET /a/b.png?x=1&y=2 HTTP/1.1")
    assert b"uthorization" not in fetched
    assert not leaks(fetched)
    assert spent_usd(folder) == PRICE


def _later(folder: Path) -> None:
    with Service([lead("http://127.0.0.1:OWN/x"), http(503, b""), http(503, b"")]) as service:
        _TARGETS["own"] = str(service.port)
        assert sampled(service, folder).faults == ["failed"]
        service.replies.append(http(200, png()))
        assert sampled(service, folder).faults == [""]
        assert service.posts == 1
    assert spent_usd(folder) == PRICE


_CHILD = textwrap.dedent(
    """
    import os, signal, sys
    from pathlib import Path
    from types import SimpleNamespace
    from unittest import mock
    from faults import http
    from genbench_generators import _images_api
    from genbench_generators._kept import Kept
    moment, port, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    def die(*arguments, **options):
        os.kill(os.getpid(), signal.SIGKILL)
    places = {"kept": (_images_api, "read_square"), "looked": (Kept, "accept")}
    service = SimpleNamespace(url=f"http://127.0.0.1:{port}")
    if moment in places:
        with mock.patch.object(*places[moment], die):
            http.sampled(service, folder, count=3)
    http.sampled(service, folder, count=3, timeout_seconds=20)
    """
)


def _killed(folder: Path, moment: str, after_seconds: float = 0.0) -> None:
    """Kill a process at its first answer; the one that resumes pays for no answer that was kept."""
    children = list[subprocess.Popen[bytes]]()

    def deadly(connection: socket.socket, request: bytes) -> None:
        if moment == "sent":
            honest(connection, request)
            time.sleep(after_seconds)
        if moment in {"sent", "asked"}:
            children[0].send_signal(signal.SIGKILL)
        else:
            honest(connection, request)

    with Service([deadly]) as service:
        command = [sys.executable, "-c", _CHILD, moment, str(service.port), str(folder)]
        paths = [str(Path(__file__).parents[1]), *sys.path]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
        children.append(subprocess.Popen(command, env=environment))
        assert children[0].wait(120) == -signal.SIGKILL
        posts = service.posts
        assert PRICE * posts <= spent_usd(folder) <= PRICE * (posts + 1), "one may be on its way"
        kept = [path for path in (folder / "answers").iterdir() if path.suffix not in {".jsonl", ".new"}]
        assert len(kept) == 1 or (moment == "asked" and not kept) or moment == "sent"
        outcome = sampled(service, folder, count=3)
        assert outcome.faults == ["", "", ""]
        assert service.posts == posts + 3 - len(kept)
    assert PRICE * service.posts <= spent_usd(folder) <= PRICE * (service.posts + 1)


def _torn(folder: Path) -> None:
    (folder / "answers").mkdir()
    (folder / "answers" / "paid.jsonl").write_bytes(b'{"usd": 0.25}\n{"us')
    with Service() as service:
        outcome = sampled(service, folder, max_spend_usd=0.5)
        assert "0.5 USD are spent on 2 images" in outcome.said
        assert not service.asked
        assert sampled(service, folder, max_spend_usd=0.75).faults == [""]
