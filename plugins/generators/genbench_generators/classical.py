"""`classical`: frozen augmented copies of training images (arm F): is a generator more than these?

Each copy is augmented once, when the set is made; what changes from epoch to epoch is the mix's `augment`.

* `flip_crop`: the shift of He et al. (arXiv:1512.03385, Sec. 4.2): pad with black, crop back. The pad is a
  share of the side, 4 pixels of 32 and 1 pixel of 8.
* `colour`: torchvision's ColorJitter: brightness, contrast, saturation and hue, in random order.
* `shear_zoom`: Keras' `ImageDataGenerator(shear_range, zoom_range)` as the S4 repository uses it: the shear
  angle is in degrees (so that its 0.2 moves nothing one could see), each axis is zoomed by its own factor,
  pixels from outside repeat the border. Departure: the resampling is torch's, not scipy's.
* `randaugment`: RandAugment (arXiv:1909.13719); `trivialaugment`: TrivialAugment, wide (arXiv:2103.10158);
  `augmix`: AugMix (arXiv:1912.02781), its images, without its loss. All three are torchvision's, as the mix's
  `augment` of the same name is. They turn images by up to 30 or 135 degrees, which can make a 9 of a 6.
* `mixup`: lambda x + (1 - lambda) x' (arXiv:1710.09412); `cutmix`: a rectangle of x' pasted into x, its area
  1 - lambda (arXiv:1905.04899, Sec. 3.1); lambda ~ Beta(alpha, alpha). A frozen copy has one label, so the
  partner x' is drawn from the class of x: what is lost against the papers is mixing across classes, which
  the mix's `augment=strong` does on the fly.

Half of the copies are mirrored, whatever the variant, where the dataset says that a mirrored image is still
of its class: a mirrored digit is no digit.
"""

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F

from genbench.protocols import Generator, RunContext, SampleRequest, SyntheticBatch
from genbench_generators._shared import chunks
from genbench_generators.configs.classical import ClassicalConfig

Transform = Callable[[torch.Tensor], torch.Tensor]


class Classical(Generator):
    """Augments each request's source image; image i depends on its source and its seed alone."""

    def __init__(self, config: ClassicalConfig) -> None:
        self.config = config

    def sample(self, request: SampleRequest, ctx: RunContext) -> Iterator[SyntheticBatch]:
        """Yield augmented copies of the source images."""
        transform = _transform(self.config)
        for part in chunks(len(request)):
            sources = request.source_indices[part]
            images = request.train.batch(sources)
            if self.config.variant in {"mixup", "cutmix"}:
                images = self._mixed(images, request, part)
            with torch.random.fork_rng(devices=[]):  # torchvision draws from the global generator
                augmented = [
                    _augment(image, int(seed), transform, flip=ctx.dataset.flip)
                    for image, seed in zip(images, request.seeds[part], strict=True)
                ]
            yield SyntheticBatch(torch.stack(augmented), request.labels[part], sources)

    def _mixed(self, images: torch.Tensor, request: SampleRequest, part: slice) -> torch.Tensor:
        """Mix each image with another one of its class, if there is one: `uint8 [n, 3, H, W]`."""
        mixed = []
        facts = zip(request.labels[part], request.source_indices[part], request.seeds[part], strict=True)
        for image, (label, source, seed) in zip(images, facts, strict=True):
            rng = np.random.default_rng([1, abs(int(seed))])
            of_class = np.flatnonzero(request.train.labels == label)
            others = of_class[of_class != source]
            partner = rng.choice(others) if len(others) else source
            other = request.train.batch([int(partner)])[0]
            share = float(rng.beta(self.config.mix_alpha, self.config.mix_alpha))
            if self.config.variant == "mixup":
                mixed.append((share * image.float() + (1 - share) * other.float()).round().byte())
            else:
                mixed.append(_pasted(image, other, share, rng))
        return torch.stack(mixed)


def _augment(image: torch.Tensor, seed: int, transform: Transform, *, flip: bool) -> torch.Tensor:
    """Augment one image: `uint8 [3, H, W]`. Seeds the global generator, which the caller restores."""
    torch.manual_seed(seed)
    mirrored = torch.rand(()) < 0.5  # drawn whether used or not: the rest of the stream stays the same
    return transform(image.flip(-1) if flip and mirrored else image)


def _transform(config: ClassicalConfig) -> Transform:
    """Return the variant's map from `uint8 [3, H, W]` to the same."""
    if config.variant in {"mixup", "cutmix"}:
        return lambda image: image  # mixed already, and mirrored if wanted
    if config.variant == "flip_crop":
        return lambda image: _shifted(image, config.shift_fraction)
    if config.variant == "shear_zoom":
        return lambda image: _sheared(image, config.shear_degrees, config.zoom)
    from torchvision.transforms import v2

    transform: Transform
    if config.variant == "colour":
        strength = config.jitter
        transform = v2.ColorJitter(strength, strength, strength, strength / 4)
    elif config.variant == "randaugment":
        transform = v2.RandAugment(config.randaugment_operations, config.randaugment_magnitude)
    elif config.variant == "augmix":
        transform = v2.AugMix()
    else:
        transform = v2.TrivialAugmentWide()
    return transform


def _pasted(image: torch.Tensor, other: torch.Tensor, share: float, rng: np.random.Generator) -> torch.Tensor:
    """Paste a rectangle of area 1 - share of another image into one: `uint8 [3, H, W]` (CutMix, Eq. 2)."""
    _, height, width = image.shape
    half_height, half_width = (round(side * math.sqrt(1 - share) / 2) for side in (height, width))
    row, column = int(rng.integers(height)), int(rng.integers(width))
    rows = slice(max(0, row - half_height), row + half_height)
    columns = slice(max(0, column - half_width), column + half_width)
    pasted = image.clone()
    pasted[:, rows, columns] = other[:, rows, columns]
    return pasted


def _shifted(image: torch.Tensor, fraction: float) -> torch.Tensor:
    """Pad with black by a share of the side and crop at random: `uint8 [3, H, W]`."""
    _, height, width = image.shape
    down, right = round(fraction * height), round(fraction * width)
    top = int(torch.randint(0, 2 * down + 1, ()))
    left = int(torch.randint(0, 2 * right + 1, ()))
    padded = F.pad(image, (right, right, down, down))
    return padded[:, top : top + height, left : left + width].contiguous()


def _sheared(image: torch.Tensor, degrees: float, zoom: float) -> torch.Tensor:
    """Shear and zoom about the centre as Keras' `apply_affine_transform` does: `uint8 [3, H, W]`.

    In (row, column) coordinates output pixel p shows input pixel A p with A = shear @ zoom,
    shear = [[1, -sin a], [0, cos a]] and zoom = diag(z_row, z_column); z above 1 shrinks the picture.
    """
    draws = torch.rand(3).tolist()
    angle = math.radians((2 * draws[0] - 1) * degrees)
    z_row, z_column = (1 + (2 * draw - 1) * zoom for draw in draws[1:])
    _, height, width = image.shape
    # affine_grid wants (x, y) in units of half a side
    rows = [
        [math.cos(angle) * z_column, 0.0, 0.0],
        [-math.sin(angle) * z_column * width / height, z_row, 0.0],
    ]
    grid = F.affine_grid(torch.tensor([rows]), [1, 3, height, width], align_corners=False)
    moved = F.grid_sample(
        image[None].float(), grid, mode="bilinear", padding_mode="border", align_corners=False
    )
    return moved[0].round().clamp(0, 255).byte()
