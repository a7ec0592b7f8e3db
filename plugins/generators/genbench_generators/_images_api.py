"""A client of OpenAI-compatible image endpoints: retries, a spending cap, and a key that leaves no trace.

What it receives is believed in nothing. No redirect is followed, and an address in an answer is fetched from
the host of `base_url` alone, without the key. An answer is kept as soon as it is there, before its picture is
looked at: what was paid for is not lost, and not paid for again.
"""

import base64
import contextlib
import json
import random
import time
import urllib.request
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from genbench.errors import DataError, UsageError
from genbench.images import read_square
from genbench_generators._http import BROKEN_OFF, OK, TIMED_OUT, TOO_LARGE, UNREACHED, Answer, sent
from genbench_generators._kept import Kept, Kind
from genbench_generators._ledger import Ledger
from genbench_generators._secret import Secret
from genbench_generators.configs.image_variations import VariationsConfig, origin

_REFUSED = frozenset({401, 403, 404})
_AGAIN = frozenset({408, 409, 425, 429, UNREACHED, TIMED_OUT, BROKEN_OFF, TOO_LARGE})
_BILLED = frozenset({OK, TIMED_OUT, BROKEN_OFF, TOO_LARGE})  # or perhaps: the service may have done its work
_SERVER_ERROR = 500
_LONGEST_WAIT_SECONDS = 3600.0
_MOST_JSON_PARTS = 10_000  # of an answer, which is a few fields around a long text
_LONGEST_ADDRESS = 8192
_PICTURE = "the picture in the answer"


class UnusableError(Exception):
    """No usable image came, and trying again will not help: the message says why."""


@dataclass(frozen=True)
class ImagesApi:
    """Asks for one image at a time; may be called from several threads.

    Attributes:
        config: Options.
        secret: The key. It is sent to `base_url` and goes nowhere else.
        ledger: What is paid.
    """

    config: VariationsConfig
    secret: Secret
    ledger: Ledger

    def image(self, png: bytes, prompt: str, seed: int, kept: Kept) -> Path:
        """Return the file of an image that was made of `png`: what is kept of earlier runs counts first.

        Raises:
            UnusableError: None came, after all attempts.
            UsageError: The service refuses the key, or does not know the endpoint or the model.
            GenbenchError: The spending cap is reached.
        """
        problem = self._looked_at(kept, seed)
        attempt = kept.refused
        while not kept.picture.is_file():
            if attempt > self.config.retries:
                raise UnusableError(f"{problem} ({attempt} attempts)")
            answer, problem = self._bought(png, prompt, kept)
            problem = self._looked_at(kept, seed, problem) if answer.status == OK else self._explained(answer)
            if answer.status in _REFUSED or answer.is_redirect:
                raise self._refusal(problem)
            if answer.status != OK and not _worth_another(answer.status):
                raise UnusableError(problem)
            if problem and attempt < self.config.retries:
                time.sleep(self._wait_seconds(attempt, seed, answer.retry_after_seconds))
            attempt += 1
        return kept.picture

    def _bought(self, png: bytes, prompt: str, kept: Kept) -> tuple[Answer, str]:
        """Ask once, and say why the answer is useless if that is known already.

        The price is entered before, and the answer is written before it is looked at.
        """
        self.ledger.reserve()
        answer, problem = self._asked(png, prompt), ""
        if answer.status == OK:
            kind, content = self._content(answer.body)
            kept.keep(kind, content)
            problem = content.decode() if kind == "refused" else ""
        if answer.status not in _BILLED:
            self.ledger.give_back()
        return answer, problem

    def _asked(self, png: bytes, prompt: str) -> Answer:
        """Post one request."""
        config, side = self.config, self.config.size_pixels
        fields = {"model": config.model, "n": "1", "size": f"{side}x{side}"}
        if config.endpoint == "edits":
            fields["prompt"] = prompt
        if config.model.startswith("dall-e"):
            fields["response_format"] = "b64_json"  # else these models answer with addresses of another host
        boundary = uuid.uuid4().hex
        url = f"{config.base_url}/images/{config.endpoint}"
        request = urllib.request.Request(url, _multipart(fields, png, boundary), method="POST")
        request.add_header("Content-Type", f"multipart/form-data; boundary={boundary}")
        if self.secret:
            request.add_unredirected_header("Authorization", self.secret.header())
        return sent(request, config.timeout_seconds)

    def _content(self, body: bytes) -> tuple[Kind, bytes]:
        """Return what of an answer is kept: the encoded image, its address, or why there is neither."""
        kind: Kind = "answer"
        try:
            if sum(map(body.count, (b"[", b"{", b","))) > _MOST_JSON_PARTS:
                raise ValueError("as objects, it would fill many times its size")
            entry = json.loads(body)["data"][0]
            if entry.get("b64_json"):
                content = base64.b64decode(entry["b64_json"], validate=True)
            else:
                kind, content = "address", entry["url"].encode("ascii")
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as problem:
            return "refused", f"the answer holds no image ({type(problem).__name__})".encode()
        return ("refused", b"the answer repeats the key") if self.secret.is_in(content) else (kind, content)

    def _looked_at(self, kept: Kept, seed: int, problem: str = "") -> str:
        """Look at what waits, and make what can be used the picture; return why nothing can (`problem`).

        Raises:
            UnusableError: A picture's address gives nothing at present. It stays, and is not paid for again.
        """
        last = problem or _paid_before(kept)
        for waiting in kept.waiting():
            try:
                fetched = waiting
                if ".address-" in waiting.name:
                    fetched = kept.fetch(waiting, self._downloaded(waiting.read_text("ascii"), seed))
                read_square(fetched, 8, _PICTURE)
            except DataError as refusal:
                kept.refuse(fetched)
                last = self.secret.shown(refusal.message)
            else:
                kept.accept(fetched)
                return ""
        return "" if kept.picture.is_file() else last

    def _downloaded(self, address: str, seed: int) -> bytes:
        """Fetch an image that is paid for already; the key is not sent.

        Raises:
            DataError: It is not to be had, or not from this host.
            UnusableError: The host gives nothing at present.
        """
        request, answer = urllib.request.Request(self._own_address(address)), Answer(UNREACHED, b"")
        for attempt in range(self.config.retries + 1):
            answer = sent(request, self.config.timeout_seconds)
            if answer.status == OK:
                if self.secret.is_in(answer.body):
                    raise DataError("the picture repeats the key")
                return answer.body
            if not _worth_another(answer.status):
                raise DataError(f"the image's address gave {self._explained(answer)}")
            if attempt < self.config.retries:
                time.sleep(self._wait_seconds(attempt, seed, answer.retry_after_seconds))
        raise UnusableError(f"the image's address gave {self._explained(answer)}; it is kept")

    def _own_address(self, address: str) -> str:
        """Return an address in an answer, put together anew with the scheme and host of `base_url`.

        Raises:
            DataError: It names another scheme, host or port, or is none.
        """
        plain = len(address) <= _LONGEST_ADDRESS and all("!" <= one <= "~" for one in address)
        try:
            ours = plain and not set("\\@") & set(address) and origin(address) == origin(self.config.base_url)
        except ValueError:
            ours = False
        if not ours:
            raise DataError(
                "the answer names an address that is not on the host of base_url, and none other is fetched: "
                "choose a model or service that answers with b64_json"
            )
        parts, base = urlsplit(address), urlsplit(self.config.base_url)
        query = f"?{parts.query}" if parts.query else ""
        return f"{base.scheme}://{base.netloc}/{parts.path.lstrip('/')}{query}"

    def _wait_seconds(self, attempt: int, seed: int, asked_seconds: float | None) -> float:
        """Return the wait before the next attempt: what the service asks for, or doubling with jitter."""
        if asked_seconds is not None:
            return min(asked_seconds, _LONGEST_WAIT_SECONDS)
        longest = min(self.config.backoff_seconds * 2**attempt, _LONGEST_WAIT_SECONDS)
        return random.Random(seed * 31 + attempt).uniform(longest / 2, longest)

    def _explained(self, answer: Answer) -> str:
        """Say what went wrong, without the key, which some services repeat."""
        if answer.status == TIMED_OUT:
            return f"no whole answer within {self.config.timeout_seconds:g} seconds"
        if answer.status == TOO_LARGE:
            return "the answer is larger than any image"
        if answer.is_redirect:
            return f"HTTP {answer.status}: a redirect, and none is followed: set base_url to where it leads"
        text = answer.body.decode(errors="replace")
        with contextlib.suppress(ValueError, LookupError, TypeError, RecursionError):
            text = str(json.loads(text)["error"]["message"])
        shown = self.secret.shown(text)
        return shown if answer.status in {UNREACHED, BROKEN_OFF} else f"HTTP {answer.status}: {shown}"

    def _refusal(self, problem: str) -> UsageError:
        return UsageError(
            f"image_variations: {self.config.base_url} refused: {problem}",
            hint=f"check the key in {self.config.key_env or 'key_env (which is empty)'}, base_url, "
            f"endpoint={self.config.endpoint} and model={self.config.model}",
        )


def _paid_before(kept: Kept) -> str:
    name = kept.picture.name
    return (
        f"{kept.refused} answers were paid for, and hold no image: {name}.refused-*" if kept.refused else ""
    )


def _worth_another(status: int) -> bool:
    return status in _AGAIN or status >= _SERVER_ERROR


def _multipart(fields: Mapping[str, str], png: bytes, boundary: str) -> bytes:
    """Encode a form with one file, `image` (RFC 7578)."""
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="image.png"\r\n'
    parts += [head.encode(), b"Content-Type: image/png\r\n\r\n", png, f"\r\n--{boundary}--\r\n".encode()]
    return b"".join(parts)
