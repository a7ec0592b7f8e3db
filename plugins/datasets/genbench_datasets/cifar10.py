"""`cifar10`: Krizhevsky's 60,000 images, read through the `datasets` library.

With another `size`, every image is resized by Pillow's Lanczos, those of shifts too: published ones from
their 32 pixels, computed corruptions are made of the resized test images.
"""

from genbench.errors import DataError
from genbench.images import RealImages
from genbench.parquet import first_column
from genbench.protocols import Dataset, RunContext
from genbench_datasets._shifts import cifar10_shifts, computed_shifts
from genbench_datasets._tables import Reading, labelled, read_parquet
from genbench_datasets.configs.cifar10 import Cifar10Config, shift_files

CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


class Cifar10(Dataset):
    """CIFAR-10, ten classes, 32x32."""

    def __init__(self, config: Cifar10Config) -> None:
        self._config = config

    def load(self, ctx: RunContext) -> RealImages:
        """Return the official train and test splits."""
        files = self._config.source_files()
        of_shifts = [path for shift in self._config.shifts for path in shift_files(shift).values()]
        parts, reading = {}, Reading(self._config.size)
        for split in ("train", "test"):
            here = [path for name, path in files.items() if split in path.name and path.suffix == ".parquet"]
            here = [path for path in here if not any(path == other for other in of_shifts)]
            if not here:
                raise DataError(f"cifar10: no parquet file of the {split} split. Found: {', '.join(files)}")
            table = read_parquet(here, ctx)
            image = first_column(table.features, "img", "image")
            label = first_column(table.features, "label", "labels")
            parts[split] = labelled(table, image, label, CLASS_NAMES, reading, ctx)
        reading.refuse_broken("cifar10")
        shifts = dict(cifar10_shifts(self._config, files, CLASS_NAMES, ctx, reading.size))
        shifts |= computed_shifts(parts["test"], self._config, ctx)
        return RealImages(train=parts["train"], test=parts["test"], shifts=shifts)
