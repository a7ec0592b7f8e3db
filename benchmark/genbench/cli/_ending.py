"""What a run says below its table: the finding in words, where everything is, and what to type next."""

import contextlib
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from genbench.errors import DataError
from genbench.sheets import read_shown
from genbench.terminal import filled

if TYPE_CHECKING:
    from genbench.publish import Published

_SHEETS = 3  #: more are in `shown`


def ending(published: "Published", *, is_default: bool) -> Iterator[str]:
    """Yield paragraphs; a path or a command is never broken, so that it can be copied.

    Args:
        published: What the run left.
        is_default: Whether it ran on the dataset that is taken where none is named.
    """
    if published.board and published.run.headline:
        yield filled(published.run.headline)
    yield "\n".join([*published.lines, *_pictures(published.folder)])
    if published.board:
        yield "\n".join(["next:", *_next(published.folder, is_default=is_default)])


def _pictures(folder: Path) -> Iterator[str]:
    """Yield where pictures of the synthetic images are; or what draws those that may not be published."""
    found = []
    with contextlib.suppress(DataError):  # it was written just now
        found = list(read_shown(folder).values())
    drawn = [one for one in found if one.grid is not None]
    for one in drawn[:_SHEETS]:
        yield f"synthetic images of {one.sheet.generator}: {one.grid}"
    if len(drawn) > _SHEETS:
        yield f"synthetic images of {len(drawn) - _SHEETS} more: {folder / 'shown'}"
    if found and not drawn:
        yield f"synthetic images: genbench preview {shlex.quote(str(folder))}   draws them"


def _next(folder: Path, *, is_default: bool) -> Iterator[str]:
    yield f"  genbench report {shlex.quote(str(folder))}"
    yield filled("a page about this run: curves, images beside real ones, what each step took", "    ")
    if is_default:
        yield "  genbench run -d imagefolder:PATH -g ddpm -c resnet32"
        yield filled("on images of yours: PATH/cat/1.jpg PATH/dog/1.jpg ...", "    ")
