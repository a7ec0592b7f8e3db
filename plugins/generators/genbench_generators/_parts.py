"""Opens the parts of a set of generated images, each by its layout."""

from collections.abc import Callable, Mapping
from pathlib import Path

from genbench_generators._found import Found, Look, open_labelled, open_packed, open_tree
from genbench_generators._found_arrays import open_npz, open_rows
from genbench_generators._found_tables import open_table
from genbench_generators.configs._layouts import Part
from genbench_generators.configs.folder import FolderConfig


def open_part(part: Part, config: FolderConfig, size: int, work: Path) -> Found:
    """Open a part.

    Args:
        part: Its files and their layout.
        config: Options.
        size: Height and width of the dataset's images.
        work: A scratch folder.

    Raises:
        DataError: It is not what its layout says, or has no labels.
    """
    look = Look(size, config.framing)
    openers: Mapping[str, Callable[[], Found]] = {
        "tree": lambda: open_tree(part, look),
        "labelled": lambda: open_labelled(part, look),
        "zip": lambda: open_packed(part, look),
        "npz": lambda: open_npz(part, config, look, work),
        "rows": lambda: open_rows(part, look),
        "parquet": lambda: open_table(part, config, look, work),
    }
    return openers[part.kind]()
