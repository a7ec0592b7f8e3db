"""`cvae`: a convolutional variational autoencoder that is told the class.

Auto-Encoding Variational Bayes (arXiv:1312.6114), conditional (Sohn et al., NeurIPS 2015): q(z | x, y) and
p(x | z, y) are convolutional, the prior p(z | y) is a normal distribution per class, learned with the rest.
(A prior that is the same for all classes lets z carry the class, and draws from it then mix classes up.) The
bound that is maximised (Sohn et al., Eq. 4, with a factor beta as in beta-VAE) is

    E log p(x | z, y) - beta KL(q(z | x, y) || p(z | y)).

p(x | z, y) is a Gaussian whose one variance is the mean squared error of the batch, which needs no tuning and
is the optimum (sigma-VAE, arXiv:2006.13202, Eq. 7): -log p = D/2 log MSE up to a constant. An image is the
decoder's mean for z drawn from the prior: no pixel noise is added, as is usual, so samples are smoother than
the model's.

Sides are padded by repeating their border up to the next that the levels can halve, and cropped again.
"""

import json
import math
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from genbench.errors import PluginError
from genbench.images import LabelledImages, Labels
from genbench.protocols import Generator, RunContext, SampleRequest, SyntheticBatch
from genbench_generators._diffusion import ImageNoise, to_pixels
from genbench_generators._fitting import Fit, FitPlan, TrainingImages, warmed_up_rate
from genbench_generators._shared import chunks
from genbench_generators.configs.cvae import CvaeConfig

_SMALLEST_SIDE = 4  # of the maps between encoder and decoder
_MOST_LEVELS = 4
_LOG_VARIANCE_LIMIT = 8.0  # exp(8) is far beyond any use, and keeps the divergence finite


class Cvae(Generator):
    """A conditional VAE of the training images."""

    def __init__(self, config: CvaeConfig) -> None:
        self.config = config
        self._network: CvaeNetwork | None = None

    def fit(self, train: LabelledImages, ctx: RunContext) -> None:
        """Fit encoder and decoder; resumes from the last checkpoint.

        Raises:
            GenbenchError: The loss became NaN or infinite.
        """
        config = self.config
        card = {"image_shape": list(train.image_shape), "num_classes": train.num_classes}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(ctx.seed("weights"))
            network = CvaeNetwork(config.channels, config.latent_dimensions, card).to(ctx.device)
        images = TrainingImages(train, config.batch_size_images, ctx)

        def loss(step: int, rows: slice) -> torch.Tensor:
            x, labels = images.batch(step)
            rng = torch.Generator(device=ctx.device).manual_seed(ctx.seed("noise", step))
            noise = torch.randn(len(x), config.latent_dimensions, generator=rng, device=ctx.device)
            with torch.autocast(x.device.type, torch.bfloat16, enabled=config.precision == "bf16"):
                return negative_bound(network, x[rows], labels[rows], noise[rows], config.beta)

        rate = warmed_up_rate(config.learning_rate, config.warmup_fraction, config.fit_steps)
        optimizer = torch.optim.Adam(network.parameters(), config.learning_rate, fused=True)
        size = config.batch_size_images
        plan = FitPlan("cvae", config.fit_steps, size, rate, config.clip_norm, config.ema_decay)
        self._network = network
        Fit(network, optimizer, loss, plan, ctx, lambda labels, seeds: self._drawn(labels, seeds, ctx)).run()

    def save(self, folder: Path) -> None:
        """Write the (averaged) weights and what the network is built from."""
        from safetensors.torch import save_file

        network = self._fitted()
        save_file({name: value.cpu().contiguous() for name, value in network.state_dict().items()},
                  folder / "cvae.safetensors")  # fmt: skip
        (folder / "cvae.json").write_text(json.dumps(network.card, indent=1), encoding="utf-8")

    def load(self, folder: Path) -> None:
        """Read back what `save` wrote, on the CPU; sampling moves it."""
        from safetensors.torch import load_file

        card = json.loads((folder / "cvae.json").read_text(encoding="utf-8"))
        with torch.random.fork_rng(devices=[]):  # the weights that are overwritten next
            network = CvaeNetwork(self.config.channels, self.config.latent_dimensions, card)
        network.load_state_dict(load_file(folder / "cvae.safetensors"))
        self._network = network.eval()

    @torch.inference_mode()
    def sample(self, request: SampleRequest, ctx: RunContext) -> Iterator[SyntheticBatch]:
        """Yield decoded draws from the prior, a padded micro-batch at a time."""
        self._fitted().to(ctx.device)
        size = self.config.micro_batch_images
        for part in chunks(len(request), size):
            rows = np.minimum(np.arange(part.start, part.start + size), part.stop - 1)
            count = part.stop - part.start
            images = self._drawn(request.labels[rows], request.seeds[rows], ctx)[:count]
            yield SyntheticBatch(images, request.labels[part], np.full(count, -1, dtype=np.int64))

    @torch.inference_mode()
    def _drawn(self, labels: Labels, seeds: Labels, ctx: RunContext) -> torch.Tensor:
        """Decode a draw from the prior for each label: `uint8 [n, 3, H, W]`, on the CPU."""
        network = self._fitted()
        z = ImageNoise(seeds, (self.config.latent_dimensions,), ctx.device).draw()
        classes = torch.from_numpy(labels).to(ctx.device)
        with torch.autocast(z.device.type, torch.bfloat16, enabled=self.config.precision == "bf16"):
            prior = network.prior_of(classes)
            x = network.decode(prior.mean + self.config.temperature * prior.deviation * z, classes)
        return to_pixels(x.float()).cpu()

    def _fitted(self) -> "CvaeNetwork":
        if self._network is None:
            raise PluginError("cvae has no network yet: fit or load comes before sample")
        return self._network


def negative_bound(
    network: "CvaeNetwork", x: torch.Tensor, labels: torch.Tensor, noise: torch.Tensor, beta: float
) -> torch.Tensor:
    """Return the negative bound per image and dimension, up to a constant: a scalar.

    Args:
        network: Encoder and decoder.
        x: `float32 [n, 3, H, W]`, -1 to 1.
        labels: `int64 [n]`.
        noise: Standard normal: `float32 [n, latent_dimensions]`.
        beta: Weight of the divergence.
    """
    posterior = network.encode(x, labels)
    z = posterior.mean + posterior.deviation * noise  # arXiv:1312.6114, Eq. 4
    dimensions = x[0].numel()
    error = F.mse_loss(network.decode(z, labels).float(), x)
    gap = divergence(posterior, network.prior_of(labels))
    return 0.5 * error.clamp_min(1e-8).log() + beta * gap.mean() / dimensions


class Normal(NamedTuple):
    """Independent normal distributions: each `float32 [n, dimensions]`."""

    mean: torch.Tensor
    log_variance: torch.Tensor

    @property
    def deviation(self) -> torch.Tensor:
        """Standard deviations."""
        return torch.exp(0.5 * self.log_variance)


def divergence(q: Normal, p: Normal) -> torch.Tensor:
    """Return KL(q || p) of each row: `float32 [n]`."""
    gap = (q.mean - p.mean) ** 2 + q.log_variance.exp()
    return 0.5 * (gap / p.log_variance.exp() - 1 + p.log_variance - q.log_variance).sum(dim=1)


class CvaeNetwork(nn.Module):
    """Encoder and decoder; each level halves the sides and doubles the channels.

    Args:
        channels: At full resolution.
        latent_dimensions: Dimensions of z.
        card: `image_shape` and `num_classes`: JSON data.
    """

    def __init__(self, channels: int, latent_dimensions: int, card: dict[str, Any]) -> None:
        super().__init__()
        self.card = card
        _, self._height, self._width = card["image_shape"]
        levels = min(_MOST_LEVELS, max(1, int(math.log2(min(self._height, self._width) / _SMALLEST_SIDE))))
        unit = 2**levels
        self._padded = (-(-self._height // unit) * unit, -(-self._width // unit) * unit)
        self._maps = (channels * unit, self._padded[0] // unit, self._padded[1] // unit)
        widths = [channels * 2**level for level in range(levels + 1)]
        inner = math.prod(self._maps)
        down = [_down(before, after) for before, after in pairwise(widths)]
        self.encoder = nn.Sequential(nn.Conv2d(3, channels, 3, padding=1), nn.SiLU(), *down, nn.Flatten())
        self.class_of_x = nn.Embedding(card["num_classes"], inner)
        self.to_latent = nn.Linear(inner, 2 * latent_dimensions)
        self.prior = nn.Embedding(card["num_classes"], 2 * latent_dimensions)
        nn.init.zeros_(self.prior.weight)
        self.class_of_z = nn.Embedding(card["num_classes"], inner)
        self.from_latent = nn.Linear(latent_dimensions, inner)
        up = [_up(after, before) for before, after in reversed(list(pairwise(widths)))]
        self.decoder = nn.Sequential(*up, nn.Conv2d(channels, 3, 3, padding=1), nn.Tanh())

    def encode(self, x: torch.Tensor, labels: torch.Tensor) -> Normal:
        """Return q(z | x, y)."""
        height, width = self._padded
        padded = F.pad(x, (0, width - x.shape[-1], 0, height - x.shape[-2]), mode="replicate")
        hidden = F.silu(self.encoder(padded) + self.class_of_x(labels))
        return _normal(self.to_latent(hidden))

    def prior_of(self, labels: torch.Tensor) -> Normal:
        """Return p(z | y)."""
        return _normal(self.prior(labels))

    def decode(self, z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the mean of p(x | z, y): `float32 [n, 3, H, W]`, -1 to 1."""
        hidden = F.silu(self.from_latent(z) + self.class_of_z(labels))
        x: torch.Tensor = self.decoder(hidden.view(-1, *self._maps))
        return x[:, :, : self._height, : self._width]


def _normal(numbers: torch.Tensor) -> Normal:
    mean, log_variance = numbers.float().chunk(2, dim=1)
    return Normal(mean, log_variance.clamp(-_LOG_VARIANCE_LIMIT, _LOG_VARIANCE_LIMIT))


def _down(before: int, after: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(before, after, 4, stride=2, padding=1), nn.GroupNorm(_groups(after), after), nn.SiLU()
    )


def _up(before: int, after: int) -> nn.Module:
    return nn.Sequential(
        nn.ConvTranspose2d(before, after, 4, stride=2, padding=1),
        nn.GroupNorm(_groups(after), after),
        nn.SiLU(),
        nn.Conv2d(after, after, 3, padding=1),
        nn.SiLU(),
    )


def _groups(channels: int) -> int:
    return math.gcd(8, channels)
