"""`style_transfer`: training images in the manner of style images (see `_gatys.py` and `_adain.py`).

`fit` measures the styles once: Gram matrices for `gatys` (arXiv:1508.06576), means and deviations for
`adain` (arXiv:1703.06868), which also fits its decoder there. So `sample` needs no style image any more.

Images below `working_size_pixels` are enlarged bilinearly for the encoder and shrunk again, antialiased.
Styles are cropped to a square of the shorter working side. Each image draws its style from its own seed,
and `prompts` records the style's name; with `style=NAME` all take that one.

`source-s4` is kyritzb/Synthetic-Data-Classification-Experiment, whose style list is not published. Kept: the
style image average-pooled 3 x 3, one feed-forward pass, at 256 pixels. Departures: AdaIN for Magenta's
network (arXiv:1705.06830), whose weights are not ours to ship; it stylised each of its images in every one
of its (eight or nine) styles, which is one generator with `style=NAME` per style here; its manual cull of
failures is `cull_list`.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from genbench.errors import PluginError, UsageError, did_you_mean
from genbench.images import LabelledImages, Labels
from genbench.protocols import Generator, RunContext, SampleRequest, SyntheticBatch
from genbench.seeding import counter_bits, derive_seed
from genbench_generators._adain import (
    AdainFit,
    Decoder,
    Moments,
    Pool,
    adain,
    decoder_options,
    layer_scales,
    make_decoder,
    moments,
)
from genbench_generators._encoders import Encoder, ScaledEncoder, make_encoder
from genbench_generators._gatys import gram, stylised
from genbench_generators._shared import chunks
from genbench_generators._styles import Styles, load_styles
from genbench_generators.configs.style_transfer import StyleTransferConfig

_LUMA = (0.299, 0.587, 0.114)  # Rec. 601
Tensors = dict[str, torch.Tensor]


class _Fitted(NamedTuple):
    """What `fit` learned.

    Attributes:
        names: Names of the styles.
        measured: What was measured of each style, stacked: `gram-0`, ... or `mean`, `std`.
        decoder: The decoder of `adain`.
        card: JSON data: the working size; of `adain` the scales of the layers and the decoder's arguments.
    """

    names: tuple[str, ...]
    measured: Tensors
    decoder: Decoder | None
    card: dict[str, Any]


class StyleTransfer(Generator):
    """Stylises each request's source image; image i depends on its source and its seed alone."""

    def __init__(self, config: StyleTransferConfig) -> None:
        self.config = config
        self._fitted: _Fitted | None = None

    # ---------------------------------------------------------------------------------------------- fit

    def fit(self, train: LabelledImages, ctx: RunContext) -> None:
        """Measure the styles and, for `adain`, fit the decoder; resumes from the last checkpoint.

        Raises:
            UsageError: The images are too small for the encoder.
            DataError: A style image cannot be read.
            GenbenchError: The decoder's loss became NaN or infinite.
        """
        size = _working_size(self.config, train.image_shape)
        encoder = self._encoder(size, ctx)
        styles = load_styles(self.config, min(size))
        card: dict[str, Any] = {"size": list(size)}
        if self.config.method == "gatys":
            self._fitted = _Fitted(styles.names, _measured_grams(encoder, styles, ctx), None, card)
            return
        card["scales"] = layer_scales(encoder, styles.images.to(ctx.device))
        encoder = ScaledEncoder(encoder, card["scales"])
        measured = _measured_moments(encoder, styles, ctx.device)
        card["decoder"] = decoder_options(_code(encoder, size, ctx.device), size)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(ctx.seed("decoder"))
            decoder = make_decoder(card["decoder"]).to(ctx.device)
        sources = Pool(lambda rows: _enlarged(train.batch(rows), size, ctx.device), len(train))
        pictures = Pool(lambda rows: _fitting(styles.images[rows], size).to(ctx.device), len(styles.names))
        AdainFit(encoder, decoder, sources, pictures, self.config, ctx).run()
        self._fitted = _Fitted(styles.names, measured, decoder, card)

    def save(self, folder: Path) -> None:
        """Write what was measured of the styles, and the decoder."""
        from safetensors.torch import save_file

        fitted = self._ready()
        decoder = fitted.decoder.state_dict() if fitted.decoder else {}
        tensors = {**fitted.measured, **{f"decoder/{name}": value for name, value in decoder.items()}}
        save_file(
            {name: value.cpu().contiguous() for name, value in tensors.items()}, folder / "style.safetensors"
        )
        content = json.dumps({"styles": list(fitted.names), **fitted.card}, indent=1)
        (folder / "style.json").write_text(content, encoding="utf-8")

    def load(self, folder: Path) -> None:
        """Read back what `save` wrote."""
        from safetensors.torch import load_file

        card = json.loads((folder / "style.json").read_text(encoding="utf-8"))
        tensors = load_file(folder / "style.safetensors")
        prefix, decoder = "decoder/", None
        if "decoder" in card:
            with torch.random.fork_rng(devices=[]):  # the weights that are overwritten next
                decoder = make_decoder(card["decoder"])
            weights = {
                name.removeprefix(prefix): part for name, part in tensors.items() if name.startswith(prefix)
            }
            decoder.load_state_dict(weights)
        measured = {name: part for name, part in tensors.items() if not name.startswith(prefix)}
        self._fitted = _Fitted(tuple(card.pop("styles")), measured, decoder, card)

    # ------------------------------------------------------------------------------------------- sample

    def sample(self, request: SampleRequest, ctx: RunContext) -> Iterator[SyntheticBatch]:
        """Yield stylised source images, a micro-batch at a time; `prompts` are the names of their styles.

        Raises:
            UsageError: There is no style of the configured name.
        """
        fitted = self._ready()
        size = _working_size(self.config, request.train.image_shape)
        encoder = self._encoder(size, ctx)
        if "scales" in fitted.card:
            encoder = ScaledEncoder(encoder, fitted.card["scales"])
        chosen = self._chosen(request.seeds)
        alone = self.config.method == "gatys" and self.config.optimizer == "lbfgs"
        micro_batch = 1 if alone else self.config.micro_batch_images
        for part in chunks(len(request), micro_batch):
            rows = np.minimum(np.arange(part.start, part.start + micro_batch), part.stop - 1)
            sources = request.train.batch(request.source_indices[rows])
            made = self._stylised(encoder, sources, chosen[rows], request.seeds[rows], ctx)
            count = part.stop - part.start
            yield SyntheticBatch(
                made[:count].clone(),
                request.labels[part],
                request.source_indices[part],
                prompts=[fitted.names[index] for index in chosen[part]],
            )

    def _stylised(
        self, encoder: Encoder, pixels: torch.Tensor, chosen: Labels, seeds: Labels, ctx: RunContext
    ) -> torch.Tensor:
        """Stylise one full micro-batch: `uint8 [n, 3, H, W]` to the same, on the CPU."""
        own_size = (int(pixels.shape[2]), int(pixels.shape[3]))
        size = _working_size(self.config, (3, *own_size))
        sources = _enlarged(pixels, size, ctx.device)
        fitted, rows = self._ready(), torch.from_numpy(chosen)
        measured = {name: part[rows].to(ctx.device) for name, part in fitted.measured.items()}
        if fitted.decoder is None:
            grams = [measured[f"gram-{layer}"] for layer in range(len(measured))]
            start = _started(sources, seeds, self.config.start_noise)
            images = stylised(encoder, sources, grams, start, self.config)
        else:
            decoder = fitted.decoder.to(ctx.device).eval()
            with torch.no_grad():
                content = encoder(sources).content
                t = adain(content, Moments(measured["mean"], measured["std"]))
                images = decoder(torch.lerp(content, t, self.config.alpha))  # Eq. 14
        images = images.clamp(0, 1)
        if self.config.preserve_colour:
            images = _with_colours_of(images, sources)
        if size != own_size:
            images = F.interpolate(images, own_size, mode="bilinear", antialias=True, align_corners=False)
        return (images * 255).round().clamp(0, 255).byte().cpu().contiguous()

    def _chosen(self, seeds: Labels) -> Labels:
        """Return each image's style: `int64 [n]`."""
        names = self._ready().names
        if self.config.style is None:
            bits = counter_bits(derive_seed("style"), torch.from_numpy(seeds)).numpy()
            return np.asarray(bits % len(names), dtype=np.int64)
        if self.config.style not in names:
            raise UsageError(
                f"style_transfer: style is {self.config.style!r}. {did_you_mean(self.config.style, names)}"
            )
        return np.full(len(seeds), names.index(self.config.style), dtype=np.int64)

    # ------------------------------------------------------------------------------------------ helpers

    def _encoder(self, size: tuple[int, int], ctx: RunContext) -> Encoder:
        return make_encoder(self.config, ctx.inputs.get("reference"), size, ctx.device)

    def _ready(self) -> _Fitted:
        if self._fitted is None:
            raise PluginError("style_transfer has measured no style yet: fit or load comes before sample")
        return self._fitted


def _measured_grams(encoder: Encoder, styles: Styles, ctx: RunContext) -> Tensors:
    """Measure every style at every layer: `gram-0`, ...: `float32 [S, C, C]`."""
    saved = ctx.restore()
    done: list[Tensors] = []
    if saved is not None:
        done = [
            {name: part[row] for name, part in saved.tensors.items()} for row in range(saved.meta["styles"])
        ]
    for row in range(len(done), len(styles.names)):
        with torch.no_grad():
            maps = encoder(styles.images[row : row + 1].to(ctx.device)).style
        done.append({f"gram-{layer}": gram(part)[0].cpu() for layer, part in enumerate(maps)})
        ctx.progress(row + 1, len(styles.names))
        if ctx.checkpoint_due():
            ctx.checkpoint(_stacked(done), {"styles": len(done)})
    return _stacked(done)


def _stacked(rows: list[Tensors]) -> Tensors:
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


@torch.no_grad()
def _measured_moments(encoder: Encoder, styles: Styles, device: str) -> Tensors:
    """Measure every style where AdaIN works: `mean` and `std`, `float32 [S, C, 1, 1]`."""
    found = [moments(encoder(image[None].to(device)).style[-1]) for image in styles.images]
    return {
        "mean": torch.cat([part.mean for part in found]).cpu(),
        "std": torch.cat([part.std for part in found]).cpu(),
    }


@torch.no_grad()
def _code(encoder: Encoder, size: tuple[int, int], device: str) -> torch.Tensor:
    """Return what a decoder will be handed, for its shape: `float32 [1, C, h, w]`."""
    return encoder(torch.zeros(1, 3, *size, device=device)).content


def _working_size(config: StyleTransferConfig, image_shape: tuple[int, int, int]) -> tuple[int, int]:
    """Return the height and width at which the encoder sees images: enlarged, never shrunk."""
    _, height, width = image_shape
    factor = max(1.0, config.working_size_pixels / min(height, width))
    return round(height * factor), round(width * factor)


def _enlarged(pixels: torch.Tensor, size: tuple[int, int], device: str) -> torch.Tensor:
    """Bring pixels `uint8 [n, 3, H, W]` to the working size: `float32`, 0-1, on the device."""
    return _fitting(pixels.to(device).float() / 255, size)


def _fitting(images: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    if images.shape[2:] == size:
        return images
    return F.interpolate(images, size, mode="bilinear", align_corners=False)


def _started(sources: torch.Tensor, seeds: Labels, noise_share: float) -> torch.Tensor:
    """Mix uniform noise of each image's own seed into the images to start from."""
    if noise_share == 0:
        return sources
    shape = sources.shape[1:]
    noise = [torch.rand(shape, generator=torch.Generator().manual_seed(int(seed))) for seed in seeds]
    return torch.lerp(sources, torch.stack(noise).to(sources.device), noise_share)


def _with_colours_of(images: torch.Tensor, sources: torch.Tensor) -> torch.Tensor:
    """Give images the colours of their sources and keep their brightness (arXiv:1606.05897, Sec. 3.2).

    The paper stylises brightness alone; here the colours are put back afterwards.
    """
    luma = torch.tensor(_LUMA, device=images.device)[:, None, None]
    brighter = ((images - sources) * luma).sum(dim=1, keepdim=True)
    return (sources + brighter).clamp(0, 1)
