"""What a board consists of: plain, frozen data, from which every rendering is made."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from genbench.levels import Level
from genbench.metrics import Averaged
from genbench.records import Component, DatasetImages, Declaration, Protocol
from genbench.roles import Role
from genbench_leaderboard.crossed import ALPHA, Comparison
from genbench_leaderboard.statistics import Estimate, Verdict

BASELINE = "none"  #: the generator and the filter that do nothing


@dataclass(frozen=True)
class Distance:
    """One distance between an image set and real images, averaged over seed indices.

    Attributes:
        family: `fid`, `mmd2`, ...
        extractor: What made the features.
        against: Against which real images: `train` or `val`.
        floor: Whether it is the distance between real and real at equal n.
        mean: Mean over seed indices.
        seeds: How many seed indices.
        n: Smallest and largest number of images of a seed, where filters or faults make it vary.
    """

    family: str
    extractor: str
    against: str
    floor: bool
    mean: float
    seeds: int
    n: tuple[int, int]


@dataclass(frozen=True)
class Cost:
    """Wall time of fit, filter, sample and train of one cell, and the largest memory peak.

    Of each stage the median over seeds: the first step of a process pays for what the process loads, and one
    such seed in five would move a mean. What making images took before they came here is part of it; where
    nobody told, the whole is unknown.

    Attributes:
        seconds: The sum of the stages' medians; None: unknown.
        peak_memory_bytes: Of what was measured.
        devices: Where.
        quartiles: The lower and the upper quartile of whole seeds, in seconds; None: unknown.
    """

    seconds: float | None
    peak_memory_bytes: int
    devices: tuple[str, ...]
    quartiles: tuple[float, float] | None = None


@dataclass(frozen=True, order=True)
class BudgetLimit:
    """At `scale` times the budget, val top-1 of the plain baseline is `val_rise` points higher (rule 3)."""

    scale: float
    val_rise: float


@dataclass(frozen=True)
class Contrast:
    """A row against another one: `none` with the same augmentation, frozen copies, or free augmentation.

    Attributes:
        against: Name of the other row.
        found: The comparison; None where the two share no seed, or were measured on different images.
        question: What a *better* means: it `helps`, or it `adds` to what is simpler.
        role: What the row is for; only a contender has a verdict.
        family: How many contrasts its Holm family has.
        alpha: Level of the family at this look at test.
        adjusted_p: Holm-adjusted p; None where the contrast is not in the family.
        level: The level that Holm holds this contrast to.
        verdict: Better, worse, or why there is none.
        detectable_points: What a *cannot tell* would have found with 80 % power, in points.
        guarded_points: The same, safe against a variance that was estimated too small.
        points_per_minute: Only for *better*: gain per minute of extra cost, if there is any.
        copied_images: Test images with near copies among the synthetic ones.
        without_copies: The comparison without them; a verdict that would be another one is *void*.
        problem: Why the two cannot be compared.
        void: Why there can be no verdict, whatever was measured.
    """

    against: str
    found: Comparison | None
    question: Literal["helps", "adds"] = "helps"
    role: Role = "contender"
    family: int = 0
    alpha: float = ALPHA
    adjusted_p: float | None = None
    level: float | None = None
    verdict: Verdict = "incomplete"
    detectable_points: float | None = None
    guarded_points: float | None = None
    points_per_minute: float | None = None
    copied_images: int = 0
    without_copies: Comparison | None = None
    problem: str = ""
    void: str = ""


@dataclass(frozen=True)
class Books:
    """Images behind a row: mean over seeds where seeds differ.

    Attributes:
        train: Real training images of the dataset.
        test: Test images.
        synthetic: Synthetic images in the training set.
        real_seen: Real images in all gradient steps together.
        synthetic_seen: Synthetic ones.
        steps: Optimizer steps; None in records of schema 1.
        faults: Synthetic images that were made in vain: blank, or failed.
    """

    train: int
    test: int
    synthetic: float
    real_seen: float
    synthetic_seen: float
    steps: float | None
    faults: float


@dataclass(frozen=True)
class Outlier:
    """A seed far from the median of its row: index, its top-1 and the median, in %."""

    index: int
    top1: float
    median: float


@dataclass(frozen=True)
class ClassGain:
    """What a row changes for one class.

    Attributes:
        name: Name of the class.
        images: Test images of the class.
        difference: Its recall less the baseline's, in points, over seeds.
        adjusted_p: Paired t over seeds, Holm-adjusted over the classes of the row; None below three seeds,
            and without spread.
    """

    name: str
    images: int
    difference: Estimate
    adjusted_p: float | None


@dataclass(frozen=True)
class ShiftGain:
    """How a row does on one shift.

    Attributes:
        name: Name of the shift.
        images: Images of the shift.
        top1: In %, over seeds.
        difference: To the baseline's, over seeds and images of the shift; None for the baseline itself.
    """

    name: str
    images: int
    top1: Estimate
    difference: Comparison | None


@dataclass(frozen=True)
class Finding:
    """One number about all rows of one dataset, or of several, together: does FID predict the gain?

    Attributes:
        dataset: Short name.
        evaluator: Short name.
        metric: Name of the number.
        value: None where it cannot be computed; `note` says why.
        unit: Unit of the value.
        note: What a reader of the number needs.
        name: Of the metric, without what tells it apart.
        about: What tells it apart: of a correlation, the metric that it is about.
        interval: Its ends, where the evaluator gave them as numbers (`genbench.metrics.INTERVALS`).
        source: Key of the evaluation.
    """

    dataset: str
    evaluator: str
    metric: str
    value: float | None
    unit: str
    note: str
    name: str = ""
    about: tuple[str, ...] = ()
    interval: tuple[float, float] | None = None
    source: str = ""


@dataclass(frozen=True)
class Measured:
    """A metric, averaged over seeds; `by` names who wrote its evaluator, where that is a third party."""

    value: Averaged
    by: str = ""


@dataclass(frozen=True)
class Row:
    """One (generator, filter, mix) of a group.

    Attributes:
        generator: Short name, unique in its group.
        filter: Short name.
        mix: For people: `+1.0x standard`.
        mix_values: The mix, resolved.
        external_data: What generator, filter or classifier know from elsewhere; such rows rank apart.
        planned: How many seed indices were planned.
        top1: On test, in %; None where every seed failed.
        val_top1: On val, in %.
        role: What it is for: the question, or a line to hold the answer against.
        contrast: With real images alone; None for the baseline itself, and where there is no baseline.
        adds: With frozen copies and with free augmentation, where the suite has them.
        books: Which images it learned from; None where no record says.
        outliers: Seeds far from the median of the row.
        level: How far others checked it and what it is held against.
        rerun: How many of its cells they ran again, with the same result.
        contradictions: What they found that does not fit together.
        rank: Among the complete rows of its pool with enough seeds.
        cost: None where no record says.
        distances: Distances of its image sets.
        classes: What it changes, class by class.
        shifts: How it does on every shift.
        measures: Whatever else was measured, but distances.
        test_copies: Distinct synthetic images that are test images, pixel for pixel: the maximum over seeds.
        blank: Synthetic images of one colour: the maximum over seeds.
        duplicates: Synthetic images that repeat another one: the maximum over seeds.
        of_images: Out of how many, in that seed.
        metrics: Mean over seeds of every other metric of the row's cells, by name.
        budget_limited: Why its gain may be due to fewer visits of real images.
        mixed_environment: Whether some of its records come from another environment than most of the group.
        generator_component: The generator with every option resolved.
        filter_component: The filter, likewise.
        images_id: Which set of images it has, as `genbench.sheets` names it; empty for real images alone.
        results: Digests of the results (`result_sha256` in their files) that its top-1 rests on, by seed.
    """

    generator: str
    filter: str
    mix: str
    mix_values: Mapping[str, Any]
    external_data: tuple[str, ...]
    planned: int
    top1: Estimate | None
    val_top1: Estimate | None
    role: Role
    contrast: Contrast | None
    adds: tuple[Contrast, ...]
    books: Books | None
    outliers: tuple[Outlier, ...]
    level: Level
    rerun: int
    contradictions: tuple[str, ...]
    rank: int | None
    cost: Cost | None
    distances: tuple[Distance, ...]
    classes: tuple[ClassGain, ...]
    shifts: tuple[ShiftGain, ...]
    measures: tuple[Measured, ...]
    test_copies: int
    blank: int
    duplicates: int
    of_images: int
    metrics: Mapping[str, float]
    budget_limited: BudgetLimit | None
    mixed_environment: bool
    generator_component: Component
    filter_component: Component
    images_id: str = ""
    results: tuple[str, ...] = ()

    @property
    def is_baseline(self) -> bool:
        """Whether its training images are real alone."""
        return float(self.mix_values["ratio"]) == 0

    @property
    def name(self) -> str:
        """Generator, filter and mix in one."""
        images = self.generator if self.filter == BASELINE else f"{self.generator} + {self.filter}"
        return f"{images}, {self.mix}"


@dataclass(frozen=True)
class Failure:
    """A record without numbers."""

    name: str
    index: int
    reason: str
    log: str


@dataclass(frozen=True)
class Environment:
    """Hardware and library versions, and how many records come from them."""

    hardware: Mapping[str, Any]
    versions: Mapping[str, str]
    records: int


@dataclass(frozen=True)
class Provenance:
    """Where the records of a group come from.

    Attributes:
        created: Days of the first and the last of them, ISO 8601.
        protocol: Version of the rules.
        commits: Of genbench's own source.
        data: The dataset as it was split; several only where records disagree.
        plugins: Code of third parties that took part: distribution and digest.
        recipe: How the classifier was trained, where it is one of ours.
        tuning_trials: How many recipes were tried on val to find it.
    """

    created: tuple[str, ...]
    protocol: int
    commits: tuple[str, ...]
    data: tuple[DatasetImages, ...]
    plugins: tuple[str, ...]
    recipe: Mapping[str, Any]
    tuning_trials: int


@dataclass(frozen=True)
class Reading:
    """Rows whose accuracy on test was known when what is judged here was declared.

    Attributes:
        suite: For which they had been measured.
        seeds: Over how many seeds.
        rows: Their names, in the order of the table.
    """

    suite: str
    seeds: int
    rows: tuple[str, ...]


@dataclass(frozen=True)
class Group:
    """Rows that may be compared: same dataset, protocol, budget, classifier and declaration.

    Attributes:
        declared: What the suite declared; None for records that know no declaration.
        unplanned_looks: Numbers of seeds at which test was read before.
        read_before: For which earlier suites test was read, and of which rows.
        hopeless: Names of baselines so good that not even a perfect classifier could be *better*.
        ranked_pairs: Size of the Holm family of the ranks, all pools together.
        environments: The most common first.
        provenance: Dates, versions, data and code.
        commands: What repeats the runs.
        dataset_component: The dataset with every option resolved.
        classifier_component: The classifier, likewise.
    """

    title: str
    dataset: str
    classifier: str
    budget: str
    budget_scale: float
    protocol: Protocol
    declared: Declaration | None
    unplanned_looks: tuple[int, ...]
    read_before: tuple[Reading, ...]
    hopeless: tuple[str, ...]
    rows: tuple[Row, ...]
    ranked_pairs: int
    failures: tuple[Failure, ...]
    environments: tuple[Environment, ...]
    provenance: Provenance
    commands: tuple[str, ...]
    dataset_component: Component
    classifier_component: Component


@dataclass(frozen=True)
class Board:
    """Everything that is published.

    Attributes:
        failures: Records without numbers that belong to no row: of image sets and suites.
        notes: What a reader must know about the records themselves.
        cells: How many cells were counted.
        verified: Whether anybody verified anything.
        findings: About all rows of one dataset, or of several, together.
    """

    groups: tuple[Group, ...]
    failures: tuple[Failure, ...] = ()
    notes: tuple[str, ...] = ()
    cells: int = 0
    findings: tuple[Finding, ...] = ()
    verified: bool = False
    primary_metric: str = field(default="test top-1")
