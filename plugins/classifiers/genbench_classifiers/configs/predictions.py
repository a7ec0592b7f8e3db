"""Options of `predictions`. Imports neither torch nor numpy."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Self

from pydantic import Field, field_validator, model_validator

from genbench.errors import DataError, NothingThereError
from genbench.protocols import ClassifierConfig, TrainRecipe

FORMS = (".npy", ".npz", ".json", ".csv")
NOTHING = TrainRecipe(epochs=0)


class PredictionsConfig(ClassifierConfig):
    """Options of `predictions`: what a model that was trained elsewhere said of the dataset's images."""

    primary: ClassVar[str | None] = "path"
    location_fields: ClassVar[frozenset[str]] = frozenset({"path"})
    has_network: ClassVar[bool] = False

    path: Path | None = Field(
        default=None,
        examples=["said.npy"],
        description="a .npy, .npz, .json or .csv file with logits, probabilities or classes of test, in the "
        "dataset's order; or a folder of such files named after splits: test.npy, cifar10.1-v6.json",
    )
    recipe: TrainRecipe = Field(default=NOTHING, description="nothing is trained: it cannot be set")

    @field_validator("path")
    @classmethod
    def _where_it_lies(cls, value: Path | None) -> Path | None:
        """Name it so that it is found from any folder: steps run elsewhere."""
        return None if value is None else value.expanduser().absolute()

    @model_validator(mode="after")
    def _trains_nothing(self) -> Self:
        if self.recipe != NOTHING:
            raise ValueError("predictions come from a model that was trained elsewhere: recipe cannot be set")
        return self

    @property
    def names_a_model(self) -> bool:
        """They always do."""
        return True

    def source_files(self) -> Mapping[str, Path]:
        """Return the files by the split that each is about.

        Raises:
            DataError: There are none, they are of another form, or two have one name.
        """
        hint = "--classifier predictions:FILE   (genbench docs classifiers shows the forms)"
        if self.path is None or not self.path.exists():
            raise NothingThereError(f"predictions: no file or folder {str(self.path or '')!r}", hint=hint)
        if not self.path.is_dir():
            if self.path.suffix.lower() not in FORMS:
                raise DataError(f"predictions: {self.path.name} is none of {', '.join(FORMS)}", hint=hint)
            return {f"test{self.path.suffix.lower()}": self.path}
        files = sorted(path for path in self.path.iterdir() if path.suffix.lower() in FORMS)
        if not files:
            raise DataError(
                f"predictions: {str(self.path)!r} holds no file of the forms {', '.join(FORMS)}", hint=hint
            )
        found = {f"{path.stem}{path.suffix.lower()}": path for path in files}
        if len(found) < len(files):  # test.npy and test.NPY
            twice = next(path for path in files if path not in found.values())
            raise DataError(
                f"predictions: {twice.name} and {found[f'{twice.stem}{twice.suffix.lower()}'].name} are "
                "about the same split",
                hint="one file per split: move the other out of the folder",
            )
        return found
