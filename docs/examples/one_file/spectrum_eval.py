"""An evaluator in one file: the frequencies of images. `--plugin spectrum_eval.py -e spectrum`."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from pydantic import Field

import genbench
from genbench.images import LabelledImages
from genbench.metrics import Subject
from genbench.protocols import Evaluation, EvaluatorConfig, ImageEvaluator, ImageSet, Metric, RunContext


class SpectrumConfig(EvaluatorConfig):
    """Options of `spectrum`: it looks at the pixels of image sets, and asks for no extractor."""

    subject: ClassVar[Subject] = "image_set"

    offset: float = Field(default=1.0, gt=0, description="power that is added before the logarithm")


class Spectrum(ImageEvaluator):
    """Mean difference of log power, averaged over directions as in Durall et al., arXiv:2003.01826."""

    def __init__(self, config: SpectrumConfig) -> None:
        self._config = config

    def evaluate(self, synthetic: ImageSet, real: Mapping[str, ImageSet], ctx: RunContext) -> Evaluation:
        """Compare synthetic images with train; and val with train, the floor that real images reach."""
        spectra = {name: self._spectrum(one.images) for name, one in {**real, "synthetic": synthetic}.items()}

        def metric(split: str, role: str) -> Metric:
            return Metric(
                "spectrum_distance",
                float((spectra[split] - spectra["train"]).abs().mean()),
                unit="nats",
                higher_is_better=False,
                bounds=(0, None),
                split=split,
                against="train",
                n=len(synthetic.images if split == "synthetic" else real[split].images),
                role="floor" if role == "floor" else "score",
            )

        table = {name: spectrum.tolist() for name, spectrum in spectra.items()}
        return Evaluation([metric("synthetic", "score"), metric("val", "floor")], {"log_power": table})

    def _spectrum(self, images: LabelledImages) -> torch.Tensor:
        """Return the logarithm of the mean power at each frequency, in cycles per image: `float64 [K]`."""
        _, height, width = images.image_shape
        rows, columns = torch.fft.fftfreq(height) * height, torch.fft.fftfreq(width) * width
        ring = (rows[:, None] ** 2 + columns**2).sqrt().round().long().flatten()
        power = torch.zeros(height * width, dtype=torch.float64)
        for batch in images.batches(1024):
            grey = batch.double().mean(dim=1)
            power += torch.fft.fft2(grey).abs().square().flatten(1).sum(dim=0)
        mean = torch.bincount(ring, power / len(images)) / torch.bincount(ring)
        return (mean + self._config.offset).log()


@genbench.hookimpl
def genbench_evaluators() -> Sequence[genbench.ComponentSpec]:
    """Register `spectrum`."""
    return [
        genbench.ComponentSpec(
            name="spectrum",
            target="spectrum_eval:Spectrum",
            config="spectrum_eval:SpectrumConfig",
            summary="distance of the power spectra of synthetic and real images",
            paper="arXiv:2003.01826",
        )
    ]
