"""Contact sheets of synthetic images for a page: those that `genbench.sheets` finds, read and named."""

from collections.abc import Mapping
from dataclasses import dataclass

from genbench.sheets import Sheet, Shown
from genbench_leaderboard.wording import listed

_MOST_BYTES = 512 * 1024  #: of one sheet; those that a run writes have some 65 KB


@dataclass(frozen=True)
class Picture:
    """A contact sheet of synthetic images.

    Attributes:
        png: The file's content; empty where nothing is shown.
        caption: What is known of it; or why nothing is shown.
        alt: For who cannot see it.
    """

    png: bytes
    caption: str
    alt: str = "Synthetic images"


def pictures_of(sheets: Mapping[str, Shown]) -> dict[str, Picture]:
    """Read the sheets that `genbench.sheets.find_shown` found, by their `images_id`."""
    return {identity: _picture(one) for identity, one in sheets.items()}


def _picture(shown: Shown) -> Picture:
    sheet = shown.sheet
    if shown.grid is None:
        return Picture(b"", _sentence(sheet.why_not))
    if shown.grid.stat().st_size > _MOST_BYTES:
        return Picture(b"", "The picture of its images is too large for this page.")
    return Picture(shown.grid.read_bytes(), " ".join(_caption(sheet)), _alt(sheet))


def _alt(sheet: Sheet) -> str:
    return f"Synthetic images by {sheet.generator}: {len(sheet.classes)} rows of up to {sheet.columns}."


def _sentence(text: str) -> str:
    return f"{text.rstrip('.')}." if text else ""


def _caption(sheet: Sheet) -> list[str]:
    """Say what the picture shows, in sentences."""
    said = f"Synthetic images of seed {sheet.index}, the first of each class; {sheet.images:,} were made."
    rows = f"Rows from above: {listed(sheet.classes)}." if sheet.classes else ""
    return [part for part in (said, rows, _sentence(sheet.licence)) if part]
