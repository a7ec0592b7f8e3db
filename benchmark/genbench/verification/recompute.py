"""Metrics anew, from submitted predictions and from labels of the verifier's own dataset.

Everything that a cell's evaluator reads is either ours (labels, class names, the evaluator's own code) or an
array of numbers whose type and shape are known before it is read.
"""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from genbench.artifacts import dataset_images
from genbench.documents import Document, EvaluateDocument, read_document
from genbench.errors import GenbenchError
from genbench.escaping import exception_text
from genbench.images import LabelledImages
from genbench.manifests import is_key
from genbench.plan import Plan, PlannedRecord
from genbench.protocols import Evaluation, PredictionEvaluator, Predictions
from genbench.records import DatasetImages, Record
from genbench.registry import Registry
from genbench.steps import execute
from genbench.steps.components import build
from genbench.steps.context import StepContext
from genbench.steps.dataset import Splits, open_splits
from genbench.steps.workshop import Workshop
from genbench.store import Store

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


class CannotRecomputeError(Exception):
    """A record does not follow from what was submitted alone; the message says why. No contradiction."""


class ContradictionError(Exception):
    """What was submitted cannot be what it says it is; the message says why."""


class _WithoutFeatures:
    """Predictions of which the logits alone were submitted."""

    def __init__(
        self, logits: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], names: tuple[str, ...]
    ) -> None:
        self.logits, self.labels, self.class_names = logits, labels, names

    @property
    def features(self) -> npt.NDArray[np.float32]:
        """Say that there are none."""
        raise CannotRecomputeError("it reads features, which were not submitted (submit --features)")


class Recomputer:
    """Recomputes the evaluations of a plan.

    Args:
        plan: Of built-in components.
        registry: Built-in components alone.
        store: The verifier's own: datasets are loaded into it.
        packed: The steps of the submission.
        scratch: A folder for what evaluators draw.
    """

    def __init__(self, plan: Plan, registry: Registry, store: Store, packed: Store, scratch: Path) -> None:
        self._plan, self._store, self._packed, self._scratch = plan, store, packed, scratch
        self._registry, self._workshop = registry, Workshop(store, registry)
        self._splits: dict[str, Splits | str] = {}

    def dataset(self, planned: PlannedRecord) -> DatasetImages:
        """Return what the verifier's own dataset holds.

        Raises:
            CannotRecomputeError: It cannot be loaded here.
        """
        self._splits_of(planned.dataset)
        artifact = self._store.open(planned.dataset)
        assert artifact is not None
        return dataset_images(artifact)

    def evaluation(self, planned: PlannedRecord) -> Evaluation:
        """Return the metrics of a cell.

        Raises:
            CannotRecomputeError: They need more than was submitted.
            ContradictionError: The predictions are none of this cell, or the evaluator refuses them.
        """
        if planned.subject != "cell":
            raise CannotRecomputeError(f"{planned.evaluator.name} reads images, which are not submitted")
        step = self._plan.steps[planned.key]
        return self._evaluated(step.key, step.work, planned)

    def foreign_evaluation(self, record: Record) -> Evaluation:
        """Return the metrics of a cell that cannot be planned here: a component of it is a third party's.

        Its predictions need none of that component's code: dataset and evaluator are ours, and the submitted
        document of the evaluation, whose digest is the record's key, says whose predictions it read.

        Raises:
            CannotRecomputeError: Dataset or evaluator are not planned here, or more is needed.
            ContradictionError: As above.
        """
        result = record.result
        alike = next(
            (
                planned
                for planned in self._plan.records.values()
                if planned.subject == result.subject == "cell"
                and planned.evaluator.identity == result.evaluator.identity
                and planned.arm.dataset.identity == result.dataset.identity
            ),
            None,
        )
        artifact = self._packed.open(result.key)
        if alike is None or artifact is None:
            raise CannotRecomputeError("its metrics are not recomputed either")
        content = artifact.document
        inputs = content.get("inputs")
        if (
            content.get("stage") != "evaluate"
            or not isinstance(inputs, dict)
            or not _are_keys(inputs.values())
        ):
            raise ContradictionError("the step of its key is no evaluation")
        return self._evaluated(result.key, read_document(content), alike)

    def _evaluated(self, key: str, document: Document, planned: PlannedRecord) -> Evaluation:
        """Call an evaluator; `planned` names it, and the dataset."""
        assert isinstance(document, EvaluateDocument)  # the plan's own, or looked at by the caller
        given, location = document.inputs, self._plan.steps[planned.key].location
        if given.dataset != planned.dataset or given.predict is None:
            raise ContradictionError("its evaluation read other inputs than those of a cell of this dataset")
        evaluator = build(planned.evaluator.identity, "evaluator", self._workshop, location)
        if not isinstance(evaluator, PredictionEvaluator) or given.options:
            raise CannotRecomputeError(f"{planned.evaluator.name} reads a network, which is not submitted")
        splits = self._splits_of(planned.dataset)
        own = self._predictions(given.predict, splits)
        baseline = self._predictions(given.baseline, splits) if given.baseline else None
        inputs = {"twin": self._predictions(given.twin, splits)} if given.twin else {}
        ctx = _context(int(key[:15], 16), self._scratch / key[:16], inputs)
        try:
            return evaluator.evaluate(own, baseline, ctx)
        except GenbenchError as problem:
            raise ContradictionError(f"from its predictions there is no result: {problem.message}") from None

    def _splits_of(self, key: str) -> Splits:
        """Return the splits of a dataset, which this machine loads from its own source."""
        if key not in self._splits:
            self._splits[key] = self._loaded(key)
        found = self._splits[key]
        if isinstance(found, str):
            raise CannotRecomputeError(f"the dataset cannot be loaded here: {found}")
        return found

    def _loaded(self, key: str) -> Splits | str:
        artifact = self._store.open(key)
        if artifact is None:
            try:
                execute(self._plan.steps[key], self._workshop, _ignore)
            except Exception as problem:  # whatever reading a dataset of this machine raises
                return problem.message if isinstance(problem, GenbenchError) else exception_text(problem)
            artifact = self._store.open(key)
        return open_splits(artifact) if artifact is not None else "it is damaged"

    def _predictions(self, key: str, splits: Splits) -> Mapping[str, Predictions]:
        if self._packed.open(key) is None:
            raise ContradictionError(
                f"its predictions ({key[:16]}) are missing, or not what their manifest says"
            )
        folder = self._packed.folder(key)
        there = {
            name: images
            for name, images in splits.evaluated.items()
            if name == "test" or (folder / f"{name}.logits.npy").is_file()  # others may have said less
        }
        return {name: _opened(folder, name, images) for name, images in there.items()}


def _are_keys(values: Iterable[object]) -> bool:
    """Say whether values that a stranger wrote are keys of steps, and no paths."""
    return all(isinstance(one, str) and is_key(one) for one in values)


def _opened(folder: Path, split: str, images: LabelledImages) -> Predictions:
    """Open the predictions of one split; `images` are the verifier's own."""
    labels, names = images.labels, images.class_names
    logits = read_array(folder / f"{split}.logits.npy", len(labels), len(names))
    features = folder / f"{split}.features.npy"
    if not features.is_file():
        return _WithoutFeatures(logits, labels, names)  # type: ignore[return-value]
    return Predictions(logits, read_array(features, len(labels), None), labels, names)


def read_array(path: Path, rows: int, columns: int | None) -> npt.NDArray[np.float32]:
    """Read `float32 [rows, columns]` from a `.npy` file, whose header is checked against its size.

    Args:
        path: The file.
        rows: How many images the split has.
        columns: How many classes; None takes any number.

    Raises:
        ContradictionError: It is missing, another kind of file, of another type or shape, or not finite.
    """
    try:
        with path.open("rb") as file:
            read_header = _HEADERS.get(np.lib.format.read_magic(file))
            if read_header is None:
                raise ValueError("a version of the format that is not read")
            shape, is_fortran, dtype = read_header(file, max_header_size=1_000)
            wanted = f"float32 [{rows}, {'n' if columns is None else columns}] is what the dataset asks for"
            fits = len(shape) == 2 and shape[0] == rows and (columns is None or shape[1] == columns)
            if dtype != np.dtype("<f4") or is_fortran or not fits:
                raise ValueError(f"{dtype} {list(shape)}, and {wanted}")
            if path.stat().st_size - file.tell() != 4 * shape[0] * shape[1]:
                raise ValueError("its header says another size than it has")
            values: npt.NDArray[np.float32] = np.frombuffer(file.read(), dtype="<f4").reshape(shape)
    except FileNotFoundError:
        raise ContradictionError(f"{path.name} is missing") from None
    except (
        Exception
    ) as problem:  # NumPy parses a header with Python's own tokenizer, which raises what it likes
        raise ContradictionError(f"{path.name} is unusable: {exception_text(problem, 200)}") from None
    return values


def _context(seed: int, folder: Path, inputs: Mapping[str, object]) -> StepContext:
    (folder / "work").mkdir(parents=True, exist_ok=True)
    (folder / "files").mkdir(exist_ok=True)

    log = logging.Logger("genbench.verification")
    return StepContext(
        seed, "cpu", folder / "work", folder / "files", log, _ignore, inputs=inputs, pictures=False
    )


def _ignore(done: int, total: int, metrics: Mapping[str, float]) -> None:
    """Nobody watches."""
