"""Buckets of S3, Google Cloud Storage and Azure, and of servers that speak their language, through obstore.

Credentials are those that obstore finds in the environment (`AWS_*`, `GOOGLE_*`, `AZURE_*`). obstore is
imported where an address is opened, and nowhere else.
"""

import contextlib
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from genbench.errors import StoreError, UsageError
from genbench.remote.objects import DeniedError, Found, Listed, RemoteError, Tag, UnsupportedError

if TYPE_CHECKING:
    from obstore.store import ObjectStore

T = TypeVar("T")
SCHEMES = ("s3", "gs", "az")
PATIENCE_SECONDS = 60.0  #: how long a server that cannot be reached is asked again
_OPENING_SECONDS = 8.0  # as above, for the first question: who typed a wrong address waits for it
_REQUEST_SECONDS = 60.0  # of one request: a part of a file, or less
_PART_BYTES, _PARTS = 8 * 2**20, 4
_TRUE = frozenset({"1", "true", "yes", "on"})
#: Parts of obstore's messages, which has one class of error for all of these.
_NO_BUCKET = re.compile(r"NoSuchBucket|bucket does not exist|ContainerNotFound|InvalidBucketName")
_NO_CREDENTIALS = re.compile(
    r"169\.254\.169\.254|/latest/api/token|metadata\.google\.internal|Account must be specified|credential|"
    r"Missing (Access|Secret)",
    re.I,
)
_DENIED = re.compile(r": 40[13] ")
_LASTING = re.compile(r"status code: (4(?!08|09|23|25|29)\d\d|501)|builder error")
_UNSUPPORTED = re.compile(r"status code: 501|NotImplemented")
_INSTALL = "pip install 'genbench[cloud]'"


def is_address(text: str) -> bool:
    """Say whether a store's name is an address rather than a folder.

    >>> is_address("s3://bucket/prefix"), is_address("results/store")
    (True, False)
    """
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text) is not None


def open_bucket(address: str) -> "Bucket":
    """Return the objects below an address; nothing is asked of the server yet.

    Raises:
        UsageError: It is no address that genbench knows, or obstore is not installed.
    """
    clean = _checked(address)
    if find_spec("obstore") is None:
        raise UsageError(f"--store {clean}: stores in a bucket need the package obstore", hint=_INSTALL)
    return Bucket(clean)


def _checked(address: str) -> str:
    """Return an address without a slash at its end, if it is one."""
    scheme, _, rest = address.partition("://")
    if scheme not in SCHEMES:
        known = ", ".join(f"{one}://" for one in SCHEMES)
        raise UsageError(
            f"--store {address}: genbench knows folders, and {known}",
            hint="--store s3://BUCKET/PREFIX; a server of your own: AWS_ENDPOINT_URL=https://HOST:PORT",
        )
    if not urlsplit(address).netloc or re.search(r"[\s?#]|/\.{1,2}(/|$)|//", rest):
        raise UsageError(f"--store {address}: no bucket and prefix", hint=f"--store {scheme}://BUCKET/PREFIX")
    return address.rstrip("/")


class Bucket:
    """Objects below an address, by obstore: an implementation of `genbench.remote.Objects`.

    Args:
        address: `s3://bucket/prefix`.
    """

    def __init__(self, address: str) -> None:
        self._address = address

    @property
    def address(self) -> str:
        """Where the objects are."""
        return self._address

    def check(self, newest_layout: int) -> None:
        """Ask the server a first question, so that what was typed wrongly is known at once.

        Args:
            newest_layout: The largest number of a layout that this genbench can read.

        Raises:
            UsageError: There is no such bucket, there are no credentials, http is not allowed, or a newer
                genbench made the store.
            RemoteError: The server cannot be reached, or refuses.
        """
        found = self._answered(
            lambda obstore: obstore.list(self._store, "layout").collect(), _OPENING_SECONDS, is_opening=True
        )
        layouts = [int(number) for meta in found if (number := meta["path"].rpartition("/")[2]).isdigit()]
        if max(layouts, default=0) > newest_layout:
            raise UsageError(
                f"{self._address}: a newer genbench keeps its results here, in layout {max(layouts)}",
                hint="pip install --upgrade genbench",
            )

    def get(self, name: str) -> Found | None:
        """Read an object; None if there is none."""

        def read(obstore: Any) -> Found | None:
            try:
                found = obstore.get(self._store, name)
                return Found(bytes(found.bytes()), _tag(found.meta), found.meta["last_modified"])
            except FileNotFoundError as problem:
                self._check_bucket(problem)
                return None

        return self._asked(read)

    def fetch(self, name: str, path: Path, size_bytes: int) -> bool:
        """Write an object's content to a file; False if there is none.

        What should be no larger than a part is asked for at once, of others the size is asked for first.
        """

        def read(obstore: Any) -> tuple[int, bytes]:
            if size_bytes > _PART_BYTES:
                return obstore.head(self._store, name)["size"], b""
            found = obstore.get(self._store, name)
            size = found.meta["size"]
            return size, bytes(found.bytes()) if size <= _PART_BYTES else b""

        try:
            size, content = self._asked(read)
        except FileNotFoundError:
            return False
        with path.open("wb") as file:  # a folder that went away here is no object that is missing there
            file.write(content)
            for start in range(len(content), size, _PART_BYTES):
                try:
                    part = self._part(name, start, min(start + _PART_BYTES, size))
                except FileNotFoundError:
                    return False
                file.write(part)
        return True

    def put(self, name: str, content: bytes | Path) -> Tag:
        """Write an object, whatever was there; a file in parts, of which none is seen before the last."""
        sizes = {"chunk_size": _PART_BYTES, "max_concurrency": _PARTS}
        return _tag(self._asked(lambda obstore: obstore.put(self._store, name, content, **sizes)))

    def create(self, name: str, content: bytes) -> Tag | None:
        """Write an object unless there is one of another content; None if there is."""
        return self._written(name, content, "create")

    def replace(self, name: str, content: bytes, tag: Tag) -> Tag | None:
        """Write an object if its content still is the one that `tag` names; None if it is not."""
        mode = {"e_tag": tag.e_tag, "version": tag.version}
        return self._written(name, content, {kind: value for kind, value in mode.items() if value})

    def delete(self, names: Sequence[str]) -> None:
        """Delete objects; those that are not there are no error."""

        def remove(obstore: Any) -> None:
            try:
                obstore.delete(self._store, list(names))
            except FileNotFoundError:  # where it is one, the others must go one by one
                for name in names:
                    try:
                        obstore.delete(self._store, name)
                    except FileNotFoundError:
                        continue

        if names:
            self._asked(remove)

    def delete_once(self, name: str) -> None:
        """Ask once, and never again, to delete an object, which may be there still."""
        with contextlib.suppress(FileNotFoundError):
            self._asked(lambda obstore: obstore.delete(self._hasty, name), seconds=0.0)

    def list(self, prefix: str) -> Iterator[Listed]:
        """Yield the objects whose names begin with a prefix."""
        found = self._asked(lambda obstore: obstore.list(self._store, prefix.rstrip("/") or None).collect())
        for meta in found:
            yield Listed(meta["path"], meta["size"], _tag(meta), meta["last_modified"])

    # --------------------------------------------------------------------------------------------- private

    @cached_property
    def _store(self) -> "ObjectStore":
        return self._opened(2)

    @cached_property
    def _hasty(self) -> "ObjectStore":
        """As above, but no request is repeated."""
        return self._opened(0)

    def _opened(self, retries: int) -> "ObjectStore":
        """Let obstore read the environment, when something is asked for: a worker gets its secrets late."""
        from obstore.store import from_url

        options: dict[str, Any] = {
            "timeout": timedelta(seconds=_REQUEST_SECONDS),
            "connect_timeout": timedelta(seconds=5),
            "allow_http": os.environ.get("AWS_ALLOW_HTTP", "").lower() in _TRUE,
            "user_agent": "genbench",
        }
        opened: Any = from_url  # its types depend on the scheme
        # Parts of one upload are repeated by obstore, whole requests by `_asked`.
        retry = {"max_retries": retries, "retry_timeout": timedelta(seconds=10)}
        try:
            found: ObjectStore = opened(self._address, client_options=options, retry_config=retry)
        except Exception as problem:  # obstore has one class for all of them
            raise _refused(self._address, problem) from problem
        return found

    def _part(self, name: str, start: int, end: int) -> bytes:
        return bytes(self._asked(lambda obstore: obstore.get_range(self._store, name, start=start, end=end)))

    def _written(self, name: str, content: bytes, mode: Any) -> Tag | None:
        import obstore.exceptions as problems

        def write(obstore: Any) -> Tag:
            made = obstore.put(self._store, name, content, mode=mode, use_multipart=False)
            return _tag(made)

        try:
            return self._asked(write)
        except (problems.AlreadyExistsError, problems.PreconditionError):
            # The answer to an earlier attempt of ours may have been lost on its way.
            there = self.get(name)
            return there.tag if there is not None and there.content == content else None
        except FileNotFoundError as problem:  # to replace what is not there
            self._check_bucket(problem)
            return None

    def _check_bucket(self, problem: FileNotFoundError) -> None:
        """Tell an object that is not there from a bucket that is not."""
        if _NO_BUCKET.search(str(problem)):
            raise _in_passing(_refused(self._address, problem)) from problem

    def _asked(self, question: Callable[[Any], T], seconds: float | None = None) -> T:
        """Ask the server, again and again while it cannot be reached; every answer is passed on.

        Whoever asks has a store that was opened: that its credentials are not to be had now, since the
        machine's own server for them does not answer, is trouble of the network, and nothing typed wrongly.
        """
        wait = PATIENCE_SECONDS if seconds is None else seconds
        try:
            return self._answered(question, wait)
        except UsageError as problem:
            raise _in_passing(problem) from problem

    def _answered(self, question: Callable[[Any], T], seconds: float, *, is_opening: bool = False) -> T:
        """Ask the server for so long.

        What may be repeated is repeated: a conditional write whose answer was lost fails its condition then,
        and is read back.
        """
        import obstore
        import obstore.exceptions as problems

        until = time.monotonic() + seconds
        pause = 0.1
        while True:
            try:
                return question(obstore)
            except (FileNotFoundError, problems.AlreadyExistsError, problems.PreconditionError):
                raise
            except problems.BaseError as problem:
                is_lasting = _is_lasting(problem) or (is_opening and _lacks_credentials(problem))
                if is_lasting or time.monotonic() + pause > until:
                    raise _refused(self._address, problem) from problem
            time.sleep(pause)
            pause = min(2 * pause, 5.0)


def _tag(meta: Mapping[str, Any]) -> Tag:
    return Tag(meta.get("e_tag") or "", meta.get("version") or "")


def _is_lasting(problem: Exception) -> bool:
    """Say whether asking again would be answered alike."""
    import obstore.exceptions as problems

    lasting = problems.PermissionDeniedError | problems.UnauthenticatedError | problems.NotSupportedError
    if isinstance(problem, lasting):
        return True
    said = str(problem)
    return bool(_LASTING.search(said) or _NO_BUCKET.search(said))


def _lacks_credentials(problem: Exception) -> bool:
    return _NO_CREDENTIALS.search(_first(str(problem))) is not None


def _in_passing(problem: StoreError | UsageError) -> StoreError:
    """Return as trouble of the server what would be wrongly typed, were it the first question."""
    return problem if isinstance(problem, StoreError) else RemoteError(problem.message, hint=problem.hint)


def _refused(address: str, problem: Exception) -> StoreError | UsageError:
    """Return what went wrong in one message of ours."""
    said = _first(str(problem))
    if _NO_BUCKET.search(str(problem)):
        return UsageError(f"{address}: there is no such bucket", hint=_making(address))
    if _lacks_credentials(problem):
        return UsageError(
            f"{address}: no credentials were found",
            hint="AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_SKIP_SIGNATURE=true for a public "
            "bucket (gs://: GOOGLE_SERVICE_ACCOUNT; az://: AZURE_STORAGE_ACCOUNT_NAME and ..._KEY)",
        )
    if "builder error" in said:
        return UsageError(
            f"{address}: its server is asked by http, which is not encrypted",
            hint="AWS_ALLOW_HTTP=true allows that; or name an https:// address in AWS_ENDPOINT_URL",
        )
    if _DENIED.search(said) or type(problem).__name__ in {"PermissionDeniedError", "UnauthenticatedError"}:
        return DeniedError(
            f"{address}: the server refuses: {said}",
            hint="the credentials of the environment (AWS_*) need the right to do that",
        )
    if _UNSUPPORTED.search(str(problem)) or type(problem).__name__ == "NotSupportedError":
        return UnsupportedError(f"{address}: the server does not know how to do that: {said}")
    return RemoteError(
        f"cannot reach {address}: {said}",
        hint="the same command resumes when the network is back; finished work is kept. AWS_ENDPOINT_URL "
        f"is {os.environ.get('AWS_ENDPOINT_URL') or os.environ.get('AWS_ENDPOINT') or 'not set'}",
    )


def _making(address: str) -> str:
    bucket = urlsplit(address).netloc
    made = {"s3": f"aws s3 mb s3://{bucket}", "gs": f"gcloud storage buckets create gs://{bucket}"}
    made["az"] = f"az storage container create --name {bucket}"
    return f"{made[urlsplit(address).scheme]}   makes it; or name another one with --store"


_SAID = re.compile(r"performing (?P<what>\w+) (?P<where>[^\s?]+)\S* in .*? - (?P<answer>[^<]*)", re.S)


def _first(said: str) -> str:
    """Return what people can read of obstore's message: `GET http://host/bucket: 403 Forbidden`."""
    line = said.partition("\n")[0]
    found = _SAID.search(line)
    if found is None:
        return line[:300]
    answer = found["answer"].removeprefix("Server returned non-2xx status code:").strip(" :")
    return f"{found['what']} {found['where']}: {answer}"[:300]
