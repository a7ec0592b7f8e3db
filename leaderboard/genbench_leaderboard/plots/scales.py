"""From numbers to places on a plot, and the round numbers that an axis names."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

_ROUND = (1.0, 2.0, 5.0, 10.0)


def finite(values: Iterable[float | None]) -> list[float]:
    """Return the numbers that can be drawn."""
    return [value for value in values if value is not None and math.isfinite(value)]


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Return round numbers within [low, high]: at most `most`, the steps 1, 2 or 5 times a power of ten.

    >>> ticks(-1.2, 3.4), ticks(96.1, 97.9, 4)
    ([-1.0, 0.0, 1.0, 2.0, 3.0], [96.5, 97.0, 97.5])
    """
    if not low < high:
        return [low]
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    step = next(
        (
            one * power
            for one in _ROUND
            if math.floor(high / (one * power) + 1e-9) - low / (one * power) < most
        ),
        10 * power,
    )
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Return 1, 2 and 5 times powers of ten within [low, high]; powers alone over three of them and more.

    >>> log_ticks(0.9, 30), log_ticks(1, 20000)
    ([1.0, 2.0, 5.0, 10.0, 20.0], [1.0, 10.0, 100.0, 1000.0, 10000.0])
    """
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    parts = (1.0,) if math.log10(high / low) > 2.5 else (1.0, 2.0, 5.0)
    found = [part * 10.0**power for power in powers for part in parts]
    return [one for one in found if low * (1 - 1e-9) <= one <= high * (1 + 1e-9)]


@dataclass(frozen=True)
class Scale:
    """Maps numbers to places.

    Attributes:
        low: Number at `start`.
        high: Number at `end`.
        start: Place of `low`, in units of the plot.
        end: Place of `high`.
        log: Whether equal ratios are equal distances; numbers are then positive.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """Return the place of a number; what lies outside is put on the border."""
        value = min(max(value, self.low), self.high)
        low, high, value = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        share = (value - low) / (high - low) if high > low else 0.5
        return self.start + share * (self.end - self.start)

    def ticks(self, most: int = 6) -> list[float]:
        """Return the numbers to be named."""
        return log_ticks(self.low, self.high) if self.log else ticks(self.low, self.high, most)


def padded(values: list[float], *, include: Iterable[float] = (), share: float = 0.06) -> tuple[float, float]:
    """Return limits that hold all values, with a little room; around a single value, one to each side."""
    both = [*values, *include]
    if not both:
        return -1.0, 1.0
    low, high = min(both), max(both)
    room = (high - low) * share if high > low else max(abs(high) * share, 1e-6) if high else 1.0
    return low - room, high + room


def log_padded(values: list[float]) -> tuple[float, float]:
    """Return limits for positive values on a logarithmic axis, at least a factor of two apart."""
    low, high = min(values), max(values)
    room = max((high / low) ** 0.06, math.sqrt(2.0) if high / low < 2 else 1.05)
    return low / room, high * room


def plain(value: float) -> str:
    """Write a number of an axis as people do: no zeros that say nothing.

    >>> plain(0.5), plain(-2.0), plain(1e6), plain(12000.0), plain(2e-7)
    ('0.5', '\u22122', '1,000,000', '12,000', '2e\u22127')
    """
    if value and (abs(value) < 1e-4 or abs(value) >= 1e9):
        mantissa, exponent = f"{value:.0e}".split("e")
        text = f"{mantissa}e{int(exponent)}"
    else:
        text = f"{value:,.4f}".rstrip("0").rstrip(".")
    return text.replace("-", "\u2212")


def signed(value: float, digits: int = 2) -> str:
    """Write a difference.

    >>> signed(0.5), signed(-1.234, 1), signed(-0.001)
    ('+0.50', '\u22121.2', '0.00')
    """
    text = f"{value:+.{digits}f}"
    if not float(text):
        return text[1:]
    return text.replace("-", "\u2212")
