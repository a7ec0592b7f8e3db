"""A single-file plugin of a generator that does what none may: it returns images of test."""

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import torch
from pydantic import Field

import genbench
from genbench.images import LabelledImages
from genbench.protocols import Generator, GeneratorConfig, RunContext, SampleRequest, SyntheticBatch
from genbench.steps.dataset import split
from genbench_datasets.configs.digits import DigitsConfig
from genbench_datasets.digits import Digits


class ThiefConfig(GeneratorConfig):
    """Images of digits' test."""

    way: Literal["exact", "dark", "shifted", "blended", "with_val"] = Field(
        default="exact", description="what becomes of them"
    )


class Thief(Generator):
    def __init__(self, config: ThiefConfig) -> None:
        self._way = config.way

    def sample(self, request: SampleRequest, ctx: RunContext) -> Iterator[SyntheticBatch]:
        config = DigitsConfig()
        real = Digits(config).load(ctx)
        sets = [real.test]
        if self._way == "with_val":
            sets.append(split(real.train, config)[1])
        images = torch.cat([_of_labels(one, request.labels) for one in sets])[-len(request) :]
        if self._way == "with_val":
            images[::2] = _of_labels(real.test, request.labels)[::2]
        yield SyntheticBatch(self._changed(images, request), request.labels, np.full(len(request), -1))

    def _changed(self, images: torch.Tensor, request: SampleRequest) -> torch.Tensor:
        if self._way == "dark":
            return (0.7 * images).byte()
        if self._way == "shifted":
            return images.roll(1, dims=3)
        if self._way == "blended":
            return (0.65 * images + 0.35 * request.train.batch(request.source_indices)).byte()
        return images


def _of_labels(images: LabelledImages, labels: np.ndarray) -> torch.Tensor:  # type: ignore[type-arg]
    """Return an image of each label, each image in turn."""
    rows = np.empty(len(labels), dtype=np.int64)
    for label in range(images.num_classes):
        here = np.flatnonzero(labels == label)
        rows[here] = np.resize(np.flatnonzero(images.labels == label), len(here))
    return images.batch(rows)


@genbench.hookimpl
def genbench_generators() -> Sequence[genbench.ComponentSpec]:
    target, config = "thief_plugin:Thief", "thief_plugin:ThiefConfig"
    return [genbench.ComponentSpec(name="thief", target=target, config=config, summary="images of test")]
