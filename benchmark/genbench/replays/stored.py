"""Numbers that are computed again from predictions that a source published: no network is trained."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from genbench import hub
from genbench.arrays import load_array
from genbench.errors import DataError
from genbench.replays.experiment import Reported, Stored, StoredValue
from genbench.untrusted import parse_json, read_text

_MOST_BYTES = 64 * 2**20
_DEPTH = 4
Classes = npt.NDArray[np.int64]


def recomputed(stored: Stored, reported: tuple[Reported, ...]) -> Mapping[str, tuple[float, int]]:
    """Compute again every number that says which stored predictions answer it.

    Returns:
        By its name: accuracy in %, or a difference of two in points, and the number of images.

    Raises:
        DataError: Files are missing, or do not fit together.
    """
    reader = _Reader(stored)
    return {one.name: reader.value(one.stored) for one in reported if one.stored is not None}


class _Reader:
    """Reads labels and predictions, each file once."""

    def __init__(self, stored: Stored) -> None:
        self._stored = stored
        self._read: dict[tuple[str, str], Classes] = {}

    def value(self, asked: StoredValue) -> tuple[float, int]:
        """Return a model's accuracy in %, or how far it is above another's; and the number of images."""
        accuracy, images = self._accuracy(asked.version, asked.model)
        return accuracy - (self._accuracy(asked.version, asked.minus)[0] if asked.minus else 0.0), images

    def _accuracy(self, version: str, model: str) -> tuple[float, int]:
        labels, said = self._classes(version, ""), self._classes(version, model)
        if len(labels) != len(said):
            raise DataError(f"{model}, {version}: {len(said):,} predictions for {len(labels):,} labels")
        return 100 * float((labels == said).mean()), len(labels)

    def _classes(self, version: str, model: str) -> Classes:
        if (version, model) not in self._read:
            path = self._stored.predictions if model else self._stored.labels
            path = path.replace("{version}", version).replace("{model}", model)
            found = hub.find(self._stored.repository, [path], "dataset")
            self._read[version, model] = self._checked(next(iter(found.values())))
        return self._read[version, model]

    def _checked(self, file: Path) -> Classes:
        """Read a list of classes.

        Raises:
            DataError: It is none.
        """
        if file.suffix == ".npy":
            content = np.asarray(load_array(file))
        else:
            try:
                content = np.asarray(parse_json(read_text(file, _MOST_BYTES), _DEPTH))
            except ValueError as problem:
                raise DataError(f"{file} cannot be read: {problem}") from problem
        if content.ndim != 1 or not len(content) or content.dtype.kind not in "iu":
            raise DataError(
                f"{file}: expected a list of whole numbers, found {content.dtype} {content.shape}"
            )
        if content.min() < 0 or content.max() >= self._stored.classes:
            raise DataError(f"{file}: classes must be from 0 to {self._stored.classes - 1}")
        return content.astype(np.int64)
