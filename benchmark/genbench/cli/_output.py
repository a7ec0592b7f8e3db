"""Where everything that genbench prints goes through: names, labels and reasons cannot steer the terminal."""

from typing import NamedTuple

import click

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
        err: To standard error.
        most: Show no more characters of a part than this, and say how many there are.
    """
    click.echo("".join(_printed(part, most) for part in parts), err=err)


def _printed(part: str | Styled, most: int | None) -> str:
    if isinstance(part, str):
        return terminal_text(part, most)
    return click.style(terminal_text(part.text, most), fg=part.colour, bold=part.bold or None)


def warn(message: str) -> None:
    """Print a line to standard error."""
    echo(message, err=True)
