"""`cats_vs_dogs`: the Kaggle cats and dogs, as S4 used them.

S4 (kyritzb/Synthetic-Data-Classification-Experiment) trained on 601 images at 128 x 128 pixels and meant to
test on 9,424. Here `train_images` are drawn, both classes alike, from whatever part of
`microsoft/cats_vs_dogs` there is, and the rest is test: 798 of the 1,399 images of the first part, 22,809 of
the whole set. Which 601 images S4 had is not known. Photographs are turned as their EXIF data say, and become
square as `fit` says: cut to their centre, if nothing is said.
"""

from genbench.errors import DataError
from genbench.images import RealImages, Subset, stratified_choice, stratified_counts
from genbench.parquet import first_column
from genbench.protocols import Dataset, RunContext
from genbench_datasets._tables import Reading, labelled, read_parquet
from genbench_datasets.configs.cats_vs_dogs import CatsVsDogsConfig

CLASS_NAMES = ("cat", "dog")


class CatsVsDogs(Dataset):
    """Photographs of two classes."""

    def __init__(self, config: CatsVsDogsConfig) -> None:
        self._config = config

    def load(self, ctx: RunContext) -> RealImages:
        """Return train and test.

        Raises:
            DataError: There are too few images to leave any for test.
        """
        table = read_parquet(list(self._config.source_files().values()), ctx)
        image = first_column(table.features, "image", "img")
        label = first_column(table.features, "labels", "label")
        reading = Reading(self._config.size, self._config.framing, self._config.skip_broken)
        images = labelled(table, image, label, CLASS_NAMES, reading, ctx)
        reading.refuse_broken("cats_vs_dogs")
        wanted = self._config.train_images
        if wanted >= len(images):
            raise DataError(f"cats_vs_dogs: train_images is {wanted}, and there are {len(images)} images")
        counts = stratified_counts(images.class_counts(), wanted)
        train, test = stratified_choice(
            images.labels, counts, "cats_vs_dogs", "train", self._config.split_seed
        )
        left_out = tuple(reading.left_out)
        return RealImages(Subset(images, train), Subset(images, test), left_out=left_out)
