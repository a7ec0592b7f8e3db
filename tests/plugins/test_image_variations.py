"""`image_variations` against a service on this machine: what it asks, pays, keeps, and gives up on."""

import base64
import contextlib
import io
import json
import threading
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.message import Message
from email.parser import BytesParser
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from genbench.digest import file_digest
from genbench.errors import DataError, GenbenchError, Interrupted, UsageError
from genbench.images import TensorImages
from genbench.notation import parse_reference
from genbench.protocols import SampleRequest, SyntheticBatch
from genbench.registry import Registry
from genbench.spec import resolve
from genbench.testing.context import MemoryContext
from genbench.testing.suites import GeneratorConformance
from genbench_generators import _images_api
from genbench_generators._http import TIMED_OUT, sent
from genbench_generators._ledger import Ledger
from genbench_generators._secret import Secret
from genbench_generators.configs.image_variations import VariationsConfig
from genbench_generators.image_variations import ImageVariations

KEY = "sk-a-secret-that-nobody-may-see"
Reply = tuple[int, dict[str, str], bytes]


class Service:
    """An image service: inverts every image. `script` holds replies that come before it behaves."""

    def __init__(self) -> None:
        self.script: list[Reply | str] = []
        self.asked: list[dict[str, Any]] = []
        self.downloads: list[dict[str, str]] = []
        self.as_url = False
        self.lock = threading.Lock()
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                self._reply(service.answer(self.path, self.headers, body))

            def do_GET(self) -> None:
                service.downloads.append(dict(self.headers))
                with service.lock:
                    flaky = len(service.downloads) == 1
                content = bytes.fromhex(self.path.removeprefix("/made/"))
                self._reply((503, {}, b"") if flaky else (200, {}, content))

            def _reply(self, reply: Reply) -> None:
                self.send_response(reply[0])
                for name, value in {"Content-Length": str(len(reply[2])), **reply[1]}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(reply[2])

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as in the base class
                """Stay silent."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def answer(self, path: str, headers: Message, body: bytes) -> Reply:
        form = BytesParser().parsebytes(f"Content-Type: {headers['Content-Type']}\r\n\r\n".encode() + body)
        parts = {
            str(part.get_param("name", header="content-disposition")): part.get_payload(decode=True)
            for part in form.walk()
            if not part.is_multipart()
        }
        with self.lock:
            self.asked.append({"path": path, "key": headers["Authorization"], **parts})
            planned = self.script.pop(0) if self.script else "ok"
        if not isinstance(planned, str):
            return planned
        with Image.open(io.BytesIO(bytes(parts["image"]))) as image:
            inverted = Image.fromarray(255 - np.asarray(image)).resize((64, 64))
        content = io.BytesIO()
        inverted.save(content, format="PNG")
        if self.as_url:
            entry = {"url": f"{self.url}/made/{content.getvalue().hex()}"}
        else:
            entry = {"b64_json": base64.b64encode(content.getvalue()).decode()}
        return 200, {}, json.dumps({"data": [entry]}).encode()


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    running = Service()
    yield running
    running.server.shutdown()
    running.server.server_close()


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the client would have slept, instead of sleeping."""
    slept: list[float] = []
    monkeypatch.setattr(_images_api.time, "sleep", slept.append)
    return slept


class TestImageVariations(GeneratorConformance):
    component: ClassVar[str] = ""

    @pytest.fixture(autouse=True)
    def _running(self, service: Service) -> None:
        type(
            self
        ).component = f"image_variations:base_url={service.url},price_per_image_usd=0,upload_pixels=16"


def flat_images(count: int = 12) -> TensorImages:
    """Image i is grey of brightness 10 i: what becomes of it is known."""
    pixels = torch.arange(count)[:, None, None, None].expand(count, 3, 8, 8) * 10
    return TensorImages(pixels.byte(), np.arange(count, dtype=np.int64) % 2, ["cat", "dog"])


def options(service: Service, **others: Any) -> VariationsConfig:
    base = {
        "base_url": service.url,
        "price_per_image_usd": 0.25,
        "max_spend_usd": 100.0,
        "upload_pixels": 16,
        "parallel_requests": 1,
        "retries": 2,
    }
    return VariationsConfig(**{**base, **others})


def sampled(config: VariationsConfig, work: Path, count: int = 4, **fields: Any) -> SyntheticBatch:
    train, rows = flat_images(), np.arange(count, dtype=np.int64)
    request = SampleRequest(train.labels[rows], rows + 500, rows, train)
    batches = list(ImageVariations(config).sample(request, MemoryContext(work=work, **fields)))
    return SyntheticBatch(
        torch.cat([batch.images for batch in batches]),
        np.concatenate([batch.labels for batch in batches]),
        np.concatenate([batch.source_indices for batch in batches]),
        [prompt for batch in batches for prompt in batch.prompts or ()],
        [fault for batch in batches for fault in batch.faults or ()],
    )


def paid_usd(work: Path) -> float:
    lines = (work / "answers" / "paid.jsonl").read_text().splitlines()
    return sum(float(json.loads(line)["usd"]) for line in lines)


def error(status: int, message: str, **headers: str) -> Reply:
    return status, headers, json.dumps({"error": {"message": message}}).encode()


# ------------------------------------------------------------------------------------------ what is asked


def test_images_are_sent_with_a_prompt_of_their_class_and_come_back_in_order(
    service: Service, tmp_path: Path
) -> None:
    made = sampled(options(service, parallel_requests=3, prompt="one {label} more"), tmp_path, 8)
    assert made.images[:, 0, 0, 0].tolist() == [255 - 10 * row for row in range(8)]
    assert made.images.shape == (8, 3, 8, 8)
    assert made.faults == [""] * 8
    assert made.prompts == ["one cat more", "one dog more"] * 4
    assert made.source_indices.tolist() == list(range(8))
    assert len(service.asked) == 8
    first = next(asked for asked in service.asked if asked["prompt"] == b"one cat more")
    assert first["path"] == "/images/edits"
    assert first["key"] == f"Bearer {KEY}"
    assert (first["model"], first["size"], first["n"]) == (b"gpt-image-1", b"1024x1024", b"1")
    with Image.open(io.BytesIO(first["image"])) as image:
        assert (image.format, image.size) == ("PNG", (16, 16))


def test_source_s4_asks_for_variations_without_a_prompt(service: Service, tmp_path: Path) -> None:
    made = sampled(options(service, **VariationsConfig.presets["source-s4"]), tmp_path, 1)
    (asked,) = service.asked
    assert asked["path"] == "/images/variations"
    assert "prompt" not in asked
    assert made.prompts == [""]
    assert (asked["model"], asked["size"]) == (b"dall-e-2", b"256x256")
    with Image.open(io.BytesIO(asked["image"])) as image:
        assert image.size == (415, 415)


def test_images_that_come_as_addresses_are_fetched_without_the_key(
    service: Service, tmp_path: Path, waits: list[float]
) -> None:
    service.as_url = True
    made = sampled(options(service), tmp_path, 3)
    assert made.images[:, 0, 0, 0].tolist() == [255, 245, 235]
    assert len(service.downloads) == 4, "the first one failed once"
    assert len(service.asked) == 3, "and was not asked for, and paid, again"
    assert not any("Authorization" in headers for headers in service.downloads)
    assert len(waits) == 1


def test_a_local_file_is_no_address(service: Service, tmp_path: Path, waits: list[float]) -> None:
    secret = tmp_path / "secret.png"
    Image.new("RGB", (8, 8)).save(secret)
    body = json.dumps({"data": [{"url": secret.as_uri()}]}).encode()
    service.script = [(200, {}, body)] * 3
    assert sampled(options(service), tmp_path, 1).faults == ["failed"]


# -------------------------------------------------------------------------------------------- patience


def test_the_wait_is_what_the_service_asks_for(service: Service, tmp_path: Path, waits: list[float]) -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=40), usegmt=True)
    service.script = [
        error(429, "slowly", **{"Retry-After": "7"}),
        error(503, "later", **{"Retry-After": later}),
    ]
    made = sampled(options(service), tmp_path, 1)
    assert made.faults == [""]
    assert len(service.asked) == 3
    assert waits[0] == 7
    assert 35 < waits[1] <= 40
    assert paid_usd(tmp_path) == 0.25, "refusals cost nothing"


def test_otherwise_the_wait_doubles_with_jitter(service: Service, tmp_path: Path, waits: list[float]) -> None:
    service.script = [error(500, "broken")] * 4
    assert sampled(options(service, retries=4, backoff_seconds=8.0), tmp_path, 1).faults == [""]
    assert len(waits) == 4
    for attempt, seconds in enumerate(waits):
        assert 4 * 2**attempt <= seconds <= 8 * 2**attempt
    assert len({seconds / 2**attempt for attempt, seconds in enumerate(waits)}) == 4, "jitter"


@pytest.mark.parametrize(
    "nonsense",
    [
        b"<html>hello</html>",
        b"{}",
        b'{"data": []}',
        b'{"data": [{"b64_json": "!!"}]}',
        json.dumps({"data": [{"b64_json": base64.b64encode(b"no image").decode()}]}).encode(),
        b'{"data": [{"url": 3}]}',
    ],
)
def test_nonsense_makes_a_fault_after_the_retries(
    service: Service, tmp_path: Path, waits: list[float], nonsense: bytes
) -> None:
    service.script = ["ok", *[(200, {}, nonsense)] * 3]
    made = sampled(options(service), tmp_path, 3)
    assert made.faults == ["", "failed", ""]
    assert made.images[:, 0, 0, 0].tolist() == [255, 0, 235]
    assert len(service.asked) == 5
    assert paid_usd(tmp_path) == 1.25, "nonsense is billed, too"


def test_an_image_that_the_service_rejects_is_not_sent_again(service: Service, tmp_path: Path) -> None:
    service.script = ["ok", error(400, "not with our policy")]
    assert sampled(options(service), tmp_path, 3).faults == ["", "failed", ""]
    assert len(service.asked) == 3


def test_silence_ends_the_attempt_and_counts_as_paid(tmp_path: Path, waits: list[float]) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        config = VariationsConfig(
            base_url=f"http://127.0.0.1:{silent.getsockname()[1]}",
            price_per_image_usd=0.5,
            upload_pixels=8,
            key_env="",
            timeout_seconds=0.1,
            retries=1,
        )
        assert sampled(config, tmp_path, 1).faults == ["failed"]
    assert paid_usd(tmp_path) == 1.0
    assert len(waits) == 1


def test_a_service_that_always_fails_stops_the_run(
    service: Service, tmp_path: Path, waits: list[float]
) -> None:
    service.script = [error(400, "no such size")] * 20
    with pytest.raises(DataError, match=r"10 images in a row; the last problem: HTTP 400: no such size"):
        sampled(options(service), tmp_path, 12)
    assert len(service.asked) == 10


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refusal_stops_at_once_and_shows_no_key(service: Service, tmp_path: Path, status: int) -> None:
    service.script = [error(status, f"you sent {KEY}")]
    with pytest.raises(UsageError) as caught:
        sampled(options(service), tmp_path)
    assert f"refused: HTTP {status}: you sent [key]" in str(caught.value)
    assert "OPENAI_API_KEY" in str(caught.value)
    assert KEY not in str(caught.value)
    assert len(service.asked) == 1


def test_without_a_key_nothing_is_asked(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(UsageError, match="key_env names OPENAI_API_KEY, which is not set"):
        sampled(options(service), tmp_path)
    assert not service.asked
    sampled(options(service, key_env=""), tmp_path, 1)
    assert service.asked[0]["key"] is None


# --------------------------------------------------------------------------------------------- spending


def test_the_cap_stops_the_run_and_what_was_paid_for_is_kept(service: Service, tmp_path: Path) -> None:
    config = options(service, max_spend_usd=0.75)
    with pytest.raises(
        GenbenchError,
        match=r"max_spend_usd is 0\.75; 0\.75 USD are spent on 3 images, .*the next costs 0\.25",
    ):
        sampled(config, tmp_path, 5)
    assert len(service.asked) == 3
    with pytest.raises(GenbenchError, match="max_spend_usd"):
        sampled(config, tmp_path, 5)
    assert len(service.asked) == 3, "not one more request"
    made = sampled(options(service, max_spend_usd=1.25), tmp_path, 5)
    assert made.images[:, 0, 0, 0].tolist() == [255 - 10 * row for row in range(5)]
    assert len(service.asked) == 5, "three were there already"
    assert paid_usd(tmp_path) == 1.25


def test_the_cap_holds_for_requests_at_the_same_time(service: Service, tmp_path: Path) -> None:
    with pytest.raises(GenbenchError, match=r"0\.5 USD are spent on 2 images, with those under way"):
        sampled(options(service, max_spend_usd=0.5, parallel_requests=8), tmp_path, 8)
    assert len(service.asked) == 2
    assert paid_usd(tmp_path) == 0.5


def test_a_stopped_run_pays_for_nothing_twice(service: Service, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        sampled(options(service), tmp_path, 6, stop_after=2)
    assert len(service.asked) == 2
    first = sampled(options(service), tmp_path, 6)
    assert len(service.asked) == 6
    again = sampled(options(service), tmp_path, 6)
    assert len(service.asked) == 6
    assert torch.equal(first.images, again.images)


def test_a_payment_that_fails_is_given_back(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "paid.jsonl", 1.0, 1.0)
    ledger.reserve()
    with pytest.raises(GenbenchError):
        ledger.reserve()
    ledger.give_back()
    ledger.reserve()
    assert Ledger(tmp_path / "paid.jsonl", 1.0, 9.0).spent_usd == 1.0


def test_the_key_is_in_no_file_no_option_and_no_log(
    service: Service, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    service.script = ["ok", error(400, f"bad key {KEY}")]
    made = sampled(options(service), tmp_path, 3)
    assert made.faults == ["", "failed", ""]
    assert "bad key [key]" in caplog.text
    assert KEY not in caplog.text
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 3, "two answers and the ledger"
    assert not any(KEY.encode() in path.read_bytes() for path in files)
    assert KEY not in options(service).model_dump_json()


# -------------------------------------------------------------- what is not believed (and faults/http.py)


@pytest.mark.parametrize("key", ["sk-1234567890\nsecond", "sk-1234 567890", "sk-1234567890\u00e9"])
def test_a_key_that_cannot_be_sent_is_refused_and_not_shown(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    message = r"the key in OPENAI_API_KEY holds a space, a line break or another character that no key has"
    with pytest.raises(UsageError, match=message) as caught:
        sampled(options(service), tmp_path)
    assert "1234" not in str(caught.value)
    assert not service.asked


def test_a_redirect_is_not_followed_and_stops_the_run(service: Service, tmp_path: Path) -> None:
    service.script = [(302, {"Location": f"{service.url}/v2"}, b"")]
    with pytest.raises(
        UsageError, match=r"refused: HTTP 302: a redirect, and none is followed: set base_url"
    ):
        sampled(options(service), tmp_path)
    assert len(service.asked) == 1
    assert paid_usd(tmp_path) == 0


def test_an_address_of_another_host_is_not_fetched(
    service: Service, tmp_path: Path, caplog: pytest.LogCaptureFixture, waits: list[float]
) -> None:
    other = service.url.replace("127.0.0.1", "localhost")
    service.script = [(200, {}, json.dumps({"data": [{"url": f"{other}/made/00"}]}).encode())] * 3
    assert sampled(options(service), tmp_path, 1).faults == ["failed"]
    assert "names an address that is not on the host of base_url, and none other is fetched" in caplog.text
    assert not service.downloads


def test_an_answer_may_not_drip(tmp_path: Path) -> None:
    import socket
    import time

    def serve(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
            while True:
                connection.sendall(b"x")
                time.sleep(0.05)

    def drip(listening: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the client went away
            serve(listening)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=drip, args=(listening,), daemon=True).start()
        request = urllib.request.Request(f"http://127.0.0.1:{listening.getsockname()[1]}/")
        began = time.monotonic()
        assert sent(request, 0.5).status == TIMED_OUT
        assert 0.4 < time.monotonic() - began < 2


def test_what_was_paid_for_and_refused_is_kept_and_not_paid_for_again(
    service: Service, tmp_path: Path, waits: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    postscript = base64.b64encode(b"%!PS-Adobe-3.0").decode()
    service.script = [(200, {}, json.dumps({"data": [{"b64_json": postscript}]}).encode())] * 3
    assert sampled(options(service), tmp_path, 1).faults == ["failed"]
    assert "looks like PostScript" in caplog.text
    refused = sorted((tmp_path / "answers").glob("*.refused-*"))
    assert [path.read_bytes() for path in refused] == [b"%!PS-Adobe-3.0"] * 3
    assert sampled(options(service), tmp_path, 1).faults == ["failed"]
    assert "3 answers were paid for, and hold no image" in caplog.text
    assert len(service.asked) == 3
    for path in refused:
        path.unlink()
    assert sampled(options(service), tmp_path, 1).faults == [""]
    assert paid_usd(tmp_path) == 1.0


def test_an_answer_is_kept_before_it_is_looked_at(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(_images_api, "read_square", killed)
        with pytest.raises(KeyboardInterrupt):
            sampled(options(service), tmp_path, 1)
    assert paid_usd(tmp_path) == 0.25
    assert sampled(options(service), tmp_path, 1).faults == [""]
    assert len(service.asked) == 1
    assert paid_usd(tmp_path) == 0.25


def test_a_service_on_another_machine_gets_the_key_encrypted_or_none() -> None:
    with pytest.raises(ValidationError, match=r"send the key in OPENAI_API_KEY to gpu7 unencrypted"):
        VariationsConfig(price_per_image_usd=0, base_url="http://gpu7:8000/v1")
    VariationsConfig(price_per_image_usd=0, base_url="http://gpu7:8000/v1", key_env="")
    for url in ("https://x/v1?a=b", "https://x/v1#a", "https:///v1", "https://x\\y", "https://x:99999999/"):
        with pytest.raises(ValidationError):
            VariationsConfig(price_per_image_usd=0, base_url=url)


def test_a_secret_is_found_in_any_disguise_and_nowhere_else() -> None:
    secret = Secret(KEY)
    noise = np.random.default_rng(0).bytes(1 << 20)
    assert not secret.is_in(noise)
    assert not secret.is_in(base64.b64encode(noise))
    for hidden in (
        KEY,
        KEY[5:13],
        KEY[::-1],
        KEY.encode().hex(),
        base64.b64encode(b"ab" + KEY.encode()).decode(),
    ):
        assert secret.is_in(noise[:1001] + hidden.encode() + noise[:77]), hidden
        assert secret.shown(f"you sent {hidden}!") in {
            "you sent [key]!",
            "[the service's message repeats the key; not shown]",
        }
    assert secret.shown("a\x1b[2J plain\nmessage") == "a?[2J plain message"
    assert KEY not in repr(secret)
    assert not Secret("EMPTY").is_in(b"EMPTY")
    assert Secret("EMPTY").shown("EMPTY words") == "[key] words"


# ---------------------------------------------------------------------------------------------- options


def test_price_cap_and_patience_are_no_part_of_the_identity() -> None:
    def identity(text: str) -> Any:
        reference = parse_reference(f"image_variations:{text}")
        return resolve(Registry(), "generator", reference, "smoke", file_digest).identity

    first = identity("price_per_image_usd=0.02,max_spend_usd=1")
    assert identity("price_per_image_usd=0.04,max_spend_usd=9,retries=1,key_env=OTHER") == first
    assert identity("price_per_image_usd=0.02,model=other") != first
    with pytest.raises(UsageError, match="'price_per_image_usd' is missing"):
        identity("model=other")


def test_options_that_cannot_work_are_refused() -> None:
    with pytest.raises(ValidationError, match="only placeholder, found"):
        VariationsConfig(price_per_image_usd=0, prompt="a {name}")
    with pytest.raises(ValidationError, match="must begin with https"):
        VariationsConfig(price_per_image_usd=0, base_url="file:///etc")
    with pytest.raises(ValidationError, match="no user or password"):
        VariationsConfig(price_per_image_usd=0, base_url="https://me:secret@example.org")
