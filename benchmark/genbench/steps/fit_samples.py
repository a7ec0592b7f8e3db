"""Samples in the course of a fit: what a generator drew after 1/8, 1/4, 1/2 and all of its steps.

They are for whoever looks at a run afterwards: labels and noise are the same each time, so that a column
shows one image as it comes about. A stopped fit keeps those that it has in its scratch folder.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from genbench.disk import make_folder, write_atomically

if TYPE_CHECKING:
    from genbench.store import Artifact

FOLDER = "fit-samples"
_EIGHTHS = (1, 2, 4, 8)
_LEAST_STEPS = 200  #: a shorter fit is over before there is anything to see
_MOST_IMAGES = 10  #: each time; their making is no part of the cost, but somebody waits for it


class FitSamples(NamedTuple):
    """What a generator drew at a step of its fit.

    Attributes:
        step: Optimizer steps done.
        labels: `int64 [n]`.
        pixels: `uint8 [n, 3, H, W]`, 0-255.
    """

    step: int
    labels: npt.NDArray[np.int64]
    pixels: npt.NDArray[np.uint8]


def are_due(done: int, total: int) -> bool:
    """Say whether a fit draws now; it depends on the step alone, so that a repeated fit draws the same."""
    return total >= _LEAST_STEPS and done in {total * eighths // 8 for eighths in _EIGHTHS}


def labels_for(classes: int) -> npt.NDArray[np.int64]:
    """Return the classes that are drawn, evenly spaced: `int64 [n]`."""
    from genbench.images import evenly_spaced  # which imports torch

    return evenly_spaced(classes, _MOST_IMAGES)


def write(samples: FitSamples, work: Path) -> None:
    """Keep samples in a step's scratch folder.

    Raises:
        ValueError: They are not `uint8 [n, 3, H, W]`, one for each label.
    """
    pixels, count = samples.pixels, len(samples.labels)
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or len(pixels) != count:
        raise ValueError(f"{pixels.dtype} {list(pixels.shape)} instead of uint8 [{count}, 3, H, W]")
    make_folder(work / FOLDER)
    _save({"labels": samples.labels, "pixels": pixels}, work / FOLDER / _name(samples.step))


def finish(work: Path, files: Path) -> None:
    """Copy what the fit drew, in all its attempts, among the files of the artifact."""
    if (work / FOLDER).is_dir():
        shutil.copytree(work / FOLDER, files / FOLDER)


def read(artifact: "Artifact") -> list[FitSamples]:
    """Return what a fit drew, the earliest first; nothing where it drew nothing."""
    found = sorted((artifact.folder / FOLDER).glob("*.safetensors"))
    return [FitSamples(int(path.stem), *_load(path)) for path in found]


def _name(step: int) -> str:
    return f"{step:09}.safetensors"


def _save(arrays: "Mapping[str, npt.NDArray[np.int64] | npt.NDArray[np.uint8]]", path: Path) -> None:
    from safetensors.numpy import save

    write_atomically(path, save({name: np.ascontiguousarray(one) for name, one in arrays.items()}))


def _load(path: Path) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    from safetensors.numpy import load

    found = load(path.read_bytes())
    return found["labels"], found["pixels"]
