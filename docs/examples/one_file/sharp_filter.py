"""A filter in one file: drops what is blurrier than real images. `--plugin sharp_filter.py -f sharp`."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field

import genbench
from genbench.images import LabelledImages
from genbench.protocols import Filter, FilterConfig, RunContext, Verdicts

_LAPLACIAN = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])


class SharpConfig(FilterConfig):
    """Options of `sharp`."""

    quantile: float = Field(
        default=0.1, ge=0, lt=1, description="share of the real images of a class that counts as too blurred"
    )

    def first_draw(self) -> float:
        """Return one over the share that stays, if synthetic images are as sharp as real ones."""
        return max(self.oversample, 1 / (1 - self.quantile))


class Sharp(Filter):
    """Compares the variance of the Laplacian with that of the real images of the same class."""

    def __init__(self, config: SharpConfig) -> None:
        self._config = config

    def keep(self, synthetic: LabelledImages, train: LabelledImages, ctx: RunContext) -> Verdicts:
        """Keep what is at least as sharp as the `quantile` of real images."""
        real, found = sharpness(train), sharpness(synthetic)
        limits = np.array(
            [
                np.quantile(real[train.labels == label], self._config.quantile)
                for label in range(train.num_classes)
            ]
        )
        keep = found >= limits[synthetic.labels]
        return Verdicts(keep, ["" if stays else "blurred" for stays in keep])


def sharpness(images: LabelledImages) -> npt.NDArray[np.float64]:
    """Return the variance of each image's Laplacian (Pech-Pacheco et al., ICPR 2000): `float64 [N]`."""
    values = []
    for batch in images.batches(1024):
        grey = batch.float().mean(dim=1, keepdim=True)
        values.append(torch.nn.functional.conv2d(grey, _LAPLACIAN[None, None]).flatten(1).var(dim=1))
    return torch.cat(values).double().numpy() if values else np.empty(0)


@genbench.hookimpl
def genbench_filters() -> Sequence[genbench.ComponentSpec]:
    """Register `sharp`."""
    summary = "drops images that are blurrier than nearly all real ones of their class"
    return [
        genbench.ComponentSpec(
            name="sharp", target="sharp_filter:Sharp", config="sharp_filter:SharpConfig", summary=summary
        )
    ]
