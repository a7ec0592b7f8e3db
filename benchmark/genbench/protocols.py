"""The plugin contract: what a dataset, generator, filter, classifier and evaluator must do, and when.

Every method that a plugin has is here; docs/writing-a-plugin.md tells the rest: images, metrics, registration
and checks. Nothing here imports torch or numpy: options and recipes are data; an implementation is imported
when a step needs it. Required methods come first and say when they are called.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import Field

from genbench.errors import UsageError
from genbench.extractors import EXTRACTOR_WEIGHTS, extractor_files
from genbench.metrics import Metric, Subject
from genbench.options import ADDED_LATER, ComponentConfig, ComponentRef, InputStep, Options
from genbench.recipe import Augment, Mix, TrainRecipe
from genbench.records import Record

if TYPE_CHECKING:
    import logging

    import numpy as np
    import numpy.typing as npt
    import torch

    from genbench.images import LabelledImages, RealImages

# What options, recipes and metrics are is told where they are defined; a plugin takes their names from here.
__all__ = [
    "ADDED_LATER", "EXTRACTOR_WEIGHTS",
    "Augment", "Checkpoint", "Classifier", "ClassifierConfig", "ComponentConfig",
    "ComponentRef", "Dataset", "DatasetConfig", "DatasetFacts", "Denoiser", "Draft", "EmbeddingConfig",
    "Evaluation", "Evaluator", "EvaluatorConfig", "Filter", "FilterConfig", "FittedGenerator",
    "ForeignClassifier", "GenerationCost", "Generator", "GeneratorConfig", "ImageEvaluator", "ImageSet",
    "InputStep", "Metric", "Mix", "ModelEvaluator", "OptionalSampledGenerator", "Options",
    "PredictionEvaluator", "Predictions", "Record", "ReferenceClassifier", "RunContext", "SampleRequest",
    "SampledGenerator", "StockConfig", "StockGenerator", "SuiteEvaluator", "SyntheticBatch", "TrainRecipe",
    "Verdicts", "extractor_files", "only_classes",
]  # fmt: skip

# --------------------------------------------------------------------------------------------- options


_VAL_IMAGES_WANTED = 1000  # val has at least this many where a fifth of train allows
_VAL_LARGEST_SHARE = 0.2
Draw = Callable[["npt.NDArray[np.int64]", "npt.NDArray[np.int64]"], "torch.Tensor"]  # of labels and seeds


class DeclaredImages(NamedTuple):
    """What a published dataset is known to hold before it is loaded.

    Attributes:
        shape: Channels, height and width in pixels, as its options ask for them.
        train: Images to train on, before val, reserve and `limit_train` are taken.
        test: Images of test.
    """

    shape: tuple[int, int, int]
    train: int
    test: int


class DatasetConfig(ComponentConfig):
    """Options that every dataset has: the splits are the harness's, the same for all cells."""

    limit_train: int | None = Field(
        default=None, ge=2, description="use only this many training images, stratified by class"
    )
    limit_test: Annotated[int | None, ADDED_LATER] = Field(
        default=None,
        ge=2,
        description="use at most this many images of test, and of every shift, stratified by class",
    )
    val_fraction: float = Field(
        default=0.1,
        gt=0,
        lt=0.9,
        description="share of train set aside as val, never folded back; unused where the data bring a val",
    )
    reserve: int = Field(
        default=0, ge=0, description="real images held out of train for generators that ask for them"
    )
    split_seed: int = Field(
        default=0, ge=0, description="seed of the stratified val, reserve and limit splits"
    )
    augment_shift_pixels: int = Field(
        default=4, ge=0, description="largest shift of the standard augmentation"
    )
    augment_flip: bool = Field(default=True, description="whether the standard augmentation mirrors images")
    epoch_repeats: Annotated[float, ADDED_LATER] = Field(
        default=1.0,
        ge=1,
        le=10_000,
        description="passes over train that one of `recipe.epochs` stands for: few images need more of them",
    )

    def declared_images(self) -> DeclaredImages | None:
        """Return what is known of the images before they are loaded; None where the files alone tell.

        `genbench plan` says by it how much there is to do.
        """
        return None

    def val_images(self, images: int) -> int:
        """Return how many of `images` to train on are set aside as val."""
        least = min(_VAL_IMAGES_WANTED, int(_VAL_LARGEST_SHARE * images))
        return max(round(self.val_fraction * images), least)

    def declared_splits(self) -> Mapping[str, int] | None:
        """Return how many images the splits will have, by what is declared; None where nothing is."""
        known = self.declared_images()
        if known is None:
            return None
        val = self.val_images(known.train)
        left = known.train - val - self.reserve
        train = left if self.limit_train is None else min(left, self.limit_train)
        test = known.test if self.limit_test is None else min(known.test, self.limit_test)
        reserve = {"reserve": self.reserve} if self.reserve else {}
        return {"train": train, "val": val, "test": test, **reserve}


class GenerationCost(NamedTuple):
    """What making images took before they came here.

    Attributes:
        seconds: All in all; None: unknown.
        device: On what; empty: unknown.
    """

    seconds: float | None
    device: str = ""


class GeneratorConfig(ComponentConfig):
    """The options of a generator.

    Class attributes:
        sample_fields: Options that change how images are sampled but not what is fitted: one fit serves
            all their values.
        fit_length_fields: Options that say how long a fit goes on, and nothing else of it; `fit_length` reads
            them.
    """

    sample_fields: ClassVar[frozenset[str]] = frozenset()
    fit_length_fields: ClassVar[frozenset[str]] = frozenset()

    def fit_length(self, train_images: int) -> int:
        """Return in how many equal steps a fit is done: what it takes grows with them (`genbench plan`)."""
        return 1

    def generation_cost(self) -> GenerationCost | None:
        """Return what making the images took before they came here; None where a run makes them."""
        return None


class StockConfig(GeneratorConfig):
    """The options that every `StockGenerator` has: how its images are drawn, and what is known of them."""

    sample_fields: ClassVar[frozenset[str]] = frozenset({"draw"})
    remark_fields: ClassVar[frozenset[str]] = frozenset(
        {"made_from", "generation_seconds", "generation_device"}
    )

    draw: Literal["seeded", "whole"] = Field(
        default="seeded",
        description="`seeded`: each seed draws its images, class by class, none twice; `whole`: every seed "
        "uses all images, as many of each class as there are, and --ratio must say how many that is",
    )
    made_from: str = Field(
        default="",
        max_length=200,
        description="what the maker of the images had learned from: `train` if from these training images "
        "alone; anything else is shown, and the row ranks with those that use external data; empty: unknown",
    )
    generation_seconds: float | None = Field(
        default=None,
        ge=0,
        le=1e9,
        description="what making all of the images took, learning included; none: unknown, and so is the "
        "row's cost",
    )
    generation_device: str = Field(
        default="", max_length=100, description="the device that the images were made on"
    )

    def generation_cost(self) -> GenerationCost:
        """Return what was told."""
        return GenerationCost(self.generation_seconds, self.generation_device)

    def external_data(self, declared: tuple[str, ...]) -> tuple[str, ...]:
        """Return what the maker had learned from, as far as it was told."""
        if self.made_from == "train":
            return ()
        return (self.made_from,) if self.made_from else declared


class FilterConfig(ComponentConfig):
    """The options of a filter."""

    oversample: float = Field(
        default=1.0,
        ge=1,
        le=100,
        description="images sampled per image wanted before the filter is first asked, at least; what it "
        "leaves too few of is sampled afterwards, up to ten times as many",
    )

    def first_draw(self) -> float:
        """Return how many images to sample per image wanted; override it where options say what stays."""
        return self.oversample


class ClassifierConfig(ComponentConfig):
    """The options of a classifier: those of the network, and its `recipe` (`cnn:recipe.epochs=5`).

    Class attributes:
        has_network: Whether there is a network; of stored predictions there is none (built-in ones alone).
    """

    remark_fields: ClassVar[frozenset[str]] = frozenset({"tuning_trials"})
    has_network: ClassVar[bool] = True

    recipe: TrainRecipe = Field(default=TrainRecipe(), description="how it is trained")
    tuning_trials: int = Field(
        default=0,
        ge=0,
        description="recipes that were tried on val to find this one (`genbench tune` prints it); published "
        "with every record, changes no result",
    )

    @property
    def names_a_model(self) -> bool:
        """Whether these options name a model of others, which is read as soon as its dataset is there."""
        return False


class EmbeddingConfig(ComponentConfig):
    """Options of an image evaluator that wants features of a frozen extractor, computed once and shared.

    Class attributes:
        summarises: Real splits whose `ImageEvaluator.summarise` is stored, as an artifact of its own.
    """

    subject: ClassVar[Subject] = "image_set"
    summarises: ClassVar[tuple[str, ...]] = ()

    extractor: str = Field(
        default="reference",
        pattern=r"^(reference|pixels|squeezenet|inception|dinov2|clip|timm:[A-Za-z0-9_.-]+)$",
        description="`reference`: a classifier trained by the harness on real train images only; `pixels`: "
        "raw values; squeezenet, inception, dinov2, clip, timm:NAME: pretrained, weights from the Hub",
    )

    def source_files(self) -> Mapping[str, Path]:
        """Return the extractor's weights."""
        return extractor_files(self.extractor)


class EvaluatorConfig(ComponentConfig):
    """The options of an evaluator that needs no extractor.

    Class attributes:
        subject: `cell` or `suite` (or `image_set`, for one that looks at pixels alone).
        reads_baseline: Whether it gets the predictions of the baseline of the same seed.
        reads_twin: Whether it gets those of the baseline of another seed, as `ctx.inputs["twin"]`.
        reads_network: Whether it gets the trained network (`ModelEvaluator`).
        reads_train: Whether it also gets train.
        spans_datasets: Of a suite evaluator: whether it gets the records of all datasets at once, those of
            `baseline_datasets` included; else it is called for each of `datasets` with the records of that.
    """

    subject: ClassVar[Subject] = "cell"
    reads_baseline: ClassVar[bool] = False
    reads_twin: ClassVar[bool] = False
    reads_network: ClassVar[bool] = False
    reads_train: ClassVar[bool] = False
    spans_datasets: ClassVar[bool] = False


# --------------------------------------------------------------------------------------------- context


@dataclass(frozen=True)
class Checkpoint:
    """What a long step left when it was stopped: tensors by name, and JSON data."""

    tensors: "Mapping[str, torch.Tensor]"
    meta: Mapping[str, Any]


@dataclass(frozen=True)
class DatasetFacts:
    """What a dataset says of its images, and no generator should have to be told again.

    Attributes:
        flip: Whether a mirrored image is still of its class: not so for digits.
        shift_pixels: Largest shift of the standard augmentation, in each direction.
        epoch_repeats: Passes over train that one of a recipe's epochs stands for.
    """

    flip: bool = False
    shift_pixels: int = 0
    epoch_repeats: float = 1.0


class RunContext(ABC):
    """What the harness hands to every call of a plugin.

    Attributes:
        device: `"cpu"` or `"cuda"`: where tensors should live.
        work: A folder for scratch files; kept when the step is interrupted, removed when it is done.
        files: A folder whose files become part of the artifact (pictures of an evaluator, for example).
        inputs: The artifacts of `ComponentRef` options, by option name.
        log: A logger; its lines go to the step's log file.
        dataset: What the dataset says of its images, while a generator is fitted or sampled.
        pictures: Whether pictures are wanted; who recomputes numbers wants none.
    """

    device: str
    work: Path
    files: Path
    inputs: Mapping[str, Any]
    log: "logging.Logger"
    dataset: DatasetFacts = DatasetFacts()
    pictures: bool = True

    @abstractmethod
    def seed(self, *purpose: str | int) -> int:
        """Return a seed in [0, 2**63) that depends on this step's seed and on `purpose` alone."""

    @abstractmethod
    def rng(self, *purpose: str | int) -> "torch.Generator":
        """Return a fresh CPU generator with `seed(*purpose)`."""

    @abstractmethod
    def progress(self, done: int, total: int, **metrics: float) -> None:
        """Report progress; cheap enough to call at every iteration. Metrics of a fit are its loss curve."""

    @abstractmethod
    def checkpoint_due(self) -> bool:
        """Say whether now is a good time to call `checkpoint`: enough time has passed, or we must stop."""

    @abstractmethod
    def checkpoint(self, tensors: "Mapping[str, torch.Tensor]", meta: Mapping[str, Any]) -> None:
        """Save enough to resume from here, crash-safely.

        Raises:
            Interrupted: The run was asked to stop; let it through.
        """

    @abstractmethod
    def restore(self) -> Checkpoint | None:
        """Return what the last `checkpoint` of this very step saved, or None."""

    def watch(self, done: int, total: int, draw: "Draw") -> None:  # noqa: B027 - nobody has to look
        """Let a fit be watched, after every step; `draw` makes `uint8 [n, 3, H, W]` with what it has."""

    def inside(self, option: str) -> "RunContext":
        """Return the context for a generator that came as `inputs[option]`: with the inputs of its own."""
        prefix = f"{option}/"
        inner = copy.copy(self)
        inner.inputs = {
            name.removeprefix(prefix): value for name, value in self.inputs.items() if name.startswith(prefix)
        }
        return inner


# --------------------------------------------------------------------------------------------- datasets


class Dataset(ABC):
    """Real images. Built with its config."""

    @abstractmethod
    def load(self, ctx: RunContext) -> "RealImages":
        """Return all images; called once per dataset configuration, its result is stored.

        Raises:
            DataError: An image or label cannot be used; the message names the file or row.
        """


# -------------------------------------------------------------------------------------------- generators

_STOCK_BATCH = 256  # images in memory at a time


@dataclass(frozen=True)
class Draft:
    """Images that another generator made for the same request: row i for image i.

    Attributes:
        images: Pixels and labels.
        source_indices: The training image each was made from, or -1: `int64 [n]`.
        prompts: The text each was made with, or an empty string.
    """

    images: "LabelledImages"
    source_indices: "npt.NDArray[np.int64]"
    prompts: Sequence[str]

    def part(self, rows: "npt.NDArray[np.int64]") -> "Draft":
        """Return some rows."""
        from genbench.images import Subset

        prompts = [self.prompts[row] for row in map(int, rows)]
        return Draft(Subset(self.images, rows), self.source_indices[rows], prompts)


@dataclass(frozen=True)
class SampleRequest:
    """Which images to make.

    Attributes:
        labels: Intended class of each image: `int64 [n]`.
        seeds: One seed per image: `int64 [n]`. Image i depends on `labels[i]`, `seeds[i]`,
            `source_indices[i]` and row i of `drafts` alone, however the request was split.
        source_indices: For each image, a training image of its class to start from: `int64 [n]`. It is the
            one that the first of `drafts` started from, if that started from any. Of a `StockGenerator`: a
            row of its stock.
        train: The training images (or the reserve, where the spec says `needs_reserve`).
        drafts: What the generators of `SampledGenerator` options made, by option.
    """

    labels: "npt.NDArray[np.int64]"
    seeds: "npt.NDArray[np.int64]"
    source_indices: "npt.NDArray[np.int64]"
    train: "LabelledImages"
    drafts: Mapping[str, Draft] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.labels)

    def part(self, rows: "npt.NDArray[np.int64]") -> "SampleRequest":
        """Return some rows: a request of its own."""
        drafts = {option: draft.part(rows) for option, draft in self.drafts.items()}
        columns = (self.labels[rows], self.seeds[rows], self.source_indices[rows])
        return SampleRequest(*columns, self.train, drafts)


@dataclass(frozen=True)
class SyntheticBatch:
    """Some of the requested images, in the order of the request.

    Attributes:
        images: `uint8 [n, 3, H, W]`, 0-255, on the CPU.
        labels: `int64 [n]`.
        source_indices: The training image each was made from, or -1: `int64 [n]`.
        prompts: The text each was made with, for the manifest; None where there is none.
        faults: Why an image must not be used (`blank`, `failed`), or an empty string: such images are
            counted, and asked for again with another seed. None means that all are usable.
    """

    images: "torch.Tensor"
    labels: "npt.NDArray[np.int64]"
    source_indices: "npt.NDArray[np.int64]"
    prompts: Sequence[str] | None = None
    faults: Sequence[str] | None = None


class Generator(ABC):
    """Makes synthetic images for the classes of train. Built with its config."""

    @abstractmethod
    def sample(self, request: SampleRequest, ctx: RunContext) -> Iterator[SyntheticBatch]:
        """Yield the requested images in order; called for one shard of the request at a time."""

    def fit(self, train: "LabelledImages", ctx: RunContext) -> None:
        """Learn from the training images; called once, before `sample`, where the spec says `needs_fit`."""
        raise NotImplementedError(f"{type(self).__name__} says needs_fit and does not implement fit")

    def save(self, folder: Path) -> None:
        """Write what `fit` learned into an empty folder: safetensors and JSON, never pickles."""
        raise NotImplementedError(f"{type(self).__name__} says needs_fit and does not implement save")

    def load(self, folder: Path) -> None:
        """Read back what `save` wrote; called on a fresh instance before `sample`."""
        raise NotImplementedError(f"{type(self).__name__} says needs_fit and does not implement load")


class StockGenerator(Generator):
    """A generator whose images exist already: they are found once, and handed out.

    Its spec says `needs_fit` and `has_stock`, its options are a `StockConfig`. `fit` finds the images, once
    for all seeds. The harness draws from `stock`, class by class, by the seed, none twice, and a top-up
    continues where the draw before it ended; what is asked for is held against what is there before anything
    else runs.
    """

    @abstractmethod
    def stock(self) -> "LabelledImages":
        """Return all images, of train's classes and size; called after `fit`, and after `load`."""

    def class_names(self) -> Sequence[str]:
        """Return the classes of the images; asked by the conformance kit alone, before `fit`."""
        return ()

    def sample(self, request: SampleRequest, ctx: RunContext) -> Iterator[SyntheticBatch]:
        """Yield the rows of the stock that `request.source_indices` names.

        Raises:
            UsageError: They were meant to be rows of something else: another generator's images, to edit.
        """
        import numpy as np

        images = self.stock()
        for start in range(0, len(request), _STOCK_BATCH):
            rows = request.source_indices[start : start + _STOCK_BATCH]
            labels = request.labels[start : start + _STOCK_BATCH]
            if (rows >= len(images)).any() or not np.array_equal(images.labels[rows], labels):
                raise UsageError(
                    "its images exist already: it neither edits images nor starts from those of others",
                    hint="union:first=NAME,second=NAME puts the images of two generators together",
                )
            yield SyntheticBatch(images.batch(rows), labels, np.full(len(rows), -1, dtype=np.int64))


class Denoiser(ABC):
    """A diffusion generator that can also start from an image: what `sdedit:base=...` asks for.

    A mixin: `class MyDiffusion(Generator, Denoiser)`.
    """

    @abstractmethod
    def denoise(
        self,
        start: "torch.Tensor",
        labels: "npt.NDArray[np.int64]",
        seeds: "npt.NDArray[np.int64]",
        start_fraction: float,
        ctx: RunContext,
    ) -> Iterator["torch.Tensor"]:
        """Add noise to images, remove it again under their labels, and yield the results in order.

        Args:
            start: Images to start from: `uint8 [n, 3, H, W]`, 0-255, on the CPU.
            labels: Class of each: `int64 [n]`.
            seeds: One seed per image: `int64 [n]`; image i depends on row i of the three alone.
            start_fraction: How far to go into the forward process, in (0, 1]: the first noise level is the
                highest one visited below `start_fraction` of all.
            ctx: The device.

        Yields:
            `uint8 [<= n, 3, H, W]`, 0-255, on the CPU.
        """


# ----------------------------------------------------------------------------------------------- filters


@dataclass(frozen=True)
class Verdicts:
    """Which synthetic images stay.

    Attributes:
        keep: `bool [N]`.
        reasons: One short reason per image; empty for those that stay.
    """

    keep: "npt.NDArray[np.bool_]"
    reasons: Sequence[str]


class Filter(ABC):
    """Drops synthetic images of poor quality, class by class. Built with its config."""

    @abstractmethod
    def keep(self, synthetic: "LabelledImages", train: "LabelledImages", ctx: RunContext) -> Verdicts:
        """Judge every synthetic image; called again, with all of them, when more had to be sampled.

        New images come after the others, which keep their rows. Val and test are never handed over.
        """


# ------------------------------------------------------------------------------------------- classifiers


class Classifier(ABC):
    """Builds a network and names its recipe; the harness trains it. Built with its config."""

    def __init__(self, config: ClassifierConfig) -> None:
        self.config = config

    @abstractmethod
    def build(self, num_classes: int, image_shape: tuple[int, int, int]) -> "torch.nn.Module":
        """Return a network from `float [n, 3, H, W]` (normalised) to logits `float [n, num_classes]`.

        Called once per train step; weights are drawn from torch's global generator, which the harness seeds.
        The network has timm's `forward_features(x)` and `forward_head(x, pre_logits=False)`, where
        `forward_head(forward_features(x), pre_logits=True)` are the penultimate features `float [n, D]`.

        Raises:
            UsageError: The image is too small; the message says which sizes work.
        """

    def recipe(self) -> TrainRecipe:
        """Return how it is trained; called with `build`."""
        return self.config.recipe

    def normalisation(self) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
        """Return mean and standard deviation per channel, in units of 0-1, that its weights expect.

        None, as for all fresh weights, means those of the training images.
        """
        return None


class ForeignClassifier(Classifier):
    """A model that was trained elsewhere, of which only what it said is known. Built-in components alone."""

    @abstractmethod
    def logits(self, splits: "Mapping[str, LabelledImages]") -> "Mapping[str, npt.NDArray[np.float32]]":
        """Return what it said of val, test and every shift, as far as that is known: `float32 [N, classes]`.

        Raises:
            DataError: It is about other images.
        """

    def build(self, num_classes: int, image_shape: tuple[int, int, int]) -> "torch.nn.Module":
        """Say that there is no network."""
        raise UsageError(
            "predictions of a model are no network: evaluators that run one cannot be asked about them",
            hint="leave the evaluator out, or give the model: weights=FILE (genbench docs classifiers)",
        )


# -------------------------------------------------------------------------------------------- evaluators


@dataclass(frozen=True)
class Evaluation:
    """What an evaluator found: metrics for the table, and larger JSON results."""

    metrics: Sequence[Metric]
    tables: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ImageSet:
    """A set as an image evaluator sees it.

    Attributes:
        images: Pixels and labels.
        features: Features of the configured extractor: `float32 [N, D]`; None without an extractor.
        summary: What the evaluator's `summarise` made of the features, by name; None where it was not asked.
    """

    images: "LabelledImages"
    features: "npt.NDArray[np.float32] | None"
    summary: "Mapping[str, npt.NDArray[Any]] | None" = None


@dataclass(frozen=True)
class Predictions:
    """What a trained network said about one split.

    Attributes:
        logits: `float32 [N, num_classes]`; see `only_classes` of models of others.
        features: Penultimate features: `float32 [N, D]`.
        labels: True labels: `int64 [N]`.
        class_names: One name per class.
    """

    logits: "npt.NDArray[np.float32]"
    features: "npt.NDArray[np.float32]"
    labels: "npt.NDArray[np.int64]"
    class_names: tuple[str, ...]


def only_classes(logits: "npt.NDArray[np.float32]") -> bool:
    """Say whether logits are those of a model of which only the predicted classes are known.

    Each row is then a single 1 (`ForeignClassifier`): right for accuracy, and without meaning for all that
    reads more of logits than the largest.
    """
    return bool((((logits == 0) | (logits == 1)).all()) and (logits.sum(axis=1) == 1).all())


class Evaluator(ABC):  # noqa: B024 - its four kinds have a method each, and none in common
    """Common to all evaluators. Built with its config. Implement one of the four below."""


class ImageEvaluator(Evaluator):
    """Compares a synthetic set with real images. Subject: `image_set`."""

    @abstractmethod
    def evaluate(self, synthetic: ImageSet, real: Mapping[str, ImageSet], ctx: RunContext) -> Evaluation:
        """Called once per image set; `real` holds `train`, `val`, and what the spec's `reads` names."""

    @staticmethod
    def summarise(features: "npt.NDArray[np.float32]") -> "Mapping[str, npt.NDArray[Any]]":
        """Return what is computed once for the features of a real split, and stored for all image sets.

        Called for the splits that the config's `summarises` names, without options: it depends on features
        `float32 [N, D]` and on the spec's `version` alone.
        """
        raise NotImplementedError


class PredictionEvaluator(Evaluator):
    """Reads stored predictions. Subject: `cell`."""

    @abstractmethod
    def evaluate(
        self,
        predictions: Mapping[str, Predictions],
        baseline: Mapping[str, Predictions] | None,
        ctx: RunContext,
    ) -> Evaluation:
        """Called once per cell with its predictions by split, and those of the baseline of the same seed."""


class ModelEvaluator(Evaluator):
    """Needs the trained network itself. Subject: `cell`."""

    @abstractmethod
    def evaluate(
        self, network: "torch.nn.Module", splits: "Mapping[str, LabelledImages]", ctx: RunContext
    ) -> Evaluation:
        """Called once per cell; `network` takes `uint8 [n, 3, H, W]` and is in evaluation mode."""


class SuiteEvaluator(Evaluator):
    """Reads the records of a whole suite. Subject: `suite`."""

    @abstractmethod
    def evaluate(self, records: Sequence[Record], ctx: RunContext) -> Evaluation:
        """Called after every cell has its records: once for each dataset, or with the records of all."""


FittedGenerator = Annotated[ComponentRef, InputStep("generator", "fit")]
"""An option that takes another generator, ready: call `ctx.inputs[option]` with `ctx.inside(option)`."""

SampledGenerator = Annotated[ComponentRef, InputStep("generator", "sample")]
"""An option that takes the images of another generator: they arrive as `request.drafts[option]`."""

OptionalSampledGenerator = Annotated[ComponentRef | None, InputStep("generator", "sample")]
"""The same, or None."""

ReferenceClassifier = Annotated[ComponentRef, InputStep("classifier", "train")]
"""An option that takes a network trained on real train images alone, with a fixed seed.

It arrives as a module from `uint8 [n, 3, H, W]` to logits, in evaluation mode; its `network` has timm's two
halves and its `normalise` prepares their input."""
