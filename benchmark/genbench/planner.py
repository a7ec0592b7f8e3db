"""A suite becomes steps with keys: pure data, without torch.

The key of a step is the digest of its document (`genbench.documents`): stage, component with resolved
options, keys of its inputs, seed. Steps that several cells share appear once.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

from genbench.digest import Digester, digest
from genbench.documents import (
    TOP_UPS,
    Asked,
    DatasetDocument,
    Document,
    EmbedDocument,
    EvaluateDocument,
    FilterDocument,
    FitDocument,
    Inputs,
    PredictDocument,
    SampleDocument,
    SummaryDocument,
    TrainDocument,
)
from genbench.errors import UsageError
from genbench.family import (
    arms_of_datasets,
    as_often_as_it_learns,
    check_learning,
    check_networks,
    data_arms,
    declare,
    trains,
)
from genbench.hookspecs import COPY_CHECK
from genbench.metrics import Subject
from genbench.plan import Arm, Cell, Plan, PlannedRecord, Step, cell_name, check_comparable, told_apart
from genbench.protocols import EmbeddingConfig, EvaluatorConfig, FilterConfig, GeneratorConfig
from genbench.recipe import Mix
from genbench.records import Component, Protocol
from genbench.seeding import derive_seed
from genbench.spec import Parts, Resolved, ResolvedSuite
from genbench.suite import BASELINE

MOST_CELLS = 100_000  #: of one suite: more are a mistake in its options
MOST_EVALUATIONS = 500_000  #: of all its cells: each is a step with a key, and a record

R = TypeVar("R")


def make_plan(resolved: ResolvedSuite) -> Plan:
    """Expand a suite into its plan.

    Every image set is checked for copies of test, whatever evaluators the suite names.

    Raises:
        UsageError: It has more cells than anybody would run.
        ProtocolError: Arms that would be compared differ in more than their data.
    """
    resolved = as_often_as_it_learns(resolved)
    _check_size(resolved)
    suite, arms = resolved.suite, list(data_arms(resolved))
    check_learning(resolved.classifiers, arms)
    check_networks(resolved.classifiers, resolved.evaluators)
    seeds = suite.look or suite.seeds
    reference = as_component(resolved.reference)
    protocol = Protocol(
        base_seed=suite.base_seed, preset=suite.preset, reference=replace(reference, label="")
    )
    family = declare(resolved, protocol, arms)
    planner = _Planner(resolved, Plan(protocol=protocol, planned_indices=suite.seeds, declared=family))
    for dataset, own in arms_of_datasets(resolved, arms, family):
        for classifier in resolved.classifiers:
            for generator, image_filter, mix in own:
                for index in range(seeds if trains(classifier) else 1):
                    arm = Arm(dataset, generator, image_filter, mix, classifier, index, mix.ratio)
                    planner.add_cell(arm)
    planner.add_suite_evaluations()
    planner.plan.cells = told_apart(planner.plan.cells)
    return planner.plan


def as_component(resolved: Resolved, *also: Resolved) -> Component:
    """Return a component as records name it.

    Args:
        resolved: The component.
        also: Others whose external data count as its own.
    """
    external = dict.fromkeys(data for one in (resolved, *also) for data in one.external_data)
    published = resolved.config.remark_fields & Component.__dataclass_fields__.keys()
    remarks = {name: getattr(resolved.config, name) for name in published}
    return Component(**resolved.identity, label=resolved.label, external_data=tuple(external), **remarks)


def without_failed(step: Step, failed: Iterable[str]) -> Step | None:
    """Plan the evaluation of a suite anew without the records of cells that failed; None if none is left.

    What a suite evaluator finds is about what was measured, and so is the key of its step.
    """
    work, gone = step.work, set(failed)
    assert isinstance(work, EvaluateDocument)
    left = {name: key for name, key in work.inputs.records.items() if key not in gone}
    if not left:
        return None
    document = replace(work, inputs=Inputs(records=left))
    return Step(digest(document.content()), document, step.label, step.location, step.parts)


class _Images(NamedTuple):
    """The steps that make an arm's synthetic images; nothing for the baseline.

    Attributes:
        sample: The first draw.
        filter: What a filter said last, or empty.
        more: The top-ups, in order.
    """

    sample: str = ""
    filter: str = ""
    more: tuple[str, ...] = ()

    def as_inputs(self) -> dict[str, Any]:
        """Return the inputs of a step that reads them."""
        more = {str(number): key for number, key in enumerate(self.more, start=1)}
        return {"sample": self.sample or None, "filter": self.filter or None, "more": more}


class _Planner:
    """Adds cells to a plan; every step is made once, its inputs before it.

    Steps of one stage are asked for again by every cell that shares them: `_once` remembers the key by what
    was asked, so that a document is written and hashed once, and a plan grows linearly with its cells.
    """

    def __init__(self, resolved: ResolvedSuite, plan: Plan) -> None:
        self.plan = plan
        self._resolved = resolved
        self._base_seed = resolved.suite.base_seed
        self._digester = Digester()
        self._known: dict[tuple[Any, ...], Any] = {}

    def add_cell(self, arm: Arm) -> None:
        """Add one cell with all its steps and records."""
        classifier = arm.classifier
        assert classifier is not None
        images = self._images(arm)
        costs = self._image_steps(arm)
        train = self._train(arm)
        baseline = self._train(self._baseline_of(arm))
        if baseline != train:
            self._check_comparable(arm, train, baseline)
        predict = self._predict(arm)
        evaluations = []
        for evaluator in self._resolved.evaluators:
            subject = _subject(evaluator)
            if subject == "cell":
                evaluations.append(self._evaluate_cell(arm, evaluator, (*costs, train)))
            elif subject == "image_set" and not arm.is_baseline:
                evaluations.append(self._evaluate_images(arm, evaluator, costs))
        steps = (self._dataset(arm.dataset), *costs, train, predict, *evaluations)
        cell = Cell(cell_name(arm), steps, arm, train, images.sample, images.filter, images.more)
        self.plan.cells.append(cell)

    def add_suite_evaluations(self) -> None:
        """Add the steps that read all records of a dataset, or of the suite, after those that they read."""
        datasets, first = self._resolved.datasets, list(self.plan.records.values())
        for dataset in datasets:
            own = [planned for planned in first if planned.arm.dataset is dataset]
            self._evaluate_suite(dataset, own, spans_datasets=False)
        shared = len({id(planned.arm.dataset) for planned in first})
        whole = replace(datasets[0], label=f"all {shared} datasets") if shared > 1 else datasets[0]
        self._evaluate_suite(whole, first, spans_datasets=True)

    def _evaluate_suite(
        self, dataset: Resolved, records: Sequence[PlannedRecord], *, spans_datasets: bool
    ) -> None:
        """Add the suite evaluators that are given the records of one dataset, or those of all."""
        names = sorted([*_labels(planned.arm), planned.evaluator.label] for planned in records)
        about = digest([names, self.plan.planned_indices])
        for evaluator in self._resolved.evaluators:
            spans = isinstance(evaluator.config, EvaluatorConfig) and evaluator.config.spans_datasets
            if _subject(evaluator) != "suite" or spans != spans_datasets or not records:
                continue
            inputs = Inputs(records={planned.key: planned.key for planned in records})
            label = f"evaluate {evaluator.label} of {dataset.label}"
            key = self._add_evaluate(evaluator, "suite", inputs, label, about)
            arm = Arm(dataset, self._resolved.generators[0], self._resolved.no_filter, None, None, 0)
            stored = self._dataset(self._resolved.datasets[0] if spans else dataset)
            self.plan.records[key] = PlannedRecord(key, "suite", arm, evaluator, stored)

    # ------------------------------------------------------------------------------------- one per stage

    def _dataset(self, dataset: Resolved) -> str:
        def make() -> str:
            document = DatasetDocument(component=dataset.identity)
            return self._add(document, f"load {dataset.label}", dataset)

        return self._once(("dataset", id(dataset)), make)

    def _images(self, arm: Arm) -> "_Images":
        """Return the keys of the steps that sample and filter an arm's images; empty where there is none.

        How many images a filter leaves is not known before it is asked: top-ups are planned for every one,
        and make nothing where nothing is missing.
        """
        if arm.is_baseline:
            return _Images()
        sample = self._sample(arm)
        if arm.filter.name == BASELINE:
            return _Images(sample)
        images = _Images(sample, self._filter(arm, _Images(sample)))
        for _ in TOP_UPS:
            more = (*images.more, self._sample(arm, images))
            images = _Images(sample, self._filter(arm, images._replace(more=more)), more)
        return images

    def _image_steps(self, arm: Arm) -> tuple[str, ...]:
        """Return the steps that make the arm's synthetic images, in order: none for the baseline."""
        images = self._images(arm)
        last = images.filter or images.sample
        return self._once(("images", last), lambda: self._with_inputs(last, self._dataset(arm.dataset)))

    def _with_inputs(self, key: str, skip: str) -> tuple[str, ...]:
        """Return a step after all that it needs, each once."""
        found: dict[str, None] = {}

        def visit(step: str) -> None:
            for needed in self.plan.steps[step].inputs.values():
                if needed != skip and needed not in found:
                    visit(needed)
            found.setdefault(step)

        if key:
            visit(key)
        return tuple(found)

    def _fit(self, dataset: Resolved, generator: Resolved, index: int) -> str:
        has_stock = generator.spec.has_stock
        index = 0 if has_stock else index  # what exists is found once: seeds draw from it

        def make() -> str:
            config = generator.config
            left_out = config.sample_fields if isinstance(config, GeneratorConfig) else frozenset[str]()
            inputs = Inputs(
                dataset=self._dataset(dataset), options=self._references(dataset, generator, index)
            )
            document = FitDocument(
                component=generator.options(without=left_out),
                inputs=inputs,
                seed=self._seed("generator", dataset, generator, index),
            )
            label = f"fit {generator.label} on {dataset.label}, seed {index}"
            if has_stock:
                label = f"read {generator.label} for {dataset.label}"
            return self._add(document, label, generator)

        return self._once(("fit", id(dataset), id(generator), index), make)

    def _sample(self, arm: Arm, judged: "_Images | None" = None) -> str:
        """Add the step that samples an arm's images or, where a filter judged some, what is missing."""
        filter_config = arm.filter.config
        asked = Asked(
            arm.ratio, filter_config.first_draw() if isinstance(filter_config, FilterConfig) else 1.0
        )
        if judged is None:
            return self._sample_of(arm.dataset, arm.generator, asked, arm.index)
        number = len(judged.more) + 1
        asked = replace(asked, top_up=number, most=TOP_UPS[number - 1])
        return self._sample_of(arm.dataset, arm.generator, asked, arm.index, judged.filter)

    def _sample_of(
        self, dataset: Resolved, generator: Resolved, images: Asked, index: int, judged: str = ""
    ) -> str:
        """Add the step that samples a generator, after those that sample the generators it starts from.

        Args:
            dataset: For which.
            generator: Of what.
            images: How many.
            index: Of the seed.
            judged: Of a top-up, the `filter` step that says what is missing.
        """

        def make() -> str:
            drafts = {
                option: self._sample_of(dataset, component, images, index, judged)
                for option, (mark, component) in generator.references.items()
                if mark.stage == "sample"
            }
            inputs = Inputs(
                dataset=self._dataset(dataset),
                fit=self._fit(dataset, generator, index) if generator.spec.needs_fit else None,
                filter=judged or None,
                drafts=drafts,
                options=self._references(dataset, generator, index),
            )
            document = SampleDocument(
                component=generator.identity,
                inputs=inputs,
                images=images,
                seed=self._seed("generator", dataset, generator, index),
            )
            label = f"sample {generator.label} x{images.ratio:g} for {dataset.label}, seed {index}"
            return self._add(document, label + _top_up(images.top_up), generator)

        return self._once(("sample", id(dataset), id(generator), images, index, judged), make)

    def _filter(self, arm: Arm, images: "_Images") -> str:
        """Add the step that judges an arm's images; `images.filter` is the one that judged fewer of them."""

        def make() -> str:
            options = self._references(arm.dataset, arm.filter, arm.index)
            inputs = Inputs(dataset=self._dataset(arm.dataset), options=options, **images.as_inputs())
            document = FilterDocument(component=arm.filter.identity, inputs=inputs)
            label = f"filter {arm.generator.label} by {arm.filter.label}, seed {arm.index}"
            return self._add(document, label + _top_up(len(images.more)), arm.filter)

        return self._once(("filter", images, id(arm.filter)), make)

    def _train(self, arm: Arm) -> str:
        classifier, mix = arm.classifier, arm.mix
        assert classifier is not None
        assert mix is not None
        synthetic = self._images(arm)

        def make() -> str:
            inputs = Inputs(dataset=self._dataset(arm.dataset), **synthetic.as_inputs())
            seed = derive_seed("train", self._base_seed, arm.dataset.name, classifier.name, arm.index)
            images = arm.dataset.label + ("" if arm.is_baseline else f" + {arm.generator.label}")
            label = f"train {classifier.label} on {images}, seed {arm.index}"
            return self._add_train(classifier, mix, inputs, seed, label)

        about = (id(arm.dataset), synthetic, id(classifier), id(mix), arm.index)
        return self._once(("train", *about), make)

    def _reference_network(self, dataset: Resolved, classifier: Resolved) -> str:
        """An ordinary train step: train split only, fixed seed and recipe; never ranked."""

        def make() -> str:
            seed = derive_seed("reference", dataset.name, classifier.name)
            label = f"train reference {classifier.label} on {dataset.label}"
            inputs = Inputs(dataset=self._dataset(dataset))
            return self._add_train(classifier, Mix().baseline, inputs, seed, label)

        return self._once(("reference", id(dataset), id(classifier)), make)

    def _add_train(self, classifier: Resolved, mix: Mix, inputs: Inputs[str], seed: int, label: str) -> str:
        document = TrainDocument(component=classifier.identity, mix=mix, inputs=inputs, seed=seed)
        return self._add(document, label, classifier)

    def _predict(self, arm: Arm) -> str:
        train = self._train(arm)

        def make() -> str:
            document = PredictDocument(inputs=Inputs(dataset=self._dataset(arm.dataset), train=train))
            label = self.plan.steps[train].label.replace("train", "predict with", 1)
            return self._add(document, label, parts=self.plan.steps[train].parts)

        return self._once(("predict", train), make)

    def _embed(
        self,
        dataset: Resolved,
        extractor: str,
        fingerprint: str,
        split: str,
        images: "_Images | None" = None,
    ) -> str:
        drawn = images._replace(filter="") if images else _Images()  # every image, whatever a filter says

        def make() -> str:
            is_trained = extractor == "reference"
            network = self._reference_network(dataset, self._resolved.reference) if is_trained else None
            document = EmbedDocument(
                component={"use": extractor, "fingerprint": fingerprint},
                split=split,
                inputs=Inputs(dataset=self._dataset(dataset), network=network, **drawn.as_inputs()),
            )
            what = f"{split} of {dataset.label}"
            if drawn.sample:
                what = self.plan.steps[drawn.sample].label.removeprefix("sample ")
            parts = self.plan.steps[network].parts if network else Parts()
            return self._add(document, f"embed {what} by {extractor}", parts=parts)

        return self._once(("embed", id(dataset), extractor, fingerprint, split, drawn), make)

    def _summary(self, evaluator: Resolved, embedded: str) -> str:
        """Add the step that computes once what an evaluator wants of a real split's features."""

        def make() -> str:
            features = self.plan.steps[embedded].work
            assert isinstance(features, EmbedDocument)
            document = SummaryDocument(
                component=features.component,
                summary={"use": evaluator.name, "version": evaluator.spec.version},
                inputs=Inputs(features=embedded),
            )
            label = self.plan.steps[embedded].label.removeprefix("embed ")
            return self._add(document, f"summarise {label} for {evaluator.name}", parts=evaluator.parts)

        return self._once(("summary", id(evaluator), embedded), make)

    def _known_images(self, dataset: Resolved, check: Resolved) -> str:
        """Add the step that computes once what the check for copies knows of a dataset's images."""

        def make() -> str:
            document = SummaryDocument(
                component={"use": "images"},
                summary={"use": check.name, "version": check.spec.version},
                inputs=Inputs(dataset=self._dataset(dataset)),
            )
            label = f"summarise {dataset.label} for {check.name}"
            return self._add(document, label, parts=check.parts)

        return self._once(("known", id(dataset)), make)

    def _evaluate_cell(self, arm: Arm, evaluator: Resolved, costs: tuple[str, ...]) -> str:
        config, train = evaluator.config, self._train(arm)
        reads = config if isinstance(config, EvaluatorConfig) else EvaluatorConfig()
        with_baseline = reads.reads_baseline and not arm.is_baseline
        with_twin = reads.reads_twin and self._resolved.suite.seeds > 1 and arm.trains
        inputs = Inputs(
            dataset=self._dataset(arm.dataset),
            predict=self._predict(arm),
            baseline=self._predict(self._baseline_of(arm)) if with_baseline else None,
            twin=self._predict(self._twin_of(arm)) if with_twin else None,
            train=train if reads.reads_network else None,
            options=self._references(arm.dataset, evaluator, arm.index),
        )
        key = self._add_evaluate(evaluator, "cell", inputs, f"evaluate {evaluator.label} of {cell_name(arm)}")
        dataset = self._dataset(arm.dataset)
        self.plan.records.setdefault(key, PlannedRecord(key, "cell", arm, evaluator, dataset, costs, train))
        return key

    def _evaluate_images(self, arm: Arm, evaluator: Resolved, costs: tuple[str, ...]) -> str:
        synthetic = self._images(arm)
        images = replace(arm, mix=None, classifier=None)

        def make() -> str:
            inputs = Inputs(
                dataset=self._dataset(arm.dataset),
                options=self._references(arm.dataset, evaluator, arm.index),
                **synthetic.as_inputs(),
                **self._features(arm.dataset, evaluator, synthetic),
            )
            label = f"evaluate {evaluator.label} of {cell_name(images)}"
            return self._add_evaluate(evaluator, "image_set", inputs, label)

        key = self._once(("evaluate", id(evaluator), synthetic), make)
        planned = PlannedRecord(key, "image_set", images, evaluator, self._dataset(arm.dataset), costs)
        self.plan.records.setdefault(key, planned)
        return key

    def _features(self, dataset: Resolved, evaluator: Resolved, images: "_Images") -> dict[str, Any]:
        """Return the inputs that an evaluator of features has besides the images themselves."""
        config = evaluator.config
        if evaluator.spec == COPY_CHECK:
            return {"summaries": {"train": self._known_images(dataset, evaluator)}}
        if not isinstance(config, EmbeddingConfig):
            return {}
        extractor = (config.extractor, evaluator.fingerprint)
        splits = ("train", "val", *evaluator.spec.reads)
        real = {split: self._embed(dataset, *extractor, split) for split in splits}
        return {
            "synthetic": self._embed(dataset, *extractor, "synthetic", images),
            "real": real,
            "summaries": {split: self._summary(evaluator, real[split]) for split in config.summarises},
        }

    def _add_evaluate(
        self, evaluator: Resolved, subject: Subject, inputs: Inputs[str], label: str, about: str = ""
    ) -> str:
        document = EvaluateDocument(subject=subject, component=evaluator.identity, inputs=inputs, about=about)
        trained = self.plan.steps[inputs.train].parts if inputs.train else None
        return self._add(document, label, evaluator, trained)

    # ------------------------------------------------------------------------------------------- helpers

    def _baseline_of(self, arm: Arm) -> Arm:
        """Return the arm of real images alone that this one is paired with."""
        assert arm.mix is not None
        none, no_filter = self._resolved.generators[0], self._resolved.no_filter
        return Arm(arm.dataset, none, no_filter, arm.mix.baseline, arm.classifier, arm.index)

    def _twin_of(self, arm: Arm) -> Arm:
        """Return the baseline of the next seed: what another seed alone changes."""
        baseline = self._baseline_of(arm)
        suite = self._resolved.suite
        return replace(baseline, index=(arm.index + 1) % (suite.look or suite.seeds))

    def _check_comparable(self, arm: Arm, train: str, baseline: str) -> None:
        """Compare an arm with its baseline; seeds of one row differ in nothing that this looks at."""

        def check() -> bool:
            check_comparable(self.plan.steps[train].work, self.plan.steps[baseline].work)
            return True

        about = (id(arm.dataset), id(arm.generator), id(arm.filter), id(arm.mix), id(arm.classifier))
        self._once(("comparable", *about), check)

    def _references(self, dataset: Resolved, owner: Resolved, index: int, path: str = "") -> dict[str, str]:
        """Make the steps of the components among `owner`'s options, by path.

        What a generator among them needs in its turn is `NAME/INNER`.

        Raises:
            UsageError: A generator that is handed over ready starts from another one's images.
        """
        steps = {}
        for option, (mark, component) in owner.references.items():
            if mark.kind == "classifier":
                steps[f"{path}{option}"] = self._reference_network(dataset, component)
            elif mark.stage == "fit":
                if component.spec.needs_fit:
                    steps[f"{path}{option}"] = self._fit(dataset, component, index)
                steps |= self._references(dataset, component, index, f"{path}{option}/")
            elif path:
                raise UsageError(
                    f"{owner.name} cannot be used here: its option {option} takes images of another "
                    f"generator ({component.name}), which do not exist for the images that it would be given",
                    hint="put it first: chain:first=NAME,second=...",
                )
        return steps

    def _seed(self, purpose: str, dataset: Resolved, component: Resolved, index: int) -> int:
        return derive_seed(purpose, self._base_seed, dataset.name, component.name, index)

    def _once(self, asked: tuple[Any, ...], make: Callable[[], R]) -> R:
        """Return what `make` made when the same was asked for the first time."""
        if asked not in self._known:
            self._known[asked] = make()
        found: R = self._known[asked]
        return found

    def _add(
        self, document: Document, label: str, component: Resolved | None = None, parts: Parts | None = None
    ) -> str:
        """Add a step, unless it is there.

        Args:
            document: What its result depends on.
            label: For people.
            component: What it calls; its options say where files are.
            parts: What else runs in it.
        """
        content = document.content()
        key = self._digester.digest(content, "component")
        if key not in self.plan.steps:
            location = component.location if component is not None else {}
            own = component.parts if component is not None else Parts()
            step = Step(key, document, label, location, own + parts if parts else own)
            # Written once; see `Step.document` and `Step.inputs`.
            vars(step).update(document=content, inputs=content["inputs"])
            self.plan.steps[key] = step
        return key


def _check_size(resolved: ResolvedSuite) -> None:
    """Refuse a suite by the product of its entries, before any arm or cell is made."""
    generated = sum(rows.most for rows in resolved.products)
    baselines = len(dict.fromkeys(mix.baseline for rows in resolved.products for mix in rows.mixes))
    sizes = {
        "dataset": len(resolved.datasets),
        "classifier": len(resolved.classifiers),
        "arm": generated + baselines,
        "seed": resolved.suite.seeds,
    }
    further = len(resolved.baseline_datasets) * len(resolved.classifiers) * baselines * resolved.suite.seeds
    cells = math.prod(sizes.values()) + further
    if cells > MOST_CELLS:
        product = " x ".join(f"{size:,} {name}{'s' * (size != 1)}" for name, size in sizes.items())
        product += f", and {further:,} of baseline_datasets" if further else ""
        raise UsageError(
            f"this suite has {cells:,} cells: {product}; at most {MOST_CELLS:,} are planned at once",
            hint="split it into suites that name fewer of them: cells that they share are run once",
        )
    evaluations = cells * len(resolved.evaluators)
    if evaluations > MOST_EVALUATIONS:
        raise UsageError(
            f"this suite has {evaluations:,} evaluations: {cells:,} cells x {len(resolved.evaluators):,} "
            f"evaluators; at most {MOST_EVALUATIONS:,} are planned at once",
            hint="split it into suites that name fewer evaluators: steps that they share are run once",
        )


def _top_up(number: int) -> str:
    return f", top-up {number}" if number else ""


def _labels(arm: Arm) -> list[str]:
    parts = (arm.dataset, arm.generator, arm.filter, arm.classifier)
    return [part.label for part in parts if part is not None]


def _subject(evaluator: Resolved) -> Subject:
    config = evaluator.config
    return config.subject if isinstance(config, EvaluatorConfig | EmbeddingConfig) else "cell"
