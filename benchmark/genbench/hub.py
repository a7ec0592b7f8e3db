"""Files that are named by a Hugging Face Hub id: from a mirror folder, the local cache, or the network.

`GENBENCH_HUB_MIRROR` names a folder with `<org>/<name>/...` laid out as on the Hub: what an air-gapped
cluster needs. It is read first; then the Hub's cache on this machine; then, unless `HF_HUB_OFFLINE=1`, the
Hub itself.
"""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from fnmatch import fnmatch
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

from genbench.errors import DataError, GenbenchError, unusable_path

MIRROR_VARIABLE = "GENBENCH_HUB_MIRROR"
_SECONDS_TO_ASK = 5.0
_Made = TypeVar("_Made")


class Absent(NamedTuple):
    """Files that are neither in the mirror nor in the cache: a run fetches them first."""

    repository: str
    patterns: tuple[str, ...]
    kind: Literal["dataset", "model"]

    def download_bytes(self) -> int | None:
        """Ask the Hub how large they are; None where it cannot be asked, or does not say."""
        if os.environ.get("HF_HUB_OFFLINE") == "1":
            return None
        try:
            from huggingface_hub import HfApi

            about = HfApi().repo_info(
                self.repository, repo_type=self.kind, files_metadata=True, timeout=_SECONDS_TO_ASK
            )
        except Exception:  # whatever it and its HTTP clients raise: the size is not known
            return None
        files = getattr(about, "siblings", None) or []
        sizes = [one.size for one in files if any(fnmatch(one.rfilename, each) for each in self.patterns)]
        return None if None in sizes or not sizes else sum(one for one in sizes if one is not None)


_absent: ContextVar[dict[Absent, None] | None] = ContextVar("absent", default=None)


@contextlib.contextmanager
def looking() -> Iterator[dict[Absent, None]]:
    """Fetch nothing within: what would be fetched is noted, and `find` names files that are not there."""
    noted: dict[Absent, None] = {}
    mark = _absent.set(noted)
    try:
        yield noted
    finally:
        _absent.reset(mark)


def without_fetching(
    make: Callable[[Callable[[Path], str]], _Made], file_digest: Callable[[Path], str]
) -> tuple[_Made | Exception, tuple[Absent, ...]]:
    """Plan within `looking`: what came of it, or what it raised about files; and what is not here.

    What a component's options raise when they read a file that is not here arrives as the cause of a
    `PluginError`.

    Args:
        make: Plans, given what returns the digest of a file.
        file_digest: Returns the digest of a file that is here.
    """
    with looking() as absent:

        def digest_if_here(path: Path) -> str:
            return file_digest(path) if path.exists() or not absent else "absent"

        try:
            return make(digest_if_here), tuple(absent)
        except (GenbenchError, OSError) as problem:
            if not any(isinstance(one, DataError | OSError) for one in (problem, problem.__cause__)):
                raise
            return problem, tuple(absent)


def mirror() -> Path | None:
    """Return the mirror folder, or None.

    Raises:
        DataError: The variable names something that is not a folder.
    """
    named = os.environ.get(MIRROR_VARIABLE)
    if not named:
        return None
    folder = Path(named).expanduser()
    if not folder.is_dir():
        raise unusable_path(folder, f"{MIRROR_VARIABLE} names {named!r}, which is not a folder")
    return folder


def find(
    repository: str, patterns: Sequence[str], kind: Literal["dataset", "model"] = "model"
) -> Mapping[str, Path]:
    """Return the repository's files that match any of `patterns`, by their path inside it.

    Raises:
        DataError: The id is none, or leads out of the mirror; or no such file was found anywhere; the message
            lists what was tried.
    """
    _check_inside(repository, f"{kind} {repository!r}", most_parts=2)
    for pattern in patterns:
        _check_inside(pattern, f"a file of {kind} {repository!r}, {pattern!r}")
    tried = []
    folder = mirror()
    if folder is None:
        tried.append(f"no mirror ({MIRROR_VARIABLE} is not set)")
    else:
        files = _matching(folder / repository, patterns)
        if files:
            return files
        tried.append(f"mirror {folder}: no {repository}/{' or '.join(patterns)}")
    noted = _absent.get()
    for offline in (True, False):
        if noted is not None and not offline:
            noted[Absent(repository, tuple(patterns), kind)] = None
            return {pattern: (folder or Path()) / repository / pattern for pattern in patterns}
        try:
            files = _matching(_snapshot(repository, patterns, kind, offline=offline), patterns)
            if files:
                return files
            tried.append("the Hub has no such files")
        except (OSError, ValueError, RuntimeError) as problem:  # what huggingface_hub and its clients raise
            place = "cache of this machine" if offline else "Hugging Face Hub"
            tried.append(f"{place}: {type(problem).__name__}")
    raise DataError(
        f"cannot find {kind} {repository!r}. Tried: {'; '.join(tried)}",
        hint=f"{MIRROR_VARIABLE}=FOLDER genbench ... with FOLDER/{repository}/ as on the Hub, or go online: "
        f"hf download --repo-type {kind} {repository}",
    )


def _check_inside(name: str, what: str, most_parts: int = 9) -> None:
    """Refuse a name that could lead out of the folder that it is looked for in."""
    parts = name.split("/")
    strange = {"", ".", ".."} & set(parts) or "\\" in name or not name.isprintable() or ":" in parts[0]
    if strange or len(parts) > most_parts:
        raise DataError(f"{what}: not a name on the Hub", hint="name it as on the Hub: ORG/NAME")


def _matching(folder: Path, patterns: Sequence[str]) -> dict[str, Path]:
    if not folder.is_dir():
        return {}
    found = {path for pattern in patterns for path in folder.glob(pattern) if path.is_file()}
    return {path.relative_to(folder).as_posix(): path for path in sorted(found)}


def _snapshot(repository: str, patterns: Sequence[str], kind: str, *, offline: bool) -> Path:
    from huggingface_hub import snapshot_download

    folder = snapshot_download(
        repository, repo_type=kind, allow_patterns=list(patterns), local_files_only=offline, etag_timeout=5
    )
    return Path(folder)
