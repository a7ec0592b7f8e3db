"""The board as one page of HTML that needs nothing else: no network, no other file, no library.

Every text of a record passes `genbench.escaping.html_text` on its way into a template (`_finalised`); the
page's own script and style are named to the browser by their digests, and it runs and loads nothing besides.
"""

import base64
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from genbench.escaping import html_text
from genbench.records import Record
from genbench.sheets import Shown
from genbench_leaderboard.page.content import page_of
from genbench_leaderboard.page.of_run import FOOTER, FoundRun, run_part
from genbench_leaderboard.page.pictures import pictures_of
from genbench_leaderboard.plots import STYLE
from genbench_leaderboard.rows import Board
from genbench_leaderboard.shown import shown

__all__ = ["render_page"]

_TEMPLATES = Path(__file__).parent / "templates"


def render_page(
    board: Board,
    records: Iterable[Record] = (),
    sheets: Mapping[str, Shown] | None = None,
    run: FoundRun | None = None,
) -> str:
    """Return the board as a page of HTML, or that of a run.

    Args:
        board: What is shown.
        records: Those that the board was made of: learning curves, costs by step and options of its rows. A
            page without them is whole, but says less of a row that is opened.
        sheets: Contact sheets of synthetic images (`genbench.sheets.find_shown`). They become a part of the
            page, four megabytes of them; the others are left out with a note.
        run: What is known of the run besides its records, with pictures of its own; None for a board.
    """
    board, records = shown(board), list(records)
    shown_of_rows = pictures_of(sheets or {}) if run is None else run.of_rows
    page = page_of(board, records, shown_of_rows, is_own=run is not None)
    if run is not None:
        page = replace(page, title=run.title, footer=FOOTER)
    style, script = Markup(_own("style.css") + STYLE), Markup(_own("script.js"))
    return (
        _environment()
        .get_template("page.html" if run is None else "run.html")
        .render(
            page=page,
            found=run,
            part=None if run is None else run_part(run, board, records),
            style=style,
            script=script,
            policy=_policy(style, script),
        )
    )


def _own(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    """Return a content security policy under which a browser runs this script and nothing else."""
    allowed = {"style-src": f"'{_digest(style)}'", "script-src": f"'{_digest(script)}'", "img-src": "data:"}
    denied = dict.fromkeys(("default-src", "base-uri", "form-action"), "'none'")
    return "; ".join(f"{name} {what}" for name, what in (denied | allowed).items())


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalised,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["lines"] = _lines
    return environment


def _finalised(value: object) -> Markup:
    """Return what a template writes for a value: text, and nothing else, unless it is `Markup` of our own."""
    if isinstance(value, Markup):
        return value
    return Markup("" if value is None else html_text(str(value)))


def _lines(text: str) -> Markup:
    """Escape text that keeps its lines."""
    return Markup("\n".join(map(html_text, text.split("\n"))))
