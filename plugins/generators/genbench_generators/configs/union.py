"""Options of `union`. Imports neither torch nor numpy."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from genbench.protocols import (
    ComponentRef,
    GeneratorConfig,
    OptionalSampledGenerator,
    SampledGenerator,
)
from genbench_generators.configs._source_s4 import ORIGINALS_AND_VARIATIONS, STYLED, VARIATIONS


class UnionConfig(GeneratorConfig):
    """Options of `union`.

    `source-s4` is what kyritzb/Synthetic-Data-Classification-Experiment meant to train on: variations of the
    training images, and every style on the originals and on the variations.
    """

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "source-s4": {
            "first": VARIATIONS,
            "second": {"use": "chain", "first": ORIGINALS_AND_VARIATIONS, "second": STYLED},
        },
    }

    first: SampledGenerator = Field(default=ComponentRef(use="copies"), description="a generator")
    second: SampledGenerator = Field(default=ComponentRef(use="classical"), description="another one")
    third: OptionalSampledGenerator = Field(default=None, description="a third one")
    fourth: OptionalSampledGenerator = Field(default=None, description="a fourth one")
