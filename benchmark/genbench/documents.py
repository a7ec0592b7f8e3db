"""What planner and steps exchange: the document of every kind of step, as frozen classes.

The key of a step is the digest of its document's JSON form: everything that its result depends on, and
nothing else. Here alone documents are written (`content`) and read back (`read_document`), and here alone the
inputs of a step are named. A role is `sample`, or `draft:first` where a step has several inputs of a kind.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar, get_args

from genbench.errors import StoreError
from genbench.metrics import Subject
from genbench.recipe import Mix

KEY_VERSION = 1
#: After each top-up: images drawn in all, at most, as a multiple of those drawn at first. The first top-up is
#: kept smaller: it knows from few images what share the filter keeps.
TOP_UPS = (4.0, 10.0)
Stage = Literal["dataset", "fit", "sample", "filter", "train", "predict", "embed", "evaluate"]
STAGES: tuple[Stage, ...] = get_args(Stage)
Identity = Mapping[str, Any]  #: of a resolved component: `use`, `version`, `config`, perhaps `fingerprint`

T = TypeVar("T")
U = TypeVar("U")

_MANY = {
    "more": "more",
    "drafts": "draft",
    "options": "option",
    "real": "real",
    "summaries": "summary",
    "records": "record",
}


@dataclass(frozen=True, kw_only=True)
class Inputs(Generic[T]):
    """The inputs of a step: keys while it is planned, artifacts while it runs.

    Attributes:
        dataset: The splits.
        fit: The fitted generator.
        sample: The sampled images.
        filter: What the filter said of them; of a `sample` or `filter` step, what it said the time before.
        train: The trained network.
        predict: Predictions of the cell.
        baseline: Those of the baseline of the same seed.
        twin: Those of the baseline of another seed.
        network: The reference network that makes features.
        synthetic: Features of the sampled images.
        features: Features to summarise; None where the images themselves are.
        more: Images sampled after them, because the filter had left too few, by top-up (`1`, `2`).
        drafts: Sampled images that a generator starts from, by option.
        options: Fitted generators and networks among a component's options, by path (`judge`, `base/inner`).
        real: Features of real splits, by split.
        summaries: What an evaluator computes of them, by split.
        records: The evaluations that a suite evaluator reads, by key.
    """

    dataset: T | None = None
    fit: T | None = None
    sample: T | None = None
    filter: T | None = None
    train: T | None = None
    predict: T | None = None
    baseline: T | None = None
    twin: T | None = None
    network: T | None = None
    synthetic: T | None = None
    features: T | None = None
    more: Mapping[str, T] = field(default_factory=dict)
    drafts: Mapping[str, T] = field(default_factory=dict)
    options: Mapping[str, T] = field(default_factory=dict)
    real: Mapping[str, T] = field(default_factory=dict)
    summaries: Mapping[str, T] = field(default_factory=dict)
    records: Mapping[str, T] = field(default_factory=dict)

    def by_role(self) -> dict[str, T]:
        """Return all inputs by role."""
        found: dict[str, T] = {}
        for role, value in vars(self).items():
            if role in _MANY:
                found |= {f"{_MANY[role]}:{name}": one for name, one in value.items()}
            elif value is not None:
                found[role] = value
        return found

    @classmethod
    def from_roles(cls, roles: Mapping[str, T]) -> Self:
        """Return what `by_role` wrote."""
        found: dict[str, Any] = {name: {} for name in _MANY}
        group_of = {role: name for name, role in _MANY.items()}
        for role, value in roles.items():
            kind, colon, name = role.partition(":")
            if colon:
                found[group_of[kind]][name] = value
            else:
                found[kind] = value
        return cls(**found)

    def map(self, change: Callable[[T], U]) -> "Inputs[U]":
        """Return the same roles with other values."""
        return Inputs.from_roles({role: change(value) for role, value in self.by_role().items()})


def the(value: T | None) -> T:
    """Return an input that this kind of step always has."""
    if value is None:
        raise StoreError("a step lacks an input that its kind always has", hint="genbench store verify")
    return value


@dataclass(frozen=True, kw_only=True)
class Document:
    """What is common to the documents of all steps."""

    stage: ClassVar[Stage]

    inputs: Inputs[str] = field(default_factory=Inputs[str])

    def content(self) -> dict[str, Any]:
        """Return the JSON form, which keys are taken of."""
        return {
            "stage": self.stage,
            **self._own(),
            "inputs": self.inputs.by_role(),
            "key_version": KEY_VERSION,
        }

    def _own(self) -> dict[str, Any]:
        """Return the entries that this kind of step has besides stage and inputs."""
        return {name: value for name, value in vars(self).items() if name != "inputs"}


@dataclass(frozen=True, kw_only=True)
class DatasetDocument(Document):
    """Load a dataset and split it."""

    stage = "dataset"

    component: Identity


@dataclass(frozen=True, kw_only=True)
class FitDocument(Document):
    """Fit a generator; options that only matter to sampling are left out of `component`."""

    stage = "fit"

    component: Identity
    seed: int


@dataclass(frozen=True)
class Asked:
    """How many images a `sample` step makes: `ratio` times those of train, times `oversample`.

    Attributes:
        ratio: Images wanted per training image.
        oversample: Images made per image wanted, before the filter is asked.
        top_up: 0 for these; 1, 2, ... for a step that makes what was found missing after the filter.
        most: Of a top-up: images drawn in all until then, at most, as a multiple of those drawn at first.
    """

    ratio: float
    oversample: float = 1.0
    top_up: int = 0
    most: float = 1.0


@dataclass(frozen=True, kw_only=True)
class SampleDocument(Document):
    """Sample a generator."""

    stage = "sample"

    component: Identity
    images: Asked
    seed: int

    def _own(self) -> dict[str, Any]:
        images: dict[str, Any] = {"ratio": self.images.ratio, "oversample": self.images.oversample}
        if self.images.top_up:
            images |= {"top_up": self.images.top_up, "most": self.images.most}
        return {"component": self.component, "images": images, "seed": self.seed}


@dataclass(frozen=True, kw_only=True)
class FilterDocument(Document):
    """Judge the images of a sampled set, those of its top-ups included."""

    stage = "filter"

    component: Identity


@dataclass(frozen=True, kw_only=True)
class TrainDocument(Document):
    """Train a classifier on an arm.

    Attributes:
        component: The classifier.
        mix: How images form the training set.
        seed: Training seed.
    """

    stage = "train"

    component: Identity
    mix: Mix
    seed: int

    def _own(self) -> dict[str, Any]:
        return {"component": self.component, "mix": self.mix.model_dump(mode="json"), "seed": self.seed}


@dataclass(frozen=True, kw_only=True)
class PredictDocument(Document):
    """Ask a trained network about val, test and every shift."""

    stage = "predict"


@dataclass(frozen=True, kw_only=True)
class EmbedDocument(Document):
    """Compute the features of a set.

    Attributes:
        component: `use`, the extractor, and `fingerprint` of its weights.
        split: `train`, `val`, `test`, a shift, or `synthetic`.
    """

    stage = "embed"

    component: Identity
    split: str


@dataclass(frozen=True, kw_only=True)
class SummaryDocument(Document):
    """Compute once what an evaluator wants of a real split's features, or of all real images.

    Attributes:
        component: The extractor of the features, or `images`.
        summary: `use` and `version` of the evaluator.
    """

    stage = "embed"

    component: Identity
    summary: Identity


@dataclass(frozen=True, kw_only=True)
class EvaluateDocument(Document):
    """Measure a cell, an image set, or all cells of a dataset.

    Attributes:
        subject: What is measured.
        component: The evaluator.
        about: For a suite: digest of what its records say besides their keys (names, and how many seeds were
            planned); empty otherwise.
    """

    stage = "evaluate"

    subject: Subject
    component: Identity
    about: str = ""

    def _own(self) -> dict[str, Any]:
        own = {"subject": self.subject, "component": self.component}
        return {**own, "about": self.about} if self.about else own


_KINDS: Mapping[str, type[Document]] = {
    "dataset": DatasetDocument,
    "fit": FitDocument,
    "sample": SampleDocument,
    "filter": FilterDocument,
    "train": TrainDocument,
    "predict": PredictDocument,
    "evaluate": EvaluateDocument,
}


def read_document(content: Mapping[str, Any]) -> Document:
    """Return a stored document as its class.

    Raises:
        StoreError: It is of no known kind, or of another version of the keys.
    """
    own = {name: value for name, value in content.items() if name not in {"stage", "key_version"}}
    try:
        own["inputs"] = Inputs.from_roles(content["inputs"])
        stage = content["stage"]
        if stage == "embed":
            return SummaryDocument(**own) if "summary" in own else EmbedDocument(**own)
        if stage == "sample":
            own["images"] = Asked(**own["images"])
        if stage == "train":
            own["mix"] = Mix.model_validate(own["mix"])
        return _KINDS[stage](**own)
    except (KeyError, TypeError, ValueError) as problem:
        raise StoreError(
            f"a document of an unknown form ({problem!r})", hint="genbench store verify"
        ) from problem
