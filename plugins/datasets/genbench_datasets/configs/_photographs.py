"""Options of datasets of images of any size and kind. Imports neither torch nor numpy."""

from typing import Annotated

from pydantic import Field

from genbench.framing import BACKGROUND_IN_WORDS, FIT_IN_WORDS, Colour, Fit, Framing
from genbench.protocols import ADDED_LATER, DatasetConfig


class PhotographOptions(DatasetConfig):
    """What happens to images that are not square, are transparent, or cannot be used."""

    fit: Annotated[Fit, ADDED_LATER] = Field(default="crop", description=FIT_IN_WORDS)
    background: Annotated[Colour, ADDED_LATER] = Field(default="white", description=BACKGROUND_IN_WORDS)
    skip_broken: Annotated[bool, ADDED_LATER] = Field(
        default=False,
        description="leave out files that cannot be used as images, and count them in the records, "
        "instead of stopping with their names",
    )

    @property
    def framing(self) -> Framing:
        """How an image becomes square."""
        return Framing(self.fit, self.background)
