"""A client of OpenAI-compatible image endpoints: retries, a spending cap, and a key that leaves no trace."""

import base64
import binascii
import contextlib
import email.utils
import http.client
import json
import random
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from genbench.errors import DataError, GenbenchError, UsageError
from genbench.image_files import open_image
from genbench_generators.configs.image_variations import VariationsConfig

_REFUSED = frozenset({401, 403, 404})
_AGAIN = frozenset({408, 409, 425, 429})
_OK, _SERVER_ERROR = 200, 500
_UNREACHED, _TIMED_OUT = 0, -1  # in place of a status
_LONGEST_WAIT_SECONDS = 3600.0
_LARGEST_ANSWER_BYTES = 64 << 20
_SHOWN_CHARACTERS = 200


class UnusableError(Exception):
    """No usable image came, and trying again will not help: the message says why."""


class Ledger:
    """What was paid, in a file that outlives the process; shared by threads.

    An answer counts when it came, whatever it holds, and a request that timed out counts, too: it may have
    been billed.

    Args:
        file: JSON lines, one per payment.
        price_usd: Price of one answer.
        cap_usd: What may be spent.
    """

    def __init__(self, file: Path, price_usd: float, cap_usd: float) -> None:
        self._file, self._price, self._cap = file, price_usd, cap_usd
        self._lock = threading.Lock()
        self._pending = 0
        lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
        self._spent = float(sum(json.loads(line)["usd"] for line in lines))
        self._answers = len(lines)

    @property
    def spent_usd(self) -> float:
        """What was paid so far, in this run and in those before it."""
        return self._spent

    def reserve(self) -> None:
        """Set one price aside.

        Raises:
            GenbenchError: The cap does not allow it.
        """
        with self._lock:
            committed = self._spent + self._pending * self._price
            if committed + self._price > self._cap * (1 + 1e-9):
                images = self._answers + self._pending
                raise GenbenchError(
                    f"image_variations: max_spend_usd is {self._cap:.4g}; {committed:.4g} USD are spent "
                    f"on {images} images, with those under way; the next costs {self._price:.4g}",
                    hint="raise max_spend_usd and run the same command again: what was paid for is kept",
                )
            self._pending += 1

    def settle(self, *, paid: bool) -> None:
        """Turn what was set aside into a payment, or give it back."""
        with self._lock:
            self._pending -= 1
            if paid:
                self._spent += self._price
                self._answers += 1
                with self._file.open("a", encoding="utf-8") as file:
                    file.write(json.dumps({"usd": self._price}) + "\n")


class _Answer(NamedTuple):
    status: int
    body: bytes
    retry_after_seconds: float | None = None


@dataclass(frozen=True)
class ImagesApi:
    """Asks for one image at a time; may be called from several threads.

    Attributes:
        config: Options.
        key: The key, or an empty string for none. It is sent to `base_url` and goes nowhere else.
        ledger: What is paid.
    """

    config: VariationsConfig
    key: str
    ledger: Ledger

    def image(self, png: bytes, prompt: str, seed: int) -> bytes:
        """Return an encoded image that was made of `png`.

        Raises:
            UnusableError: None came, after all attempts.
            UsageError: The service refuses the key, or does not know the endpoint or the model.
            GenbenchError: The spending cap is reached.
        """
        problem = ""
        for attempt in range(self.config.retries + 1):
            self.ledger.reserve()
            answer = _Answer(_UNREACHED, b"")
            try:
                answer = self._asked(png, prompt)
            finally:
                self.ledger.settle(paid=answer.status in {_OK, _TIMED_OUT})
            if answer.status == _OK:
                try:
                    return self._picture(answer.body, seed)
                except UnusableError as nonsense:
                    problem = str(nonsense)
            else:
                problem = self._explained(answer)
                if answer.status in _REFUSED:
                    raise self._refusal(problem)
                if not _worth_another(answer.status):
                    raise UnusableError(problem)
            if attempt < self.config.retries:
                time.sleep(self._wait_seconds(attempt, seed, answer.retry_after_seconds))
        raise UnusableError(f"{problem} ({self.config.retries + 1} attempts)")

    def _asked(self, png: bytes, prompt: str) -> _Answer:
        """Post one request."""
        side = self.config.size_pixels
        fields = {"model": self.config.model, "n": "1", "size": f"{side}x{side}"}
        if self.config.endpoint == "edits":
            fields["prompt"] = prompt
        boundary = uuid.uuid4().hex
        url = f"{self.config.base_url}/images/{self.config.endpoint}"
        request = urllib.request.Request(url, _multipart(fields, png, boundary), method="POST")
        request.add_header("Content-Type", f"multipart/form-data; boundary={boundary}")
        if self.key:
            request.add_unredirected_header("Authorization", f"Bearer {self.key}")
        return _sent(request, self.config.timeout_seconds)

    def _picture(self, body: bytes, seed: int) -> bytes:
        """Return the image in an answer.

        Raises:
            UnusableError: There is none.
        """
        try:
            entry = json.loads(body)["data"][0]
            encoded, url = entry.get("b64_json"), entry.get("url")
            content = base64.b64decode(encoded, validate=True) if encoded else self._downloaded(url, seed)
            with open_image(content, "the picture"):
                return content
        except (
            ValueError,
            KeyError,
            IndexError,
            TypeError,
            AttributeError,
            binascii.Error,
            OSError,
            DataError,
        ) as problem:
            raise UnusableError(f"the answer holds no image ({type(problem).__name__})") from None

    def _downloaded(self, url: str, seed: int) -> bytes:
        """Fetch an image that is paid for already; the key is not sent.

        Raises:
            UnusableError: It cannot be had.
        """
        if not str(url).startswith(("https://", "http://")):
            raise UnusableError("the answer holds neither b64_json nor a web address")
        answer = _Answer(_UNREACHED, b"")
        for attempt in range(self.config.retries + 1):
            answer = _sent(urllib.request.Request(url), self.config.timeout_seconds)
            if answer.status == _OK:
                return answer.body
            if not _worth_another(answer.status):
                break
            if attempt < self.config.retries:
                time.sleep(self._wait_seconds(attempt, seed, answer.retry_after_seconds))
        raise UnusableError(f"the image's address gave {self._explained(answer)}")

    def _wait_seconds(self, attempt: int, seed: int, asked_seconds: float | None) -> float:
        """Return the wait before the next attempt: what the service asks for, or doubling with jitter."""
        if asked_seconds is not None:
            return min(asked_seconds, _LONGEST_WAIT_SECONDS)
        longest = min(self.config.backoff_seconds * 2**attempt, _LONGEST_WAIT_SECONDS)
        return random.Random(seed * 31 + attempt).uniform(longest / 2, longest)

    def _explained(self, answer: _Answer) -> str:
        """Say what went wrong, without the key, which some services repeat."""
        if answer.status == _TIMED_OUT:
            return f"no answer within {self.config.timeout_seconds:g} seconds"
        text = answer.body.decode(errors="replace")
        with contextlib.suppress(ValueError, KeyError, TypeError):
            text = str(json.loads(text)["error"]["message"])
        text = text.replace(self.key, "[key]") if self.key else text
        shown = " ".join(text.split())[:_SHOWN_CHARACTERS]
        return shown if answer.status == _UNREACHED else f"HTTP {answer.status}: {shown}"

    def _refusal(self, problem: str) -> UsageError:
        return UsageError(
            f"image_variations: {self.config.base_url} refused: {problem}",
            hint=f"check the key in {self.config.key_env or 'key_env (which is empty)'}, base_url, "
            f"endpoint={self.config.endpoint} and model={self.config.model}",
        )


def _worth_another(status: int) -> bool:
    return status in _AGAIN or status in {_UNREACHED, _TIMED_OUT} or status >= _SERVER_ERROR


def _sent(request: urllib.request.Request, timeout_seconds: float) -> _Answer:
    """Send a request; every way to fail becomes an answer."""
    try:
        with urllib.request.urlopen(request, timeout=timeout_seconds) as reply:
            return _Answer(reply.status, reply.read(_LARGEST_ANSWER_BYTES))
    except urllib.error.HTTPError as problem:
        with problem:
            asked = _retry_after_seconds(problem.headers.get("Retry-After"))
            return _Answer(problem.code, problem.read(_LARGEST_ANSWER_BYTES), asked)
    except (OSError, http.client.HTTPException) as problem:
        reason = getattr(problem, "reason", problem)
        status = _TIMED_OUT if isinstance(reason, TimeoutError) else _UNREACHED
        return _Answer(status, f"cannot be reached: {reason}".encode())


def _retry_after_seconds(value: str | None) -> float | None:
    """Read Retry-After: seconds, or a date (RFC 9110, Sec. 10.2.3)."""
    if not value:
        return None
    with contextlib.suppress(ValueError):
        return max(0.0, float(value))
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


def _multipart(fields: Mapping[str, str], png: bytes, boundary: str) -> bytes:
    """Encode a form with one file, `image` (RFC 7578)."""
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="image.png"\r\n'
    parts += [head.encode(), b"Content-Type: image/png\r\n\r\n", png, f"\r\n--{boundary}--\r\n".encode()]
    return b"".join(parts)
