"""Boards for tests of the page: one of published records, and one of two hundred rows."""

import io
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from PIL import Image

from genbench.records import Record, read_records
from genbench.sheets import Sheet, Shown
from genbench_leaderboard.board import build_board
from genbench_leaderboard.rows import Board, Row

PUBLISHED = Path(__file__).parents[1] / "leaderboard" / "records" / "digits-quick"


@cache
def published() -> tuple[Board, tuple[Record, ...]]:
    """The published board of digits: two groups, ten classes, curves, reference lines and verdicts."""
    records = tuple(read_records([PUBLISHED]))
    return build_board(records), records


def pictures(rows: Sequence[Row], folder: Path) -> dict[str, Shown]:
    """Make a small contact sheet for every row's images."""
    found = {}
    for row in rows:
        if row.images_id and row.images_id not in found:
            name = f"{len(found):016x}.png"
            content = io.BytesIO()
            Image.new("RGB", (40, 20), (20 * len(found), 99, 99)).save(content, "png")
            (folder / name).write_bytes(content.getvalue())
            sheet = Sheet(
                row.images_id, "digits", row.generator, "none", 1.0, 0, images=90, grid=name, strip=name
            )
            found[row.images_id] = Shown(sheet, folder)
    return found


@cache
def many(count: int = 200) -> Board:
    """The same board with many more rows of other names."""
    board, _ = published()
    first, *_ = board.groups
    made = [row for row in first.rows if not row.is_baseline]
    rows = [
        replace(
            row,
            generator=f"made:number={place}",
            generator_component=replace(row.generator_component, use="made", config={"number": place}),
            images_id=f"{place:064x}",
        )
        for place, row in ((place, made[place % len(made)]) for place in range(count - len(first.rows)))
    ]
    return replace(board, groups=(replace(first, rows=(*first.rows, *rows)),))
