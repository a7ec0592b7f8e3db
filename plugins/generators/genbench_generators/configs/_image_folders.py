"""Folders of images that an option names. Imports neither torch nor numpy."""

from collections.abc import Mapping
from pathlib import Path

from genbench.errors import DataError, unusable_path
from genbench.files import tree_files

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm"})


def image_files(folder: Path, option: str, otherwise: str) -> Mapping[str, Path]:
    """Return the images in a folder, sorted by their path inside it.

    Args:
        folder: The folder; `~` is the user's home.
        option: Who asks for it: `style_transfer: styles`.
        otherwise: What to type instead.

    Raises:
        DataError: It is no folder, holds no image, or a link in it leads out of it.
    """
    found = folder.expanduser()
    if not found.is_dir():
        raise unusable_path(found, f"{option} is {str(folder)!r}, which is not a folder", hint=otherwise)
    images = {
        path.relative_to(found).as_posix(): path
        for path in tree_files(found)
        if path.suffix.lower() in SUFFIXES
    }
    if not images:
        raise DataError(
            f"{option} is {str(folder)!r}, which holds no image",
            hint=f"put images there: {', '.join(sorted(SUFFIXES))}",
        )
    return images
