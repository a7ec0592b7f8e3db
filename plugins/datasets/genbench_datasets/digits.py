"""`digits`: the embedded dataset, so that the first command works anywhere.

The test half of the UCI "Optical Recognition of Handwritten Digits" set, as scikit-learn ships it: 8x8
pixels, 17 grey levels, scaled here to 0-255 and repeated over three channels. There is no official split;
ours is stratified and drawn from a fixed name. The table is read without importing scikit-learn, which takes
longer than everything else that this step does.
"""

import gzip
import io
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from genbench.errors import DataError
from genbench.files import open_regular
from genbench.images import RealImages, Subset, TensorImages, stratified_choice, stratified_counts
from genbench.protocols import Dataset, RunContext
from genbench_datasets._shifts import computed_shifts
from genbench_datasets.configs.digits import DigitsConfig

_GREY_LEVELS = 16
_HINT = "pip install --force-reinstall scikit-learn"
_COLUMNS = 65  # 64 pixels and the class
_MOST_BYTES = 16 << 20  # of the table as text, which has 0.3


class Digits(Dataset):
    """Handwritten digits, ten classes."""

    def __init__(self, config: DigitsConfig) -> None:
        self._config = config

    def load(self, ctx: RunContext) -> RealImages:
        """Return the images, resized to `size`."""
        table = _table(self._config.source_files()["digits.csv.gz"])
        pixels, labels = table[:, :-1].reshape(-1, 1, 8, 8), table[:, -1].astype(np.int64)
        grey = torch.from_numpy(pixels / _GREY_LEVELS).float()
        if self._config.size != grey.shape[-1]:
            grey = torch.nn.functional.interpolate(
                grey, size=self._config.size, mode="bilinear", antialias=True
            )
        colour = (grey * 255).round().clamp(0, 255).byte().repeat(1, 3, 1, 1)
        images = TensorImages(colour, labels, [str(digit) for digit in range(10)])
        test_counts = stratified_counts(
            images.class_counts(), round(self._config.test_fraction * len(images))
        )
        test, train = stratified_choice(images.labels, test_counts, "digits", "test")
        held_out = Subset(images, test)
        return RealImages(Subset(images, train), held_out, computed_shifts(held_out, self._config, ctx))


def _table(file: Path) -> npt.NDArray[np.float64]:
    """Read the table: `float64 [N, 65]`.

    Raises:
        DataError: It is not the file that scikit-learn ships.
    """
    try:
        with open_regular(file) as packed, gzip.GzipFile(fileobj=packed) as content:
            text = content.read(_MOST_BYTES + 1)
        lines = io.BytesIO(text if len(text) <= _MOST_BYTES else b"0")
        found: npt.NDArray[np.float64] = np.loadtxt(lines, delimiter=",", ndmin=2)
    except (OSError, EOFError, ValueError, zlib.error) as problem:
        raise DataError(f"{file} cannot be read: {problem}", hint=_HINT) from problem
    if found.shape[-1] != _COLUMNS:
        raise DataError(f"{file} is not the table of digits that scikit-learn ships", hint=_HINT)
    return found
