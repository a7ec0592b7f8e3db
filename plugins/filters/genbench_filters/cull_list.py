"""`cull_list`: drops the images that somebody listed in a text file, after looking at them.

An image is known by its row in the sampled set, from 0. Rows mean something for one set alone: one dataset,
one generator with its options, one ratio and one seed. A list is not checked against the set it was made
for.
"""

from pathlib import Path

from genbench.errors import DataError
from genbench.images import LabelledImages
from genbench.protocols import Filter, RunContext, Verdicts
from genbench_filters._shared import verdicts
from genbench_filters.configs.cull_list import CullListConfig


class CullList(Filter):
    """Reads the list anew at each call."""

    def __init__(self, config: CullListConfig) -> None:
        self.config = config

    def keep(self, synthetic: LabelledImages, train: LabelledImages, ctx: RunContext) -> Verdicts:
        """Keep every image that is not listed.

        Raises:
            DataError: A line is no row of the set; the message names the line.
        """
        reasons = [""] * len(synthetic)
        for row, line in read_list(self.config.source_files()["cull_list"], len(synthetic)).items():
            reasons[row] = f"listed in line {line}"
        return verdicts(reasons)


def read_list(path: Path, count: int) -> dict[int, int]:
    """Return the listed rows, each with the first line that lists it.

    Args:
        path: UTF-8 text: a row a line; what follows # is a comment; empty lines count for nothing.
        count: Images in the set.

    Raises:
        DataError: The file is no text, or a line is not a row in `range(count)`.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as problem:
        raise DataError(f"cull_list: {path} is not UTF-8 text: {problem}") from None
    listed: dict[int, int] = {}
    for number, line in enumerate(lines, start=1):
        entry = line.partition("#")[0].strip()
        if not entry:
            continue
        # isascii: int() would take other scripts' digits, and `1_000`, for rows, too
        if not (entry.isascii() and entry.isdigit()) or int(entry) >= count:
            raise DataError(
                f"cull_list: {path}, line {number}: {entry!r} is not an image of this set, "
                f"whose rows are 0 to {count - 1}"
            )
        listed.setdefault(int(entry), number)
    return listed
