"""Options of `imagenet`. Imports neither torch nor numpy."""

import re
from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from genbench_datasets.configs._tables import PUBLISHED
from genbench_datasets.configs.hub import HubConfig


def _published_or_id(shift: str) -> str:
    if shift not in PUBLISHED and not re.fullmatch(r"[^/ ]+/[^/ ]+", shift):
        raise ValueError(
            f"{shift!r} is neither ORG/NAME of a set on the Hub nor one of {', '.join(PUBLISHED)}"
        )
    return shift


class ImagenetConfig(HubConfig):
    """Options of `imagenet`: those of `hub`, with ILSVRC's id and splits."""

    primary: ClassVar[str | None] = None
    by_synset: ClassVar[bool] = True
    presets: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "smoke": {"size": 16, "classes": 4, "images_per_class": 20},
        "quick": {"size": 64, "classes": 10, "images_per_class": 200},
    }

    name: str = Field(default="ILSVRC/imagenet-1k", description="Hub id, or one with the same columns")
    test_split: str = Field(default="validation", description="ILSVRC's labelled test images")
    size: int = Field(default=224, ge=8, le=1024, description="height and width in pixels")
    shifts: tuple[Annotated[str, AfterValidator(_published_or_id)], ...] = Field(
        default=(),
        description=f"out-of-distribution test sets: {', '.join(PUBLISHED)}, or Hub ids; "
        "classes are matched by WordNet id",
    )
