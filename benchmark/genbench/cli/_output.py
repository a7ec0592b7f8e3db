"""Where everything that genbench prints goes through: names, labels and reasons cannot steer the terminal."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import click

from genbench.cli._logs import active
from genbench.errors import UsageError
from genbench.escaping import terminal_text


class Styled(NamedTuple):
    """Text in bold or in a colour.

    Attributes:
        text: What is printed; escaped like all other text.
        bold: Whether it stands out.
        colour: `green`, `yellow`, `red`, or None for that of the terminal.
    """

    text: str
    bold: bool = False
    colour: str | None = None


def echo(*parts: str | Styled, err: bool = False, most: int | None = None) -> None:
    """Print text and a line break.

    Args:
        parts: Printed one after the other, without space between them.
        err: To standard error; a line of the log there, if it is one (`--log-format json`).
        most: Show no more characters of a part than this, and say how many there are.
    """
    log = active() if err else None
    if log is not None:
        log.tell("notice", "".join(part if isinstance(part, str) else part.text for part in parts))
    else:
        click.echo("".join(_printed(part, most) for part in parts), err=err)


def _printed(part: str | Styled, most: int | None) -> str:
    if isinstance(part, str):
        return terminal_text(part, most)
    return click.style(terminal_text(part.text, most), fg=part.colour, bold=part.bold or None)


def warn(message: str) -> None:
    """Print a line to standard error."""
    echo(message, err=True)


def form_of_file(out: Path, typed: str | None, by_suffix: Mapping[str, str], what: str) -> str:
    """Return the form that a file is written in: what was typed, else what its suffix stands for, else text.

    Args:
        out: The file.
        typed: The value of `--format`; None where it was left out.
        by_suffix: Forms by suffix, in small letters with the dot.
        what: What is written, such as `a board`.

    Raises:
        UsageError: The suffix stands for no form and none was typed, or it stands for another one.
    """
    suffix = out.suffix.lower()
    said = by_suffix.get(suffix)
    if typed is None and suffix and said is None:
        forms = "|".join(dict.fromkeys(by_suffix.values()))
        raise UsageError(
            f"--out {out}: no form of {what} is called {suffix}; known are {', '.join(by_suffix)}",
            hint=f"add --format {forms}   or -o {out.with_suffix('.md')}",
        )
    if typed is not None and said is not None and typed != said:
        fitting = next(one for one, form in by_suffix.items() if form == typed)
        raise UsageError(
            f"--format {typed} contradicts --out {out}: the suffix {suffix} stands for {said}",
            hint=f"-o {out.with_suffix(fitting)}   or leave out --format: the suffix says which",
        )
    return typed or said or "text"
