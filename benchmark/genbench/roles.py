"""What a row of a suite is for: the question, or a line to hold the answer against (protocol rule 7).

Only a contender has a verdict, and only contenders share the alpha of their family. The others are reference
lines: they are shown with intervals, and whether they beat real images alone is not what a suite asks.
"""

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

#: Empty in records that are not about a cell.
Role = Literal["baseline", "contender", "control", "diagnostic", ""]

NONE = "none"
CEILING = "real_extra"  #: real images that were held back: more of them is expected to be better
#: Real images again, and the ceiling: what generated images are held against, always.
CONTROLS = frozenset({"copies", CEILING})
FREE = "classical"  #: frozen augmented copies: a control as soon as anything else is compared
STANDARD: Final = "standard"
STRONG: Final = "strong"
OFF: Final = "off"


class RowKind(NamedTuple):
    """What the role of a row depends on: the generator's name, its augmentation, and its budget."""

    generator: str
    augment: str
    budget: str = "steps"
    scale: float = 1.0


def roles_of(rows: Sequence[RowKind]) -> list[Role]:
    """Return the role of each row of a suite.

    * `contender`: real images and those of a generator; where no generator is compared, an augmentation.
    * `baseline`: real images alone, under the standard augmentation, or the only one that there is.
    * `control`: real images again (`copies`), more of them (`real_extra`), free augmentation (`classical`
      beside other generators, and other augmentations of real images alone beside any generator).
    * `diagnostic`: no augmentation at all, and every budget but the usual one.
    """
    scales: dict[str, list[float]] = {}
    for row in rows:
        scales.setdefault(row.budget, []).append(row.scale)
    usual = {budget: min(found, key=lambda scale: (scale != 1, scale)) for budget, found in scales.items()}
    generators = {row.generator for row in rows} - {NONE} - CONTROLS
    tested = generators - {FREE} or generators
    with_standard = {row[2:] for row in rows if (row.generator, row.augment) == (NONE, STANDARD)}

    def role(row: RowKind) -> Role:
        if row.scale != usual[row.budget]:
            return "diagnostic"
        if row.generator != NONE:
            return "contender" if row.generator in tested else "control"
        if row.augment == STANDARD or row[2:] not in with_standard:
            return "baseline"
        if row.augment == OFF:
            return "diagnostic"
        return "control" if generators else "contender"

    return [role(row) for row in rows]
