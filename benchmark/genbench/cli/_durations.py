"""Times as people type and read them: `90m` in, `1 h 30 min` out."""

import re
from typing import Any

import click

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_ASKED = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd])", re.IGNORECASE)


class Budget(click.ParamType):  # type: ignore[type-arg]  # it takes none before click 8.4
    """`steps` or `epochs`, as of a run, or a time, in seconds."""

    name = "budget"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str | float:
        """Return the word, or the time in seconds."""
        if isinstance(value, float) or value in {"steps", "epochs"}:
            return value  # type: ignore[no-any-return]
        found = _ASKED.fullmatch(str(value).strip())
        if found is None or not float(found[1]):
            self.fail(f"{value!r} is no time such as 30s, 90m, 2h or 1d, nor steps or epochs", param, ctx)
        return float(found[1]) * _UNITS[found[2].lower()]


class TrainingBudget(click.Choice):  # type: ignore[type-arg]  # as above
    """`steps` or `epochs`; a time is for `genbench plan`."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the word."""
        if _ASKED.fullmatch(str(value).strip()):
            self.fail(
                f"{value!r} is a time, and a run takes steps or epochs. What fits into a time says: "
                f"genbench plan ... --budget {value}",
                param,
                ctx,
            )
        return super().convert(value, param, ctx)


def duration(seconds: float) -> str:
    """Write seconds as people say them, with two digits or so.

    >>> [duration(one) for one in (0.04, 12.34, 754, 5400, 360_000)]
    ['0.04 s', '12 s', '12.6 min', '1 h 30 min', '4 d 4 h']
    """
    if seconds < 119.5:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    if seconds < 3597:
        return f"{seconds / 60:.1f} min"
    minutes = round(seconds / 60)
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    hours = round(seconds / 3600)
    return f"{hours // 24:,} d {hours % 24} h"


def size(count: float) -> str:
    """Write bytes as people say them.

    >>> [size(one) for one in (0, 900, 44_040_192, 6e9)]
    ['0 B', '900 B', '42 MiB', '5.6 GiB']
    """
    for unit, digits in (("B", 0), ("KiB", 0), ("MiB", 0), ("GiB", 1)):
        if count < 1000 or unit == "GiB":
            return f"{count:,.{digits}f} {unit}" if unit != "MiB" or count >= 10 else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError
