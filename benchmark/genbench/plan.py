"""A suite becomes steps with keys: pure data, without torch.

The key of a step is the digest of its document: stage, component with resolved options, keys of its
inputs, protocol, seed. Steps that several cells share appear once. `family` is the same digest with
component versions left out: an artifact of the family under another key is *stale*.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from genbench.digest import differences, digest
from genbench.errors import ProtocolError, UsageError, did_you_mean
from genbench.protocols import EmbeddingConfig, EvaluatorConfig, FilterConfig, GeneratorConfig, Mix
from genbench.records import Subject
from genbench.seeding import derive_seed
from genbench.spec import BASELINE, Resolved, ResolvedSuite

KEY_VERSION = 1
STAGES = ("dataset", "fit", "sample", "filter", "train", "predict", "embed", "evaluate")
#: Where the documents of two compared training steps may differ: in their data, and nowhere else.
_DATA_ENTRIES = ("mix.ratio", "mix.mode", "mix.batch_fraction", "inputs.sample", "inputs.filter")


@dataclass(frozen=True)
class Step:
    """One node of the plan. Picklable, and complete: a worker needs nothing else.

    Attributes:
        key: Identity: digest of `document`.
        document: Everything that the result depends on.
        label: For people: `train resnet32 on digits + ddpm, seed 0`.
        family: Digest of the document without component versions.
        location: Options that say where files are; not part of the identity.
    """

    key: str
    document: Mapping[str, Any]
    label: str
    family: str
    location: Mapping[str, Any] = field(default_factory=dict)

    @property
    def stage(self) -> str:
        """Which kind of step."""
        stage: str = self.document["stage"]
        return stage

    @property
    def inputs(self) -> Mapping[str, str]:
        """Keys of the steps it needs, by role."""
        inputs: Mapping[str, str] = self.document["inputs"]
        return inputs


@dataclass(frozen=True)
class Arm:
    """What a row of the table is about, for one seed index."""

    dataset: Resolved
    generator: Resolved
    filter: Resolved
    mix: Mapping[str, Any]
    classifier: Resolved | None
    index: int


@dataclass(frozen=True)
class PlannedRecord:
    """A record that the run will leave: one `evaluate` step and what it is about.

    Attributes:
        key: Key of the `evaluate` step.
        subject: `cell` or `image_set`.
        arm: What is evaluated.
        evaluator: With what.
        costs: The steps whose cost is the cell's: fit, sample, filter, train.
        train: Key of the `train` step whose ledger belongs to the record, or empty.
    """

    key: str
    subject: Subject
    arm: Arm
    evaluator: Resolved
    costs: tuple[str, ...]
    train: str = ""


@dataclass(frozen=True)
class PlannedFinding:
    """A record about all cells of a dataset together.

    Attributes:
        dataset: Whose records are read.
        evaluator: By what.
        generator: The baseline.
        filter: The filter `none`.
    """

    dataset: Resolved
    evaluator: Resolved
    generator: Resolved
    filter: Resolved


@dataclass(frozen=True)
class Cell:
    """One (dataset, generator, filter, mix, classifier, seed) and the steps that it consists of."""

    name: str
    steps: tuple[str, ...]
    arm: Arm


@dataclass
class Plan:
    """Steps in an order in which each comes after its inputs, the cells they serve, and the records due."""

    steps: dict[str, Step] = field(default_factory=dict)
    cells: list[Cell] = field(default_factory=list)
    records: dict[str, PlannedRecord] = field(default_factory=dict)
    findings: list[PlannedFinding] = field(default_factory=list)
    protocol: Mapping[str, Any] = field(default_factory=dict)
    planned_indices: int = 0

    def find_cell(self, name: str) -> Cell:
        """Return a cell by its name.

        Raises:
            UsageError: There is none; the message names close ones.
        """
        found = next((cell for cell in self.cells if cell.name == name), None)
        if found is None:
            guess = did_you_mean(name, [cell.name for cell in self.cells][:12])
            hint = "genbench plan, with the same options, prints the names"
            raise UsageError(f"no cell {name!r} in this run. {guess}", hint=hint)
        return found


def make_plan(resolved: ResolvedSuite) -> Plan:
    """Expand a suite into its plan."""
    suite = resolved.suite
    protocol = {
        "base_seed": suite.base_seed,
        "preset": suite.preset,
        "reference": resolved.reference.identity,
    }
    planner = _Planner(resolved, Plan(protocol=protocol, planned_indices=suite.seeds))
    for dataset in resolved.datasets:
        for classifier in resolved.classifiers:
            for generator, image_filter, mix in _data_arms(resolved):
                for index in range(suite.seeds):
                    planner.add_cell(Arm(dataset, generator, image_filter, mix, classifier, index))
    planner.plan.findings = [
        PlannedFinding(dataset, evaluator, resolved.generators[0], resolved.no_filter)
        for dataset in resolved.datasets
        for evaluator in resolved.evaluators
        if _subject(evaluator) == "suite"
    ]
    return planner.plan


def check_comparable(arm: Mapping[str, Any], baseline: Mapping[str, Any]) -> None:
    """Refuse to compare two training documents that differ in more than their data.

    Raises:
        ProtocolError: They do; the message names what differs.
    """
    for path, found, expected in differences(arm, baseline):
        if not path.startswith(_DATA_ENTRIES):
            raise ProtocolError(
                f"compared arms must share everything but their data: {path} is {found}, not {expected}"
            )


class _Planner:
    """Adds cells to a plan; every step is made once, its inputs before it."""

    def __init__(self, resolved: ResolvedSuite, plan: Plan) -> None:
        self.plan = plan
        self._resolved = resolved
        self._base_seed = resolved.suite.base_seed
        self._families: dict[str, str] = {}
        self._datasets: dict[int, str] = {}

    def add_cell(self, arm: Arm) -> None:
        """Add one cell with all its steps and records."""
        assert arm.classifier is not None
        costs = [*self._image_steps(arm)]
        train = self._train(arm, arm.classifier)
        baseline = self._train(_baseline_of(arm, self._resolved), arm.classifier)
        if baseline != train:
            check_comparable(self.plan.steps[train].document, self.plan.steps[baseline].document)
        predict = self._predict(arm, train)
        evaluations = []
        for evaluator in self._resolved.evaluators:
            subject = _subject(evaluator)
            if subject == "cell":
                others = (train, predict, self._predict(_baseline_of(arm, self._resolved), baseline))
                evaluations.append(self._evaluate_cell(arm, evaluator, others, (*costs, train)))
            elif subject == "image_set" and arm.generator.name != BASELINE:
                evaluations.append(self._evaluate_images(arm, evaluator, tuple(costs)))
        steps = (self._dataset(arm.dataset), *costs, train, predict, *evaluations)
        self.plan.cells.append(Cell(_cell_name(arm), steps, arm))

    # ------------------------------------------------------------------------------------- one per stage

    def _dataset(self, dataset: Resolved) -> str:
        if id(dataset) not in self._datasets:
            document = {"stage": "dataset", "component": dataset.identity, "inputs": {}}
            self._datasets[id(dataset)] = self._add(document, f"load {dataset.label}", dataset.location)
        return self._datasets[id(dataset)]

    def _image_steps(self, arm: Arm) -> Iterator[str]:
        """Yield the steps that make the arm's synthetic images, in order: none for the baseline."""
        if arm.generator.name == BASELINE:
            return
        last = self._filter(arm) if arm.filter.name != BASELINE else self._sample(arm)
        yield from self._with_inputs(last, skip=self._dataset(arm.dataset))

    def _with_inputs(self, key: str, skip: str) -> Iterator[str]:
        """Yield a step after all that it needs, each once."""
        found: dict[str, None] = {}

        def visit(step: str) -> None:
            for needed in self.plan.steps[step].inputs.values():
                if needed != skip and needed not in found:
                    visit(needed)
            found.setdefault(step)

        visit(key)
        yield from found

    def _fit(self, dataset: Resolved, generator: Resolved, index: int) -> str:
        config = generator.config
        left_out = config.sample_fields if isinstance(config, GeneratorConfig) else frozenset[str]()
        document = {
            "stage": "fit",
            "component": generator.options(without=left_out),
            "inputs": {"dataset": self._dataset(dataset), **self._references(dataset, generator, index)},
            "seed": self._seed("generator", dataset, generator, index),
        }
        return self._add(
            document, f"fit {generator.label} on {dataset.label}, seed {index}", generator.location
        )

    def _sample(self, arm: Arm) -> str:
        filter_config = arm.filter.config
        oversample = filter_config.oversample if isinstance(filter_config, FilterConfig) else 1.0
        images = {"ratio": arm.mix["ratio"], "oversample": oversample}
        return self._sample_of(arm.dataset, arm.generator, images, arm.index)

    def _sample_of(
        self, dataset: Resolved, generator: Resolved, images: Mapping[str, float], index: int
    ) -> str:
        """Add the step that samples a generator, after those that sample the generators it starts from."""
        inputs = {"dataset": self._dataset(dataset), **self._references(dataset, generator, index)}
        if generator.spec.needs_fit:
            inputs["fit"] = self._fit(dataset, generator, index)
        for option, (mark, component) in generator.references.items():
            if mark.stage == "sample":
                inputs[f"draft:{option}"] = self._sample_of(dataset, component, images, index)
        document = {
            "stage": "sample",
            "component": generator.identity,
            "inputs": inputs,
            "images": images,
            "seed": self._seed("generator", dataset, generator, index),
        }
        label = f"sample {generator.label} x{images['ratio']:g} for {dataset.label}, seed {index}"
        return self._add(document, label, generator.location)

    def _filter(self, arm: Arm) -> str:
        document = {
            "stage": "filter",
            "component": arm.filter.identity,
            "inputs": {
                "dataset": self._dataset(arm.dataset),
                "sample": self._sample(arm),
                **self._references(arm.dataset, arm.filter, arm.index),
            },
        }
        label = f"filter {arm.generator.label} by {arm.filter.label}, seed {arm.index}"
        return self._add(document, label, arm.filter.location)

    def _train(self, arm: Arm, classifier: Resolved) -> str:
        inputs = {"dataset": self._dataset(arm.dataset)}
        if arm.generator.name != BASELINE:
            inputs["sample"] = self._sample(arm)
            if arm.filter.name != BASELINE:
                inputs["filter"] = self._filter(arm)
        seed = derive_seed("train", self._base_seed, arm.dataset.name, classifier.name, arm.index)
        images = arm.dataset.label + (f" + {arm.generator.label}" if arm.generator.name != BASELINE else "")
        return self._add_train(
            classifier, arm.mix, inputs, seed, f"train {classifier.label} on {images}, seed {arm.index}"
        )

    def _reference_network(self, dataset: Resolved, classifier: Resolved) -> str:
        """An ordinary train step: train split only, fixed seed and recipe; never ranked."""
        seed = derive_seed("reference", dataset.name, classifier.name)
        inputs = {"dataset": self._dataset(dataset)}
        label = f"train reference {classifier.label} on {dataset.label}"
        return self._add_train(classifier, _baseline_mix(Mix()), inputs, seed, label)

    def _add_train(
        self, classifier: Resolved, mix: Mapping[str, Any], inputs: Mapping[str, str], seed: int, label: str
    ) -> str:
        document = {
            "stage": "train",
            "component": classifier.identity,
            "mix": mix,
            "inputs": inputs,
            "seed": seed,
        }
        return self._add(document, label, classifier.location)

    def _predict(self, arm: Arm, train: str) -> str:
        document = {"stage": "predict", "inputs": {"dataset": self._dataset(arm.dataset), "train": train}}
        return self._add(document, self.plan.steps[train].label.replace("train", "predict with", 1))

    def _embed(
        self, dataset: Resolved, extractor: str, fingerprint: str, split: str, sample: str = ""
    ) -> str:
        inputs = {"dataset": self._dataset(dataset)}
        if sample:
            inputs["sample"] = sample
        if extractor == "reference":
            inputs["network"] = self._reference_network(dataset, self._resolved.reference)
        document = {
            "stage": "embed",
            "component": {"use": extractor, "fingerprint": fingerprint},
            "split": split,
            "inputs": inputs,
        }
        what = (
            self.plan.steps[sample].label.removeprefix("sample ") if sample else f"{split} of {dataset.label}"
        )
        return self._add(document, f"embed {what} by {extractor}")

    def _summary(self, evaluator: Resolved, embedded: str) -> str:
        """Add the step that computes once what an evaluator wants of a real split's features."""
        document = {
            "stage": "embed",
            "component": self.plan.steps[embedded].document["component"],
            "summary": {"use": evaluator.name, "version": evaluator.spec.version},
            "inputs": {"features": embedded},
        }
        label = self.plan.steps[embedded].label.removeprefix("embed ")
        return self._add(document, f"summarise {label} for {evaluator.name}")

    def _evaluate_cell(
        self, arm: Arm, evaluator: Resolved, steps: tuple[str, str, str], costs: tuple[str, ...]
    ) -> str:
        train, predict, baseline = steps
        config = evaluator.config
        inputs = {"dataset": self._dataset(arm.dataset), "predict": predict}
        inputs |= self._references(arm.dataset, evaluator, arm.index)
        if isinstance(config, EvaluatorConfig) and config.reads_baseline and arm.generator.name != BASELINE:
            inputs["baseline"] = baseline
        if isinstance(config, EvaluatorConfig) and config.reads_twin and self._resolved.suite.seeds > 1:
            inputs["twin"] = self._twin(arm)
        if isinstance(config, EvaluatorConfig) and config.reads_network:
            inputs["train"] = train
        key = self._add_evaluate(
            evaluator, "cell", inputs, f"evaluate {evaluator.label} of {_cell_name(arm)}"
        )
        self.plan.records.setdefault(key, PlannedRecord(key, "cell", arm, evaluator, costs, train))
        return key

    def _twin(self, arm: Arm) -> str:
        """Return the predictions of the baseline of the next seed: what another seed alone changes."""
        assert arm.classifier is not None
        baseline = _baseline_of(arm, self._resolved)
        other = replace(baseline, index=(arm.index + 1) % self._resolved.suite.seeds)
        return self._predict(other, self._train(other, arm.classifier))

    def _evaluate_images(self, arm: Arm, evaluator: Resolved, costs: tuple[str, ...]) -> str:
        sample = self._sample(arm)
        inputs = {"dataset": self._dataset(arm.dataset), "sample": sample}
        inputs |= self._references(arm.dataset, evaluator, arm.index)
        if arm.filter.name != BASELINE:
            inputs["filter"] = self._filter(arm)
        if isinstance(evaluator.config, EmbeddingConfig):
            extractor = (evaluator.config.extractor, evaluator.fingerprint)
            inputs["synthetic"] = self._embed(arm.dataset, *extractor, "synthetic", sample)
            for split in ("train", "val", *evaluator.spec.reads):
                inputs[f"real:{split}"] = self._embed(arm.dataset, *extractor, split)
            for split in evaluator.config.summarises:
                inputs[f"summary:{split}"] = self._summary(evaluator, inputs[f"real:{split}"])
        images = Arm(arm.dataset, arm.generator, arm.filter, {"ratio": arm.mix["ratio"]}, None, arm.index)
        key = self._add_evaluate(
            evaluator, "image_set", inputs, f"evaluate {evaluator.label} of {_cell_name(images)}"
        )
        self.plan.records.setdefault(key, PlannedRecord(key, "image_set", images, evaluator, costs))
        return key

    def _add_evaluate(
        self, evaluator: Resolved, subject: Subject, inputs: Mapping[str, str], label: str
    ) -> str:
        document = {
            "stage": "evaluate",
            "subject": subject,
            "component": evaluator.identity,
            "inputs": inputs,
        }
        return self._add(document, label, evaluator.location)

    # ------------------------------------------------------------------------------------------- helpers

    def _references(
        self, dataset: Resolved, owner: Resolved, index: int, path: str = "option:"
    ) -> dict[str, str]:
        """Make the steps of the components among `owner`'s options: `option:NAME` to key.

        What a generator among them needs in its turn is `option:NAME/INNER`.

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
            elif path != "option:":
                raise UsageError(
                    f"{owner.name} cannot be used here: its option {option} takes images of another "
                    f"generator ({component.name}), which do not exist for the images that it would be given",
                    hint="put it first: chain:first=NAME,second=...",
                )
        return steps

    def _seed(self, purpose: str, dataset: Resolved, component: Resolved, index: int) -> int:
        return derive_seed(purpose, self._base_seed, dataset.name, component.name, index)

    def _add(self, document: dict[str, Any], label: str, location: Mapping[str, Any] | None = None) -> str:
        document["key_version"] = KEY_VERSION
        key = digest(document)
        if key not in self.plan.steps:
            self._families[key] = self._family(document)
            self.plan.steps[key] = Step(key, document, label, self._families[key], location or {})
        return key

    def _family(self, document: Mapping[str, Any]) -> str:
        component = {
            name: value for name, value in document.get("component", {}).items() if name != "version"
        }
        inputs = {role: self._families[key] for role, key in document["inputs"].items()}
        return digest({**document, "component": component, "inputs": inputs, "key_version": None})


def _data_arms(resolved: ResolvedSuite) -> Iterator[tuple[Resolved, Resolved, Mapping[str, Any]]]:
    """Yield (generator, filter, mix) once each; the baseline knows neither filter nor ratio."""
    seen: set[str] = set()
    for generator in resolved.generators:
        for image_filter in resolved.filters:
            for mix in resolved.suite.mixes:
                is_baseline = generator.name == BASELINE
                settled = _baseline_mix(mix) if is_baseline else mix.model_dump(mode="json")
                chosen = resolved.no_filter if is_baseline else image_filter
                mark = digest([generator.identity, chosen.identity, settled])
                if mark not in seen:
                    seen.add(mark)
                    yield generator, chosen, settled


def _baseline_of(arm: Arm, resolved: ResolvedSuite) -> Arm:
    """Return the arm of real images alone that this one is paired with."""
    mix = _baseline_mix(Mix.model_validate({**arm.mix, "ratio": arm.mix["ratio"] or 1.0}))
    return Arm(arm.dataset, resolved.generators[0], resolved.no_filter, mix, arm.classifier, arm.index)


def _baseline_mix(mix: Mix) -> Mapping[str, Any]:
    """Real images alone, under the same augmentation and budget."""
    return {**mix.model_dump(mode="json"), "ratio": 0.0, "mode": "append", "batch_fraction": None}


def _subject(evaluator: Resolved) -> Subject:
    config = evaluator.config
    return config.subject if isinstance(config, EvaluatorConfig | EmbeddingConfig) else "cell"


def _cell_name(arm: Arm) -> str:
    """`digits/ddpm/x1-append-standard/resnet32/0`: unique within a suite, and what `genbench why` takes."""
    images = arm.generator.label + (f"+{arm.filter.label}" if arm.filter.name != BASELINE else "")
    parts = [arm.dataset.label, images, mix_label(arm.mix)]
    if arm.classifier is not None:
        parts.append(arm.classifier.label)
    return "/".join([*parts, str(arm.index)])


def mix_label(mix: Mapping[str, Any]) -> str:
    """Write a mix in a few characters; what has its usual value is left out."""
    words = [f"x{mix['ratio']:g}"] if mix["ratio"] else []
    words += [mix["mode"]] if mix.get("mode", "append") != "append" else []
    words += [f"p{mix['batch_fraction']:g}"] if mix.get("batch_fraction") else []
    words += [mix["augment"]] if mix.get("augment") else []
    words += [mix["budget"]] if mix.get("budget", "steps") != "steps" else []
    words += [f"T{mix['budget_scale']:g}"] if mix.get("budget_scale", 1.0) != 1.0 else []
    return "-".join(words)
