"""`noise`: the simplest generator that learns something. Not a good one: a floor to compare with."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from genbench.images import LabelledImages
from genbench.protocols import Generator, RunContext, SampleRequest, SyntheticBatch
from genbench_noise.config import NoiseConfig


class Noise(Generator):
    """Learns the mean image of each class; samples it with Gaussian noise."""

    def __init__(self, config: NoiseConfig) -> None:
        self._config = config
        self._means = torch.empty(0)

    def fit(self, train: LabelledImages, ctx: RunContext) -> None:
        """Average each class; a stopped fit resumes at the next class."""
        saved = ctx.restore()
        self._means = saved.tensors["means"] if saved else torch.zeros(train.num_classes, *train.image_shape)
        for label in range(saved.meta["done"] if saved else 0, train.num_classes):
            rows = np.flatnonzero(train.labels == label)
            self._means[label] = train.batch(rows).float().mean(dim=0)
            ctx.progress(label + 1, train.num_classes)
            if ctx.checkpoint_due():
                ctx.checkpoint({"means": self._means}, {"done": label + 1})

    def sample(self, request: SampleRequest, ctx: RunContext) -> Iterator[SyntheticBatch]:
        """Add noise to the class mean, from each image's own seed."""
        shape = request.train.image_shape
        noise = [
            torch.randn(shape, generator=torch.Generator().manual_seed(int(seed))) for seed in request.seeds
        ]
        images = self._means[torch.from_numpy(request.labels)] + 255 * self._config.sigma * torch.stack(noise)
        sources = np.full(len(request), -1, dtype=np.int64)
        yield SyntheticBatch(images.round().clamp(0, 255).byte(), request.labels, sources)

    def save(self, folder: Path) -> None:
        """Write the means."""
        save_file({"means": self._means}, folder / "means.safetensors")

    def load(self, folder: Path) -> None:
        """Read the means."""
        self._means = load_file(folder / "means.safetensors")["means"]
