"""Arbitrary Style Transfer in Real-time with Adaptive Instance Normalization (arXiv:1703.06868).

AdaIN(x, y) = sigma(y) (x - mu(x)) / sigma(x) + mu(y), Eq. 8, per image and channel. With f the encoder and g
the decoder, t = AdaIN(f(c), f(s)), Eq. 9, the decoder minimises L_c + lambda L_s (Eq. 11) over random pairs
of training images and styles, where

    L_c = |f(g(t)) - t|^2 (Eq. 12),   L_s = sum over layers |mu - mu_s|^2 + |sigma - sigma_s|^2 (Eq. 13),

and images come out as g((1 - alpha) f(c) + alpha t), Eq. 14. Every layer of f is divided by its root mean
square over the style images, for the same reason for which the authors take a VGG whose activations are
normalised: the loss has one scale, whatever the encoder. Departures: the norms are mean squares, as in the
authors' code; the decoder has two convolutions per halving of the image, half the channels after each,
whatever the encoder, and leaky rectifiers (slope 0.2): a short fit with ReLU can switch a whole layer off for
good; it learns from train and the given styles alone, whole images instead of random crops.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from genbench.errors import GenbenchError
from genbench.protocols import RunContext
from genbench.training import load_optimizer_tensors, optimizer_tensors
from genbench_generators._encoders import Encoder
from genbench_generators.configs.style_transfer import StyleTransferConfig

_EPSILON = 1e-5  # added to variances
_LEAK = 0.2  # a layer whose units are all off with ReLU stays off: every image is one colour then
_NARROWEST = 16  # channels that no layer of a decoder goes below
_REPORT_STEPS = 20  # the loss is read from the device this often


class Moments(NamedTuple):
    """Mean and standard deviation per image and channel: `float32 [n, C, 1, 1]` each."""

    mean: torch.Tensor
    std: torch.Tensor


def moments(maps: torch.Tensor) -> Moments:
    """Return mu and sigma over positions (Eqs. 5, 6): of `float32 [n, C, h, w]`."""
    variance, mean = torch.var_mean(maps, dim=(2, 3), correction=0, keepdim=True)
    return Moments(mean, (variance + _EPSILON).sqrt())


def layer_scales(encoder: Encoder, images: torch.Tensor) -> list[float]:
    """Return the root mean square of each style layer over images `float32 [n, 3, h, w]`, 0-1."""
    with torch.no_grad():
        squares = [[float(maps.square().mean()) for maps in encoder(image[None]).style] for image in images]
    return [math.sqrt(sum(layer) / len(layer)) + _EPSILON for layer in zip(*squares, strict=True)]


def adain(content: torch.Tensor, style: Moments) -> torch.Tensor:
    """Give content maps the moments of a style (Eq. 8): `float32 [n, C, h, w]`."""
    own = moments(content)
    return style.std * (content - own.mean) / own.std + style.mean


class Decoder(nn.Module):
    """Turns maps of an encoder into an image: `float32 [n, C, h, w]` to `[n, 3, H, W]`, about 0-1.

    Args:
        channels: Channels of the maps.
        doublings: How often the maps are doubled on the way.
        size: Height and width of the image; what the doublings miss, bilinear scaling does.
    """

    def __init__(self, channels: int, doublings: int, size: tuple[int, int]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(doublings):
            narrower = max(channels // 2, _NARROWEST)
            layers += [*_convolution(channels, narrower), nn.Upsample(scale_factor=2)]
            layers += _convolution(narrower, narrower)
            channels = narrower
        self.layers = nn.Sequential(*layers, nn.Conv2d(channels, 3, 3, padding=1, padding_mode="reflect"))
        self._size = size

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Decode."""
        images: torch.Tensor = self.layers(maps)
        if images.shape[2:] != self._size:
            images = F.interpolate(images, self._size, mode="bilinear", align_corners=False)
        return images


def decoder_options(code: torch.Tensor, size: tuple[int, int]) -> dict[str, Any]:
    """Return the arguments of the `Decoder` of such maps: JSON data."""
    doublings = max(0, round(math.log2(min(size) / min(code.shape[2:]))))
    return {"channels": code.shape[1], "doublings": doublings, "size": list(size)}


def make_decoder(options: Mapping[str, Any]) -> Decoder:
    """Build a decoder, its weights drawn from torch's global generator."""
    height, width = options["size"]
    return Decoder(options["channels"], options["doublings"], (height, width))


class Pool(NamedTuple):
    """Images that fit draws from.

    Attributes:
        batch: From rows `int64 [n]` to images at the working size: `float32 [n, 3, h, w]`, 0-1.
        total: How many there are.
    """

    batch: Callable[[torch.Tensor], torch.Tensor]
    total: int


class AdainFit:
    """One fit of a decoder.

    What a step does depends on (seed, step) alone: a resumed fit equals the one that was not stopped.

    Args:
        encoder: What sees.
        decoder: Freshly built, on `ctx.device`; changed in place.
        sources: The training images.
        styles: The style images.
        config: Options.
        ctx: Seeds, progress and checkpoints.
    """

    def __init__(
        self,
        encoder: Encoder,
        decoder: Decoder,
        sources: Pool,
        styles: Pool,
        config: StyleTransferConfig,
        ctx: RunContext,
    ) -> None:
        self._encoder, self._decoder, self._config, self._ctx = encoder, decoder, config, ctx
        self._sources, self._styles = sources, styles
        self._parameters = list(decoder.parameters())
        self._optimizer = torch.optim.Adam(self._parameters, config.fit_learning_rate)

    def run(self) -> None:
        """Take all steps that are left.

        Raises:
            GenbenchError: The loss became NaN or infinite.
            Interrupted: The run was asked to stop; a checkpoint is saved.
        """
        steps = self._config.fit_steps
        for step in range(self._restore(), steps):
            loss = self._step(step)
            if (step + 1) % _REPORT_STEPS == 0 or step + 1 == steps:
                self._report(float(loss), step + 1)
            else:
                self._ctx.progress(step + 1, steps)
            if self._ctx.checkpoint_due():
                self._checkpoint(step + 1)
        self._decoder.eval()

    def _step(self, step: int) -> torch.Tensor:
        rng = self._ctx.rng("pairs", step)
        count = self._config.batch_size_images
        rows = torch.randint(self._sources.total, (count,), generator=rng)
        which = torch.randint(self._styles.total, (count,), generator=rng)
        with torch.no_grad():
            content = self._encoder(self._sources.batch(rows)).content
            style = [moments(maps) for maps in self._encoder(self._styles.batch(which)).style]
            t = adain(content, style[-1])
        loss = decoder_loss(self._encoder, self._decoder(t), t, style, self._config.fit_style_weight)
        gradients = torch.autograd.grad(loss, self._parameters)
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            parameter.grad = gradient
        self._optimizer.step()
        return loss.detach()

    def _report(self, loss: float, done: int) -> None:
        if not math.isfinite(loss):
            raise GenbenchError(
                f"style_transfer: the decoder diverged: the loss is {loss} at step {done}, learning rate "
                f"{self._config.fit_learning_rate:g}",
                hint="lower fit_learning_rate",
            )
        self._ctx.progress(done, self._config.fit_steps, loss=loss)

    def _checkpoint(self, done: int) -> None:
        tensors = {f"decoder/{name}": value for name, value in self._decoder.state_dict().items()}
        tensors |= {f"optimizer/{name}": value for name, value in optimizer_tensors(self._optimizer).items()}
        self._ctx.checkpoint(tensors, {"step": done})

    def _restore(self) -> int:
        saved = self._ctx.restore()
        if saved is None:
            return 0
        parts: dict[str, dict[str, torch.Tensor]] = {"decoder": {}, "optimizer": {}}
        for name, value in saved.tensors.items():
            part, _, rest = name.partition("/")
            parts[part][rest] = value
        self._decoder.load_state_dict(parts["decoder"])
        load_optimizer_tensors(self._optimizer, parts["optimizer"])
        return int(saved.meta["step"])


def decoder_loss(
    encoder: Encoder, images: torch.Tensor, t: torch.Tensor, style: list[Moments], weight: float
) -> torch.Tensor:
    """Return L_c + lambda L_s (Eqs. 11-13), a scalar.

    Args:
        encoder: What sees.
        images: What the decoder made of `t`: `float32 [n, 3, H, W]`.
        t: AdaIN's output: `float32 [n, C, h, w]`.
        style: Moments of the style images, per layer.
        weight: lambda.
    """
    maps = encoder(images)
    loss = F.mse_loss(maps.content, t)
    for seen, wanted in zip(maps.style, style, strict=True):
        own = moments(seen)
        loss = loss + weight * (F.mse_loss(own.mean, wanted.mean) + F.mse_loss(own.std, wanted.std))
    return loss


def _convolution(before: int, after: int) -> list[nn.Module]:
    return [nn.Conv2d(before, after, 3, padding=1, padding_mode="reflect"), nn.LeakyReLU(_LEAK, inplace=True)]
