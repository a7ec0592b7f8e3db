"""`ddpm`: a class-conditional diffusion model, fitted on train.

Denoising Diffusion Probabilistic Models (arXiv:2006.11239): the network is diffusers' `UNet2DModel`, the
loss Eq. 14, the linear schedule Sec. 4's, the cosine one that of arXiv:2102.09672, Eq. 17. Classes enter
through an embedding that is added to the time embedding. Classifier-free guidance (arXiv:2207.12598) with
the label dropped for each image on its own, in diffusers' convention

    eps = eps_u + s (eps_c - eps_u),    s = 1 + w  for the w of the paper,

within an interval of noise levels (arXiv:2404.07724); outside it, and at s = 1, the branch without a class
is not computed at all. `guidance=classifier` takes the gradient of a classifier of noisy images instead
(`_noisy_classifier.py`), at the same w = s - 1. Samplers: ancestral (Algorithm 2), DDIM (arXiv:2010.02502),
DPM-Solver++ (arXiv:2211.01095).

Departures of preset `paper` from DDPM: classes, bf16, AdamW without decay for Adam, no mirroring unless
the dataset allows it (digits do not), guidance, 25 steps instead of 1,000, averaged weights with a warmed-up
decay. 35.8 million parameters with ten classes.

Departures of preset `source-wpi` from the two WPI reports and the repository they follow: diffusers' U-Net
of the same widths with attention at every level, 38.7 million parameters with ten classes instead of 47.7;
labels are dropped per image, not for a whole batch; the loss is a mean, not a sum over the batch size
squared, which matters only to gradient clipping; the reports' batch of 64 (S3; S2 has 80) and S3's 100
epochs; images are mirrored where the dataset allows it, which the source never does (it has an option of
datasets: `augment_flip=false`). Like the repository, it does not clip the predicted image and samples with
variance beta_t.

Images whose sides the levels cannot halve are padded by repeating their border, and cropped after sampling.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from genbench.errors import GenbenchError, PluginError
from genbench.images import LabelledImages, Labels
from genbench.protocols import Denoiser, Generator, RunContext, SampleRequest, SyntheticBatch
from genbench_generators._ddpm_fit import DdpmFit
from genbench_generators._diffusion import (
    ImageNoise,
    Levels,
    alpha_bar_of,
    cosine_betas,
    linear_betas,
    to_model,
    to_pixels,
)
from genbench_generators._noisy_classifier import NoisyClassifier, log_probability_gradient
from genbench_generators._samplers import Sampler, clipped_noise, make_sampler
from genbench_generators._shared import chunks
from genbench_generators._unet import build_unet, check_image_size, pad, padded_size, unet_options
from genbench_generators.configs.ddpm import DdpmConfig

_SIGNAL_LEFT = 0.1  # sqrt(alpha_bar_T) above which samples start from something the fit never saw


class _Fitted(NamedTuple):
    """What `fit` learned.

    Attributes:
        network: In evaluation mode.
        card: `UNet2DModel`'s arguments, the image shape and the number of classes: JSON data.
        classifier: Classifier of noisy images, in evaluation mode; None without classifier guidance.
    """

    network: nn.Module
    card: dict[str, Any]
    classifier: nn.Module | None = None


class Ddpm(Generator, Denoiser):
    """A diffusion model of the training images, one class embedding per class and one for none."""

    def __init__(self, config: DdpmConfig) -> None:
        self.config = config
        self.betas = _betas(config)
        self._alpha_bar = [float(value) for value in alpha_bar_of(self.betas)]
        self._maybe_fitted: _Fitted | None = None
        self._forward: Any = None

    # ---------------------------------------------------------------------------------------------- fit

    @property
    def batch_parts(self) -> int:
        """On how many devices the fit may run (`genbench.steps.fit_helpers`)."""
        return self.config.batch_parts

    def fit(self, train: LabelledImages, ctx: RunContext) -> None:
        """Fit the network; resumes from the last checkpoint.

        Raises:
            UsageError: The images are too small for the network's levels.
            GenbenchError: The loss became NaN or infinite.
        """
        check_image_size(self.config, train.image_shape)
        signal = float(alpha_bar_of(self.betas)[-1]) ** 0.5
        if signal > _SIGNAL_LEFT:
            ctx.log.warning(
                "ddpm: the last noise level keeps %.0f %% of the image, but samples start from pure noise: "
                "raise beta_end or timesteps, or use schedule=cosine",
                100 * signal,
            )
        options = unet_options(self.config, train.num_classes)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(ctx.seed("weights"))
            network = build_unet(options, ctx.device)
            classifier = self._build_classifier(train.num_classes, ctx.device)
        card = {"unet": options, "image_shape": list(train.image_shape), "num_classes": train.num_classes}
        fitted = _Fitted(network, card, classifier)

        def draw(labels: Labels, seeds: Labels) -> torch.Tensor:
            # Not compiled, and no batch that is filled up: it is a handful of images, a few times.
            few = {"compile": False, "micro_batch_images": len(labels)}
            present = Ddpm(self.config.model_copy(update=few))
            present._adopt(fitted)
            return torch.cat(list(present._run(None, labels, seeds, 1.0, ctx)))

        DdpmFit(network, classifier, train, self.config, self.betas, ctx, draw).run()
        self._adopt(fitted)

    def save(self, folder: Path) -> None:
        """Write the (averaged) weights and what the network is built from."""
        from safetensors.torch import save_file

        fitted = self._fitted()
        networks = {"unet": fitted.network, "classifier": fitted.classifier}
        for name, network in networks.items():
            if network is not None:
                tensors = {key: value.cpu().contiguous() for key, value in network.state_dict().items()}
                save_file(tensors, folder / f"{name}.safetensors")
        (folder / "ddpm.json").write_text(json.dumps(fitted.card, indent=1), encoding="utf-8")

    def load(self, folder: Path) -> None:
        """Read back what `save` wrote, on the CPU; sampling moves it."""
        from safetensors.torch import load_file

        card = json.loads((folder / "ddpm.json").read_text(encoding="utf-8"))
        with torch.random.fork_rng(devices=[]):  # the weights that are overwritten next
            network = build_unet(card["unet"], "cpu")
            classifier = self._build_classifier(card["num_classes"], "cpu")
        network.load_state_dict(load_file(folder / "unet.safetensors"))
        if classifier is not None:
            classifier.load_state_dict(load_file(folder / "classifier.safetensors"))
            classifier.eval()
        self._adopt(_Fitted(network.eval(), card, classifier))

    # ------------------------------------------------------------------------------------------- sample

    def sample(self, request: SampleRequest, ctx: RunContext) -> Iterator[SyntheticBatch]:
        """Yield the requested images, a micro-batch at a time."""
        made = 0
        for images in self._run(None, request.labels, request.seeds, 1.0, ctx):
            labels = request.labels[made : made + len(images)]
            made += len(images)
            yield SyntheticBatch(images, labels, np.full(len(labels), -1, dtype=np.int64))

    def denoise(
        self, start: torch.Tensor, labels: Labels, seeds: Labels, start_fraction: float, ctx: RunContext
    ) -> Iterator[torch.Tensor]:
        """Noise images up to a level and remove the noise under their labels (see `Denoiser`)."""
        return self._run(start, labels, seeds, start_fraction, ctx)

    def _run(
        self,
        start: torch.Tensor | None,
        labels: Labels,
        seeds: Labels,
        start_fraction: float,
        ctx: RunContext,
    ) -> Iterator[torch.Tensor]:
        """Yield images a micro-batch at a time; the last one is filled up with its last image."""
        for network in (self.network, self._fitted().classifier):
            if network is not None:
                network.to(ctx.device)
        size = self.config.micro_batch_images
        for part in chunks(len(labels), size):
            count = part.stop - part.start
            rows = np.minimum(np.arange(part.start, part.start + size), part.stop - 1)
            first = None if start is None else start[torch.from_numpy(rows)]
            images = self._micro_batch(first, labels[rows], seeds[rows], start_fraction, ctx)
            yield images[:count].clone()

    @torch.inference_mode()
    def _micro_batch(
        self,
        start: torch.Tensor | None,
        labels: Labels,
        seeds: Labels,
        start_fraction: float,
        ctx: RunContext,
    ) -> torch.Tensor:
        """Make one full micro-batch: `uint8 [micro_batch_images, 3, H, W]`."""
        channels, height, width = self._fitted().card["image_shape"]
        size = padded_size(self.config, height, width)
        # Invariant: image i draws from a generator of its own, once at the start and once per step that wants
        # noise, so that no other image of the batch can change it.
        noise = ImageNoise(seeds, (channels, *size), ctx.device)
        classes = torch.from_numpy(labels).to(ctx.device)
        sampler = make_sampler(self.config, self.betas)
        first = _first_index(sampler, start_fraction)
        x_t = noise.draw()
        if start is not None:  # forward to the first level visited, in one jump; from there on as usual
            alpha_bar = float(sampler.alpha_bar[sampler.levels[first]])
            x_0 = pad(to_model(start).to(ctx.device), *size)
            x_t = alpha_bar**0.5 * x_0 + (1 - alpha_bar) ** 0.5 * x_t  # DDPM, Eq. 4
        for index in range(first, len(sampler.levels)):
            level = int(sampler.levels[index])
            eps = self._predict(x_t, level, classes)
            # Clipping the image that eps implies keeps guidance from driving pixels out of range.
            if self.config.clip_prediction:
                eps = clipped_noise(x_t, eps, float(sampler.alpha_bar[level]))
            x_t = sampler.step(index, x_t, eps, noise)
        if not bool(torch.isfinite(x_t).all()):
            raise GenbenchError(
                "ddpm: sampling gave NaN or infinite pixels",
                hint="lower guidance_scale, use clip_prediction=true or precision=fp32, or fit longer",
            )
        return to_pixels(x_t[:, :, :height, :width]).cpu().contiguous()

    def _predict(self, x_t: torch.Tensor, level: int, classes: torch.Tensor) -> torch.Tensor:
        """Return the (guided) noise prediction: `float32 [n, 3, H, W]`.

        On a GPU both branches of classifier-free guidance are one batch, which fills it better; on a CPU,
        where that gains nothing, they are two calls.
        """
        config = self.config
        low, high = config.guidance_interval
        guided = config.guidance_scale != 1 and low <= level / (config.timesteps - 1) <= high
        if not guided:
            return self._call(x_t, level, classes)
        classifier = self._fitted().classifier
        if classifier is not None:  # arXiv:2105.05233, Algorithm 2
            gradient = log_probability_gradient(classifier, x_t, level, classes)
            push = (config.guidance_scale - 1) * (1 - self._alpha_bar[level]) ** 0.5
            eps: torch.Tensor = self._call(x_t, level, classes) - push * gradient
            return eps
        no_class = torch.full_like(classes, self._fitted().card["num_classes"])
        if x_t.is_cuda:
            both = self._call(torch.cat([x_t, x_t]), level, torch.cat([classes, no_class]))
            eps_c, eps_u = both.chunk(2)
        else:
            eps_c, eps_u = self._call(x_t, level, classes), self._call(x_t, level, no_class)
        return eps_u + config.guidance_scale * (eps_c - eps_u)

    def _call(self, x_t: torch.Tensor, level: int, classes: torch.Tensor) -> torch.Tensor:
        """Call the network once: `float32 [n, 3, H, W]`."""
        t = torch.full_like(classes, level)
        x_t = x_t.contiguous(memory_format=torch.channels_last)
        with torch.autocast(x_t.device.type, torch.bfloat16, enabled=self.config.precision == "bf16"):
            eps: torch.Tensor = self._forward(x_t, t, classes, return_dict=False)[0]
        return eps.float().contiguous()

    # ------------------------------------------------------------------------------------------ helpers

    def _adopt(self, fitted: _Fitted) -> None:
        self._maybe_fitted = fitted
        # static shapes: a guided batch is twice as large, and one graph for both sizes would be slower
        network = fitted.network
        self._forward = torch.compile(network, dynamic=False) if self.config.compile else network

    def _build_classifier(self, num_classes: int, device: str) -> NoisyClassifier | None:
        """Build the classifier that guides, if one does; weights come from torch's global generator."""
        config = self.config
        if config.guidance != "classifier":
            return None
        levels = len(config.channel_multipliers)
        return NoisyClassifier(2 * config.channels, levels, config.timesteps, num_classes).to(device)

    @property
    def network(self) -> nn.Module:
        """The fitted U-Net, in evaluation mode."""
        return self._fitted().network

    def _fitted(self) -> _Fitted:
        if self._maybe_fitted is None:
            raise PluginError("ddpm has no network yet: fit or load comes before sample")
        return self._maybe_fitted


def _betas(config: DdpmConfig) -> Levels:
    if config.schedule == "cosine":
        return cosine_betas(config.timesteps)
    return linear_betas(config.timesteps, config.beta_start, config.beta_end)


def _first_index(sampler: Sampler, start_fraction: float) -> int:
    """Return the place of the highest level below a share of all; of the lowest level, if none is."""
    below = np.flatnonzero(sampler.levels < start_fraction * len(sampler.alpha_bar))
    return int(below[0]) if len(below) else len(sampler.levels) - 1
