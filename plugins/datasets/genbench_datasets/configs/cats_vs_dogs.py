"""Options of `cats_vs_dogs`. Imports neither torch nor numpy."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from genbench import hub
from genbench_datasets.configs._photographs import PhotographOptions
from genbench_datasets.configs._tables import PARQUET


class CatsVsDogsConfig(PhotographOptions):
    """Options of `cats_vs_dogs`."""

    presets: ClassVar[Mapping[str, Mapping[str, object]]] = {"smoke": {"size": 16}}

    size: int = Field(default=128, ge=8, le=512, description="height and width in pixels; S4 has 128")
    train_images: int = Field(
        default=601,
        ge=20,
        le=20_000,
        description="images for train and val, both classes alike; the rest is test",
    )

    def source_files(self) -> Mapping[str, Path]:
        """Return the parquet files of `microsoft/cats_vs_dogs`."""
        return dict(hub.find("microsoft/cats_vs_dogs", PARQUET, "dataset"))
