"""A key that leaves no trace: whether a text or an answer repeats it, plainly, in parts or encoded."""

import base64
import html
import os
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote, unquote

import numpy as np

from genbench.errors import UsageError
from genbench_generators.configs.image_variations import check_key

_PART = 8  # characters: the shortest part of a key that counts as one
_SEPARATORS = re.compile(r"[\W_]+", re.ASCII)  # what a part may be torn apart by
_WITHHELD = "[the service's message repeats the key; not shown]"
_READ_CHARACTERS = 4096  # of a message
_SHOWN_CHARACTERS = 200


class Secret:
    """A key. It is never printed, not even by a debugger that shows this object.

    Args:
        key: The key, or an empty string for none. One of fewer than eight characters is no secret ("none",
            "EMPTY"): it is masked in messages alone.
    """

    def __init__(self, key: str) -> None:
        self._key = key
        forms = tuple(_forms(key)) if len(key) >= _PART else ()
        self._loose = _parts(_compact(form) for form in forms)
        self._exact = _parts(forms)
        self._wholes = frozenset(_compact(form) for form in forms if len(_compact(form)) >= _PART)

    def __repr__(self) -> str:
        return "Secret(...)" if self._key else "Secret(none)"

    def __bool__(self) -> bool:
        return bool(self._key)

    def header(self) -> str:
        """Return what is sent to the service, and goes nowhere else."""
        return f"Bearer {self._key}"

    def shown(self, text: str) -> str:
        """Return the beginning of a text in one line, without the key; nothing of it if it holds parts."""
        text = text[:_READ_CHARACTERS]
        text = text.replace(self._key, "[key]") if self._key else text
        if any(self._repeated_in(reading) for reading in _readings(text)):
            return _WITHHELD
        line = " ".join(text.split())[:_SHOWN_CHARACTERS]
        return "".join(character if character.isprintable() else "?" for character in line)

    def is_in(self, content: bytes) -> bool:
        """Say whether data repeat eight characters of the key in a row, or the whole of it torn apart."""
        if not self._exact:
            return False
        return self._parts_in(content) or any(
            whole in compact
            for compact in map(_compact, _readings(content.decode("latin-1")))
            for whole in self._wholes
        )

    def _parts_in(self, content: bytes) -> bool:
        """Look at all places at once: a picture has millions, and some thousand parts may stand at each."""
        parts = np.frombuffer("".join(self._exact).encode(), np.uint64)
        starts = np.zeros(1 << 16, dtype=np.bool_)  # the first two bytes of parts: most places fall out here
        starts[parts & np.uint64(0xFFFF)] = True
        for shift in range(min(_PART, len(content) - _PART + 1)):
            words = np.frombuffer(content, np.uint64, (len(content) - shift) // _PART, shift)
            near = words[starts[words & np.uint64(0xFFFF)]]
            if np.isin(near, parts).any():
                return True
        return False

    def _repeated_in(self, text: str) -> bool:
        return not (
            _parts([text]).isdisjoint(self._exact) and _parts([_compact(text)]).isdisjoint(self._loose)
        )


def read_key(variable: str) -> Secret:
    """Read the key from an environment variable; no name of one means no key.

    Raises:
        UsageError: It is not set, or cannot be sent. The message names the variable, and not the value.
    """
    if not variable:
        return Secret("")
    check_key(variable)
    key = os.environ.get(variable, "").strip()
    if not all("!" <= character <= "~" for character in key):
        raise UsageError(
            f"image_variations: the key in {variable} holds a space, a line break or another character that "
            "no key has: printable ASCII is allowed",
            hint=f"export {variable}=..., or key_env= for a service that needs no key",
        )
    return Secret(key)


def _forms(key: str) -> Iterator[str]:
    """Yield what a key looks like: plain, reversed, for addresses, in hexadecimal and in base64."""
    yield from (key, key[::-1], quote(key, safe=""), key.encode().hex())
    for lead in range(3):  # where a key begins in a longer text decides how base64 writes it
        packed = base64.b64encode(bytes(lead) + key.encode())
        whole = packed[-(-lead * 8 // 6) : -4 if packed.endswith(b"=") else None].decode()
        yield whole
        yield whole.translate(str.maketrans("+/", "-_"))


def _parts(forms: Iterable[str]) -> frozenset[str]:
    return frozenset(form[at : at + _PART] for form in forms for at in range(len(form) - _PART + 1))


def _compact(text: str) -> str:
    return _SEPARATORS.sub("", text).casefold()


def _readings(text: str) -> Iterator[str]:
    """Yield a text as it stands, and without the encodings that hide a word in it."""
    yield text
    yield unquote(unquote(text))
    yield html.unescape(text)
    yield re.sub(
        r"\\u([0-9a-fA-F]{4})|\\x([0-9a-fA-F]{2})", lambda code: chr(int(code[1] or code[2], 16)), text
    )
