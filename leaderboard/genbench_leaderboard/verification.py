"""What others found about records, as `genbench leaderboard verify` wrote it."""

from collections.abc import Iterable
from pathlib import Path

from genbench.errors import DataError
from genbench.levels import Checked, merged, read_verification
from genbench.untrusted import files_below

__all__ = ["read_verified"]

_SUFFIX = ".json"


def read_verified(paths: Iterable[Path]) -> dict[str, Checked]:
    """Read what `genbench leaderboard verify` wrote, from files, and from folders by the suffix `.json`.

    Returns:
        What is known of records, by `genbench.levels.record_mark`.

    Raises:
        DataError: A file is none.
    """
    files: dict[Path, None] = {}
    for path in paths:
        try:
            files |= dict.fromkeys(sorted(files_below(path, ("",), _SUFFIX)) if path.is_dir() else [path])
        except ValueError as problem:
            raise DataError(f"{path}: cannot be read ({problem})") from None
    return merged(read_verification(file) for file in files)
