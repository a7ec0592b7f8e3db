"""What a store needs of a server that keeps objects by name, and can make a write conditional."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, Protocol

from genbench.errors import StoreError


class RemoteError(StoreError):
    """The server cannot be reached, or refuses: what is done here is kept, and sent when it can be."""


class UnsupportedError(RemoteError):
    """The server knows no conditional writes, and says so."""


class DeniedError(RemoteError):
    """The server does not let us do that."""


class Tag(NamedTuple):
    """Names one content of an object, as its server does; a new content has another tag."""

    e_tag: str
    version: str = ""


class Found(NamedTuple):
    """An object that was read whole."""

    content: bytes
    tag: Tag
    modified: datetime  # by the server's clock


class Listed(NamedTuple):
    """An object as a listing shows it."""

    name: str
    size_bytes: int
    tag: Tag
    modified: datetime  # by the server's clock


class Objects(Protocol):
    """Objects by name, below one address. A name holds a whole content or none, never a part.

    Any of these may be called from several threads, and raises `RemoteError` where the server cannot be
    reached for a while, or refuses.
    """

    @property
    def address(self) -> str:
        """Where they are: `s3://bucket/prefix`."""
        ...

    def get(self, name: str) -> Found | None:
        """Read an object; None if there is none."""
        ...

    def fetch(self, name: str, path: Path, size_bytes: int) -> bool:
        """Write an object's content to a file; False if there is none.

        `size_bytes` is what it should have: the whole of another size is written all the same.
        """
        ...

    def put(self, name: str, content: bytes | Path) -> Tag:
        """Write an object, whatever was there."""
        ...

    def create(self, name: str, content: bytes) -> Tag | None:
        """Write an object unless there is one of another content; None if there is.

        An answer may be lost on its way: then the object that is found there may be ours. Where it matters
        who wrote it, the content holds a nonce.
        """
        ...

    def replace(self, name: str, content: bytes, tag: Tag) -> Tag | None:
        """Write an object if its content still is the one that `tag` names; None if it is not.

        As with `create`, an object of just this content counts as written by us.
        """
        ...

    def delete(self, names: Sequence[str]) -> None:
        """Delete objects; those that are not there are no error."""
        ...

    def delete_once(self, name: str) -> None:
        """Ask once, and never again, to delete an object, which may be there still."""
        ...

    def list(self, prefix: str) -> Iterator[Listed]:
        """Yield the objects whose names begin with a prefix, which ends in `/`, or all for an empty one."""
        ...
