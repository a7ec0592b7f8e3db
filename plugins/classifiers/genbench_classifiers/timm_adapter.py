"""`timm` and `timm-pretrained`: every classification model of timm (Wightman, doi:10.5281/zenodo.4414861).

`timm` draws fresh weights; models that are built for one size of image (vision transformers) are built for
the dataset's. `timm-pretrained` loads published weights, replaces the last layer, and resizes images to the
size that the weights were trained at, inside the network, as timm resizes them; departure: the whole image
is resized, none of it is cropped away. Weights come from the mirror, the Hub's cache or the Hub
(`genbench.hub`); their content is part of every key. Names are checked here, when timm is there to ask.
"""

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import timm
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import nn

from genbench.errors import DataError, UsageError
from genbench.files import load_tensors
from genbench.protocols import Classifier
from genbench_classifiers._shared import BuiltIn, Network
from genbench_classifiers.configs.timm import TimmConfig
from genbench_classifiers.configs.timm_pretrained import WEIGHTS, TimmPretrainedConfig

_PROBED_SIDES = (8, 16, 32, 48, 64, 96, 128, 160, 192, 224, 256, 288, 320, 384, 448, 512)
_RATES = {"dropout": "drop_rate", "drop_path": "drop_path_rate"}  # our option: timm's argument
_Size = tuple[int, int]


class Timm(BuiltIn):
    """Builds a model with fresh weights."""

    config: TimmConfig

    def fresh(self, num_classes: int, image_shape: tuple[int, int, int]) -> nn.Module:
        """Return a network for images of this size.

        Raises:
            UsageError: timm has no such model, or it cannot take the option or the size; says which it can.
        """
        config = self.config
        check_name(config.model)
        size = _side_or(config.input_size_pixels, image_shape[1:])
        model = create(config.model, size, num_classes, _rates(config))
        network = TimmNetwork(model, size, "bicubic")
        check_size(network, config.model, image_shape, num_classes)
        return network


class TimmPretrained(Classifier):
    """Builds a model with published weights and a fresh last layer."""

    config: TimmPretrainedConfig

    def build(self, num_classes: int, image_shape: tuple[int, int, int]) -> nn.Module:
        """Return a network for images of any size, which it resizes.

        Raises:
            UsageError: timm has no such model, or it cannot take the option or the size; says which it can.
            DataError: The weights cannot be found, or do not fit the model.
        """
        config = self.config
        check_name(config.model)
        weights = config.source_files()[WEIGHTS]
        facts = _published(config.model)
        size = _side_or(config.input_size_pixels, tuple(facts["input_size"][1:]))
        model = create(config.model, size, num_classes, _rates(config), weights)
        check_loaded(model, config.model, weights)
        network = TimmNetwork(model, size, facts["interpolation"])
        check_size(network, config.model, image_shape, num_classes)
        return network

    def normalisation(self) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
        """Return what the weights were trained with, unless the options ask for the training images'."""
        if self.config.normalisation == "train":
            return None
        facts = _published(self.config.model)
        return tuple(facts["mean"]), tuple(facts["std"])


class TimmNetwork(Network):
    """A model of timm behind a resize.

    Args:
        model: The model.
        size: Height and width that it gets.
        interpolation: How images are resized: `bilinear` or anything else, which means `bicubic`.
    """

    def __init__(self, model: Any, size: _Size, interpolation: str) -> None:
        super().__init__()
        self.prepare = Prepare(size, "bilinear" if interpolation == "bilinear" else "bicubic")
        self.model = model

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """Map images `float [n, 3, H, W]` to the model's maps or tokens."""
        features: torch.Tensor = self.model.forward_features(self.prepare(x))
        return features

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """Map them to logits, or with `pre_logits` to the penultimate features `float [n, D]`."""
        logits: torch.Tensor = self.model.forward_head(x, pre_logits=pre_logits)
        return logits


class Prepare(nn.Module):
    """Resizes images as PIL does.

    Args:
        size: Height and width.
        mode: `bilinear` or `bicubic`; with antialiasing, both are PIL's filters.
    """

    def __init__(self, size: _Size, mode: str) -> None:
        super().__init__()
        self.size, self._mode = size, mode

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map `float [n, 3, H, W]` to `float [n, 3, *size]`."""
        if x.shape[2:] == self.size:
            return x
        return F.interpolate(x, self.size, mode=self._mode, antialias=True, align_corners=False)


def check_name(model: str) -> None:
    """Refuse names that timm does not know.

    Raises:
        UsageError: The message names near ones.
    """
    architecture, _, tag = model.partition(".")
    known = timm.list_models()
    if architecture not in known:
        near = get_close_matches(architecture, known, n=3)
        guess = f" Did you mean {' or '.join(near)}?" if near else ""
        raise UsageError(
            f"timm {timm.__version__} has no model {architecture!r} among its {len(known)}.{guess}",
            hint=f"python -c 'import timm; print(timm.list_models(\"*{architecture[:4]}*\"))'",
        )
    tags = timm.list_pretrained(f"{architecture}.*")
    if tag and model not in tags:
        raise UsageError(
            f"timm {timm.__version__} has no weights {model!r}. Known: {', '.join(tags) or 'none'}.",
            hint=f"--classifier timm-pretrained:{tags[0]}" if tags else f"--classifier timm:{architecture}",
        )


def create(
    name: str, size: _Size, num_classes: int, rates: Mapping[str, float], weights: Path | None = None
) -> Any:
    """Build a timm model, for one size of image where it is of that kind.

    Raises:
        UsageError: It does not take one of `rates`, or the size.
        DataError: The weights do not fit it.
    """
    fixed = _published(name).get("fixed_input_size") or False
    options: dict[str, Any] = {"num_classes": num_classes, "in_chans": 3, **rates}
    if fixed:
        options["img_size"] = size
    if weights is not None:
        options |= {
            "pretrained": True,
            "pretrained_cfg_overlay": {"file": str(weights), "custom_load": False},
        }
    try:
        return timm.create_model(name, **options)
    except TypeError as problem:
        refused = [option for option, argument in _RATES.items() if f"'{argument}'" in str(problem)]
        if not refused:
            raise
        raise UsageError(
            f"timm's {name} does not take the option {refused[0]!r}", hint=f"leave out {refused[0]}=..."
        ) from problem
    except (AssertionError, ValueError, ZeroDivisionError) as problem:
        raise _refused(name, size, num_classes, problem) from problem
    except (RuntimeError, KeyError, SafetensorError) as problem:
        if weights is None:
            raise _refused(name, size, num_classes, problem) from problem
        raise DataError(f"{weights.name} does not hold weights of {name}: {problem}") from problem


def check_loaded(model: nn.Module, name: str, weights: Path) -> None:
    """Refuse weights that are not the model's: timm leaves what it cannot place, and says nothing.

    Most numbers of the model must be in the file; names differ, and positions may have been resampled.

    Raises:
        DataError: They are not there.
    """
    held = {_mark(tensor) for tensor in load_tensors(weights, name).values()}
    sizes = {key: tensor.numel() for key, tensor in model.state_dict().items()}
    loaded = sum(sizes[key] for key, tensor in model.state_dict().items() if _mark(tensor) in held)
    if 2 * loaded < sum(sizes.values()):
        raise DataError(
            f"{weights.name} does not hold weights of {name}: {loaded} of its {sum(sizes.values())} numbers "
            "are in it",
            hint=f"put the right file into the mirror, as timm/{name}/{WEIGHTS}",
        )


def _mark(tensor: torch.Tensor) -> tuple[torch.Size, float]:
    return tensor.shape, float(tensor.double().sum())


def check_size(network: TimmNetwork, name: str, image_shape: tuple[int, int, int], num_classes: int) -> None:
    """Run one image, so that a size that cannot work is refused before anything is trained.

    Raises:
        UsageError: It cannot; the message says which sizes can.
    """
    network.eval()
    try:
        _probe(network, torch.zeros(1, *image_shape))
    except (RuntimeError, AssertionError, ValueError) as problem:
        raise _refused(name, network.prepare.size, num_classes, problem) from problem
    network.train()


@torch.no_grad()
def _probe(network: Any, images: torch.Tensor) -> None:
    features = network.forward_head(network.forward_features(images), pre_logits=True)
    if features.ndim != 2:
        raise ValueError(f"its penultimate features are {list(features.shape)}, not [n, D]")


def _refused(name: str, size: _Size, num_classes: int, problem: Exception) -> UsageError:
    working = [side for side in _PROBED_SIDES if _works(name, side, num_classes)]
    known = f"these sizes work: {', '.join(map(str, working))}" if working else "no square size works"
    reason = (str(problem).splitlines() or [type(problem).__name__])[0]
    return UsageError(
        f"timm's {name} cannot take images of {size[0]}x{size[1]} ({reason}); of those tried, {known}",
        hint=f"set input_size_pixels={working[0]}: images are resized inside the network" if working else "",
    )


def _works(name: str, side: int, num_classes: int) -> bool:
    """Say whether a model takes square images of this side, without weights or arithmetic."""
    options: dict[str, Any] = {"img_size": side} if _published(name).get("fixed_input_size") else {}
    try:
        with torch.device("meta"):
            model = timm.create_model(name.partition(".")[0], num_classes=num_classes, **options).eval()
            _probe(model, torch.zeros(1, 3, side, side))
    except Exception:  # whatever it raises, the size does not work
        return False
    return True


def _published(name: str) -> dict[str, Any]:
    """Return what timm publishes about a model's weights: size, mean, std, interpolation."""
    found: Any = timm.get_pretrained_cfg(name, allow_unregistered=False)
    return dict(found.to_dict()) if found is not None else {}


def _side_or(side: int | None, size: _Size) -> _Size:
    return size if side is None else (side, side)


def _rates(config: TimmConfig | TimmPretrainedConfig) -> dict[str, float]:
    rates = {_RATES["dropout"]: config.dropout, _RATES["drop_path"]: config.drop_path}
    return {name: rate for name, rate in rates.items() if rate is not None}
