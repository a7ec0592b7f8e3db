"""Options of `chain`. Imports neither torch nor numpy."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from genbench.protocols import (
    ComponentRef,
    FittedGenerator,
    GeneratorConfig,
    SampledGenerator,
)
from genbench_generators.configs._source_s4 import ORIGINALS_AND_VARIATIONS, STYLED


class ChainConfig(GeneratorConfig):
    """Options of `chain`.

    `source-s4` is S4's style transfer: every style on the training images and on their variations.
    """

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "source-s4": {"first": ORIGINALS_AND_VARIATIONS, "second": STYLED},
    }

    first: SampledGenerator = Field(
        default=ComponentRef(use="copies"), description="makes the images that are edited"
    )
    second: FittedGenerator = Field(
        default=ComponentRef(use="classical"), description="edits them; it must start from images"
    )
