"""The encoders of `style_transfer`: what sees content and style in an image.

* `vgg19`: torchvision's, ImageNet weights. Style: relu1_1 to relu5_1; content: relu4_2 (Gatys et al.). For
  AdaIN relu1_1 to relu4_1 and relu4_1, as there.
* `squeezenet`: torchvision's SqueezeNet 1.0 (arXiv:1602.07360), ImageNet weights. Style: the first
  convolution and the fire modules 3, 5 and 7 (torchvision's features 1, 4, 7, 9); content: fire 4 (feature
  5). For AdaIN features 1, 3, 4 and 4, which keep a quarter of the size.
* `reference`: any convolutional classifier of the harness. Style: the first convolution at each resolution,
  before its norm; content: the middle one of these. For AdaIN those down to the deepest that keeps a quarter
  of the side and eight pixels, and that one.
"""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from genbench.errors import DataError, UsageError
from genbench.files import load_tensors
from genbench_generators.configs.style_transfer import WEIGHTS, StyleTransferConfig

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
_LARGEST_TRIED = 256  # sizes that are tried, in pixels, to say which would work
_CODE_STRIDE = 4  # `reference` with AdaIN: the code keeps at least this share of the side
_CODE_PIXELS = 8  # and this many pixels: with fewer, no shape is left
_MAPS_NEEDED = 2  # `reference`: a network with fewer resolutions sees no texture


class Maps(NamedTuple):
    """What an encoder sees.

    Attributes:
        content: `float32 [n, C, h, w]`.
        style: The maps whose statistics are style, shallow first. AdaIN's content is the last of them.
    """

    content: torch.Tensor
    style: tuple[torch.Tensor, ...]


class Encoder(ABC):
    """A frozen network; gradients flow to its input."""

    @abstractmethod
    def __call__(self, images: torch.Tensor) -> Maps:
        """Encode images: `float32 [n, 3, h, w]`, 0-1."""


def make_encoder(config: StyleTransferConfig, reference: Any, size: tuple[int, int], device: str) -> Encoder:
    """Build the configured encoder for images of `size`, height and width.

    Args:
        config: Options.
        reference: The classifier of the option `reference`, or None.
        size: The working size in pixels.
        device: Where it shall be.

    Raises:
        UsageError: The images are too small for it, or the reference is not convolutional.
        DataError: Its weights do not fit.
    """
    if config.encoder == "reference":
        return ReferenceEncoder(reference, size, config)
    encoder = TorchvisionEncoder(config, device)
    if not encoder.takes(size):
        smallest = next(side for side in range(4, _LARGEST_TRIED) if encoder.takes((side, side)))
        raise _too_small(config, size, smallest)
    return encoder


class ScaledEncoder(Encoder):
    """An encoder whose style maps, and content with the last of them, are divided by a number per layer.

    For AdaIN, where content is the last style map.
    """

    def __init__(self, encoder: Encoder, scales: Sequence[float]) -> None:
        self._encoder, self._scales = encoder, scales

    def __call__(self, images: torch.Tensor) -> Maps:
        """Encode images: `float32 [n, 3, h, w]`, 0-1."""
        style = [maps / scale for maps, scale in zip(self._encoder(images).style, self._scales, strict=True)]
        return Maps(style[-1], tuple(style))


class TorchvisionEncoder(Encoder):
    """The convolutional part of a torchvision network with ImageNet weights."""

    def __init__(self, config: StyleTransferConfig, device: str) -> None:
        content, style = _LAYERS[config.encoder, config.method]
        self._content, self._style = content, style
        self._layers = _features(config)[: max(content, *style) + 1].to(device)
        self._mean = torch.tensor(_IMAGENET_MEAN, device=device)[:, None, None]
        self._std = torch.tensor(_IMAGENET_STD, device=device)[:, None, None]

    def __call__(self, images: torch.Tensor) -> Maps:
        """Encode images: `float32 [n, 3, h, w]`, 0-1."""
        x = (images - self._mean) / self._std
        maps: dict[int, torch.Tensor] = {}
        for index, layer in enumerate(self._layers):
            x = layer(x)
            if index == self._content or index in self._style:
                maps[index] = x
        return Maps(maps[self._content], tuple(maps[index] for index in self._style))

    def takes(self, size: tuple[int, int]) -> bool:
        """Say whether every map of such an image has two rows and two columns: statistics need them."""
        parameter = next(self._layers.parameters())
        try:
            with torch.no_grad():
                maps = self(torch.zeros(1, 3, *size, device=parameter.device))
        except RuntimeError:  # a kernel or a pool larger than its input
            return False
        return all(min(map_.shape[2:]) >= 2 for map_ in (maps.content, *maps.style))


class ReferenceEncoder(Encoder):
    """The convolutions of a classifier that the harness trained (a `ReferenceClassifier`)."""

    def __init__(self, network: Any, size: tuple[int, int], config: StyleTransferConfig) -> None:
        self._network = network
        found = self._taps(size)
        if len(found) < _MAPS_NEEDED:
            sides = (2**power for power in range(2, _LARGEST_TRIED.bit_length()))
            smallest = next((side for side in sides if len(self._taps((side, side))) >= _MAPS_NEEDED), None)
            if smallest is None:
                name = config.reference.use if config.reference else ""
                raise UsageError(
                    f"style_transfer: reference is {name!r}, which has no convolutions at two resolutions "
                    "or more",
                    hint="style_transfer:reference=cnn",
                )
            raise _too_small(config, size, smallest)
        if config.method == "adain":
            least = max(min(size) / _CODE_STRIDE, _CODE_PIXELS)
            kept = [tap for tap in found if tap.side >= least]
            self._style = [tap.module for tap in kept or found[:1]]
            self._content = self._style[-1]
        else:
            self._style = [tap.module for tap in found]
            self._content = self._style[len(self._style) // 2]

    def __call__(self, images: torch.Tensor) -> Maps:
        """Encode images: `float32 [n, 3, h, w]`, 0-1."""
        seen = self._seen(images, self._style)
        return Maps(seen[self._content], tuple(seen[module] for module in self._style))

    def _seen(self, images: torch.Tensor, modules: Iterable[nn.Module]) -> dict[nn.Module, torch.Tensor]:
        """Return what modules put out, in the order in which they run."""
        seen: dict[nn.Module, torch.Tensor] = {}
        hooks = [module.register_forward_hook(_keeper(seen)) for module in modules]
        try:
            self._network.network.forward_features(self._network.normalise(images * 255))
        finally:
            for hook in hooks:
                hook.remove()
        return seen

    def _taps(self, size: tuple[int, int]) -> "list[_Tap]":
        """Return the first convolution at each resolution that is 2 x 2 or larger."""
        device = next(self._network.parameters()).device
        convolutions = [module for module in self._network.modules() if isinstance(module, nn.Conv2d)]
        try:
            with torch.no_grad():
                seen = self._seen(torch.zeros(1, 3, *size, device=device), convolutions)
        except (RuntimeError, ValueError, AssertionError):  # how networks say that an image is too small
            return []
        taps: list[_Tap] = []
        for module, maps in seen.items():
            side = min(maps.shape[2:])
            if side >= 2 and (not taps or side < taps[-1].side):
                taps.append(_Tap(module, side))
        return taps


class _Tap(NamedTuple):
    """A convolution, and the shorter side of what it puts out."""

    module: nn.Module
    side: int


_LAYERS: dict[tuple[str, str], tuple[int, Sequence[int]]] = {  # content, style
    ("vgg19", "gatys"): (22, (1, 6, 11, 20, 29)),
    ("vgg19", "adain"): (20, (1, 6, 11, 20)),
    ("squeezenet", "gatys"): (5, (1, 4, 7, 9)),
    ("squeezenet", "adain"): (4, (1, 3, 4)),
}


def _features(config: StyleTransferConfig) -> nn.Sequential:
    """Build a torchvision network's convolutional part and read its weights; the rest is not needed."""
    import torchvision

    build = {"vgg19": torchvision.models.vgg19, "squeezenet": torchvision.models.squeezenet1_0}
    with torch.device("meta"):  # nothing is drawn: every weight is read
        features: nn.Sequential = build[config.encoder]().features
    path = config.weight_files()[WEIGHTS]
    prefix = "features."
    weights = {
        name.removeprefix(prefix): value.float()
        for name, value in load_tensors(path, "style_transfer").items()
        if name.startswith(prefix)
    }
    try:
        features.load_state_dict(weights, assign=True)
    except RuntimeError as problem:
        first = next(itertools.islice(str(problem).splitlines(), 1, None), str(problem)).strip()
        raise DataError(
            f"style_transfer: {path} does not hold the weights of {config.encoder}: {first}"
        ) from None
    return features.eval().requires_grad_(requires_grad=False)


def _too_small(config: StyleTransferConfig, size: tuple[int, int], smallest: int) -> UsageError:
    return UsageError(
        f"style_transfer: encoder {config.encoder!r} takes images of {smallest} pixels or more for method "
        f"{config.method!r}, found {size[0]}x{size[1]} (working_size_pixels is {config.working_size_pixels})",
        hint=f"style_transfer:working_size_pixels={smallest}",
    )


def _keeper(seen: dict[nn.Module, torch.Tensor]) -> Any:
    def keep(module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        seen.setdefault(module, output)

    return keep
