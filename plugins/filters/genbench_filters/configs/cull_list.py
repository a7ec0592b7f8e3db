"""Options of `cull_list`. Imports neither torch nor numpy."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from genbench.errors import unusable_path
from genbench.protocols import FilterConfig


class CullListConfig(FilterConfig):
    """Options of `cull_list`."""

    primary: ClassVar[str | None] = "path"
    location_fields: ClassVar[frozenset[str]] = frozenset({"path"})

    path: Path = Field(
        description="text file with the rows of the images to drop, from 0, one a line; # starts a comment",
        examples=["rows.txt"],
    )

    def source_files(self) -> Mapping[str, Path]:
        """Return the list."""
        file = self.path.expanduser()
        if not file.is_file():
            raise unusable_path(
                file, f"cull_list: {str(self.path)!r} is not a file", hint="--filter cull_list:PATH"
            )
        return {"cull_list": file}
