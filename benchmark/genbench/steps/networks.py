"""Networks of classifiers: built with weights from names, and rebuilt from what a training left."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save_file

from genbench.images import ImageStatistics, LabelledImages
from genbench.protocols import Classifier, TrainRecipe
from genbench.seeding import derive_seed
from genbench.store import Artifact
from genbench.training import NormalisedNetwork

if TYPE_CHECKING:
    from genbench.steps.dataset import Splits

_WEIGHTS = "network.safetensors"


def build_network(
    classifier: Classifier, images: LabelledImages, recipe: TrainRecipe, seed: int
) -> torch.nn.Module:
    """Build a network whose initial weights depend on the training seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "init"))
        network = classifier.build(images.num_classes, images.image_shape)
    return network.to(memory_format=torch.channels_last) if recipe.channels_last else network


def save_network(network: torch.nn.Module, folder: Path) -> None:
    """Write the weights and buffers of a trained network."""
    save_file(_contiguous(network.state_dict()), folder / _WEIGHTS)


def open_network(
    classifier: Classifier, splits: "Splits", trained: Artifact, device: str
) -> NormalisedNetwork:
    """Rebuild a trained network: pixels in, logits out, evaluation mode."""
    network = build_network(classifier, splits.train, classifier.recipe(), seed=0)
    network.load_state_dict(load_file(trained.folder / _WEIGHTS))
    return NormalisedNetwork(network, normalisation(classifier, splits)).to(device).eval()


def normalisation(classifier: Classifier, splits: "Splits") -> ImageStatistics:
    """Return what pixels are normalised with: the classifier's own statistics, or those of train."""
    own = classifier.normalisation()
    return splits.statistics if own is None else ImageStatistics(*own)


def _contiguous(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value.detach().cpu().contiguous() for name, value in state.items()}
