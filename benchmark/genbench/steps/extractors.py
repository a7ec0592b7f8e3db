"""Frozen extractors: which network sees an image set, and how images reach it.

`reference` and `pixels` need no weights. The others are loaded from the mirror, the Hub's cache or the Hub,
and see images resized (bilinear or bicubic, antialiased) to their own size, normalised their own way. None is
the TensorFlow network of published FIDs: values of different extractors are never comparable.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from genbench.errors import DataError
from genbench.files import load_tensors
from genbench.images import LabelledImages
from genbench.protocols import EXTRACTOR_WEIGHTS, extractor_files
from genbench.training import NormalisedNetwork, predict

Features = npt.NDArray[np.float32]
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_BATCH_IMAGES = 64


class _Loaded(NamedTuple):
    """A network and what it wants to see: side in pixels, interpolation, mean and standard deviation."""

    network: Callable[[torch.Tensor], torch.Tensor]
    side: int
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]


def embed(
    extractor: str, images: LabelledImages, reference: NormalisedNetwork | None, device: str
) -> Features:
    """Return the features of every image: `float32 [N, D]`.

    Args:
        extractor: Its name, as `EmbeddingConfig.extractor` takes it.
        images: The images.
        reference: The reference classifier, for the extractor of that name.
        device: Where to compute.

    Raises:
        DataError: The weights cannot be had, or fit another network.
    """
    if extractor == "pixels":
        return np.concatenate([batch.flatten(1).div(255).numpy() for batch in images.batches(2048)])
    if extractor == "reference":
        assert reference is not None
        return predict(reference, images, "fp32", device).features
    return np.concatenate(list(_extracted(_load(extractor, device), images, device)))


@torch.inference_mode()
def _extracted(loaded: _Loaded, images: LabelledImages, device: str) -> Iterator[Features]:
    mean = torch.tensor(loaded.mean, device=device)[:, None, None]
    std = torch.tensor(loaded.std, device=device)[:, None, None]
    size = (loaded.side, loaded.side)
    for batch in images.batches(_BATCH_IMAGES):
        pixels = batch.to(device).float() / 255
        pixels = F.interpolate(pixels, size, mode=loaded.interpolation, antialias=True).clamp(0, 1)
        yield loaded.network((pixels - mean) / std).float().cpu().numpy()


def _load(extractor: str, device: str) -> _Loaded:
    state = load_tensors(extractor_files(extractor)["model.safetensors"], f"extractor {extractor!r}")
    try:
        with torch.random.fork_rng(devices=[]):  # building a network draws random weights
            if extractor == "inception":
                return _inception(state, device)
            if extractor == "squeezenet":
                return _squeezenet(state, device)
            name = EXTRACTOR_WEIGHTS.get(extractor, extractor).replace("timm:", "timm/")
            return _timm(name.removeprefix("timm/"), state, device)
    except RuntimeError as problem:
        lines = str(problem).splitlines()
        raise DataError(f"extractor {extractor!r}: its weights fit another network: {lines[0]}") from problem


def _inception(state: dict[str, torch.Tensor], device: str) -> _Loaded:
    """Pool3 of torchvision's InceptionV3: D = 2048.

    The auxiliary head only matters to its training, and not every file of weights has it: timm's has none.
    """
    from torchvision.models import inception_v3

    network: Any = inception_v3(weights=None, aux_logits=False, init_weights=False, transform_input=True)
    network.load_state_dict({key: value for key, value in state.items() if not key.startswith("AuxLogits.")})
    network.fc = torch.nn.Identity()
    return _Loaded(network.eval().to(device), 299, "bilinear", _IMAGENET_MEAN, _IMAGENET_STD)


def _squeezenet(state: dict[str, torch.Tensor], device: str) -> _Loaded:
    """The last Fire module of SqueezeNet 1.0 (arXiv:1602.07360), averaged over places: D = 512."""
    from torchvision.models import squeezenet1_0

    network: Any = squeezenet1_0(weights=None)
    network.load_state_dict(state)
    layers = network.features.eval().to(device)
    return _Loaded(lambda x: layers(x).mean(dim=(2, 3)), 224, "bilinear", _IMAGENET_MEAN, _IMAGENET_STD)


def _timm(name: str, state: dict[str, torch.Tensor], device: str) -> _Loaded:
    """The pooled features of any timm model, prepared as its own configuration says."""
    import timm
    from timm.data.config import resolve_model_data_config

    network: Any = timm.create_model(name, pretrained=False, num_classes=0)
    own = network.state_dict().keys()
    network.load_state_dict({key: value for key, value in state.items() if key in own})
    facts = resolve_model_data_config(network)
    known = facts["interpolation"] if facts["interpolation"] in ("bilinear", "bicubic") else "bicubic"
    return _Loaded(network.eval().to(device), int(facts["input_size"][1]), known, facts["mean"], facts["std"])
