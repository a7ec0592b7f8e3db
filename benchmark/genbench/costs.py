"""What a plan would cost: time and disk, from earlier steps of the same work on the same kind of device.

A step is so many units of a kind of work: optimizer steps, images, or one whole step where nothing better is
known. Two steps are alike where one unit costs the same: the same component and options (but for those that
say how long it goes on, or that cost nothing), the same image shape, the same device. From steps that are
alike seconds are scaled by units; from others nothing is concluded, and the step is unknown.

Imports neither torch nor numpy.
"""

import contextlib
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from genbench.artifacts import CARD
from genbench.caches import read_json
from genbench.digest import digest
from genbench.errors import GenbenchError
from genbench.plan import Plan
from genbench.protocols import DatasetConfig, GeneratorConfig
from genbench.recipe import TrainRecipe, total_steps
from genbench.registry import Registry
from genbench.store import Store

#: Options of a dataset that change neither the shape of its images nor how many there are but of train.
_SAME_IMAGES = frozenset(
    {"limit_train", "split_seed", "augment_flip", "augment_shift_pixels", "epoch_repeats"}
)
#: What of a recipe makes an optimizer step slower or faster; of these, whether they are used at all.
_PACE = (
    "optimizer", "batch_size_images", "micro_batch_images", "precision", "channels_last", "compile", "freeze"
)  # fmt: skip
_USED = ("clip_norm", "ema_decay", "momentum", "label_smoothing")
_LONG_ENOUGH = 0.5  # of the longest step that is alike: shorter ones are mostly start-up
_MANY_IMAGES = 10**9
FAR_STRETCH = 10.0  #: an estimate from steps so many times shorter is marked as such


class Place(NamedTuple):
    """Where steps are computed.

    Attributes:
        device: `cpu`, or the GPU's name.
        processor: Name of the CPU's model.
    """

    device: str
    processor: str

    def of(self, stage: str) -> str:
        """Return the device that a stage uses: a dataset is loaded by the CPU."""
        on_cpu = self.device == "cpu" or stage == "dataset"
        return f"cpu ({self.processor})" if on_cpu else self.device


class Work(NamedTuple):
    """What a step has to do.

    Attributes:
        like: Digest of all that makes a unit of it cost what it costs, but for the device.
        amount: How many units.
        unit: What one is.
        files_grow: Whether what it leaves grows with the amount.
        least_bytes: What it leaves at least, where that is known without any earlier step.
    """

    like: str
    amount: float
    unit: str
    files_grow: bool = False
    least_bytes: float | None = None


@dataclass(frozen=True)
class Estimate:
    """What one step would cost.

    Attributes:
        work: What it has to do; None where that is not known either.
        seconds: On the device asked for; None is unknown.
        size_bytes: Of what it leaves; None is unknown.
        reason: Why something is unknown.
        stretch: How many times longer it is than the longest step that is alike.
        peak_bytes: The largest peak of memory of steps that are alike: of the GPU on one, else of the
            process; None is unknown.
    """

    work: Work | None
    seconds: float | None = None
    size_bytes: float | None = None
    reason: str = ""
    stretch: float = 1.0
    peak_bytes: int | None = None


class _UnknownError(Exception):
    """The work of a step cannot be told; the message is the reason."""


@dataclass(frozen=True)
class _Images:
    """What is known of a dataset: `shape` of its images, and how many are in each split."""

    shape: tuple[int, ...]
    splits: Mapping[str, int]

    @property
    def train(self) -> int:
        return self.splits["train"]

    @property
    def image_bytes(self) -> int:
        return math.prod(self.shape)


class _Documents:
    """The documents of planned and of stored steps, and what is known of the datasets among them."""

    def __init__(self, store: Store, registry: Registry, plan: Plan, newest: int | None = None) -> None:
        self._store, self._registry, self._plan = store, registry, plan
        keys = store.finished() if newest is None else _newest(store, newest)
        self.stored = {key: found for key in keys if (found := store.manifest(key)) is not None}
        self._images: dict[str, _Images] = {}

    def of(self, key: str) -> Mapping[str, Any]:
        if key in self._plan.steps:
            return self._plan.steps[key].document
        if key not in self.stored and (older := self._store.manifest(key)) is not None:
            self.stored[key] = older
        if key in self.stored:
            found: Mapping[str, Any] = self.stored[key]["document"]
            return found
        raise _UnknownError("what it was made from is gone")

    def images_of(self, document: Mapping[str, Any]) -> _Images:
        """Return what is known of the dataset that a step reads."""
        key = document["inputs"]["dataset"]
        if key not in self._images:
            component = self.of(key)["component"]
            found = self._card(key) or self._alike(component) or self._declared(component)
            if found is None:
                raise _UnknownError(
                    "how many images of what size there are is known once the dataset was loaded"
                )
            self._images[key] = found
        return self._images[key]

    def drawn(self, key: str) -> int:
        """Return how many images a `sample` step makes, or made."""
        counts = read_json(self._store.folder(key) / "counts.json") if key in self.stored else None
        if isinstance(counts, dict) and isinstance(counts.get("made_images"), int):
            return int(counts["made_images"])
        document = self.of(key)
        asked = document["images"]
        if asked.get("top_up"):
            raise _UnknownError("a top-up: it makes only what a filter left too few of")
        return round(float(asked["ratio"]) * self.images_of(document).train * float(asked["oversample"]))

    def _card(self, key: str) -> _Images | None:
        card = read_json(self._store.folder(key) / CARD) if key in self.stored else None
        if not isinstance(card, dict):
            return None
        return _Images(tuple(card["image_shape"]), dict(card["splits"]))

    def _declared(self, component: Mapping[str, Any]) -> _Images | None:
        """Return what a published dataset says of itself."""
        with contextlib.suppress(Exception):  # a plugin's; the plan goes on without
            spec = self._registry.spec("dataset", component["use"])
            config = self._registry.schema(spec, "dataset").model_construct(**component["config"])
            assert isinstance(config, DatasetConfig)
            known, splits = config.declared_images(), config.declared_splits()
            if known is not None and splits is not None:
                return _Images(known.shape, splits)
        return None

    def _alike(self, component: Mapping[str, Any]) -> _Images | None:
        """Conclude from a stored dataset that differs in how many of its training images are used."""
        wanted, limit = _same_images(component), component["config"].get("limit_train")
        for key, manifest in self.stored.items():
            document = manifest["document"]
            if document["stage"] != "dataset" or _same_images(document["component"]) != wanted:
                continue
            card, whole = self._card(key), document["component"]["config"].get("limit_train") is None
            if card is not None and (whole or limit is not None):
                train = card.train if limit is None else min(limit, card.train) if whole else limit
                return _Images(card.shape, {**card.splits, "train": train})
        return None


def _newest(store: Store, count: int) -> list[str]:
    """Return the keys of the artifacts that were made last and are there."""
    made = list(dict.fromkeys(str(line["key"]) for line in store.index.lines()))
    return [key for key in made[-count:] if store.has(key)]


def _same_images(component: Mapping[str, Any]) -> str:
    config = {name: one for name, one in component["config"].items() if name not in _SAME_IMAGES}
    return digest({**component, "config": config})


# ------------------------------------------------------------------------------------------- work of a step


class _Reader:
    """Says of documents what work they are."""

    def __init__(self, documents: _Documents, registry: Registry) -> None:
        self._documents, self._registry = documents, registry

    def work_of(self, document: Mapping[str, Any]) -> Work:
        """Return the work of a step.

        Raises:
            _UnknownError: It cannot be told.
        """
        stage = "summary" if "summary" in document else document["stage"]
        if stage == "evaluate" and document["subject"] == "suite":
            return Work(self._like(document, len(document["inputs"])), 1, "evaluation")
        found: Work = getattr(self, f"_{stage}")(document)
        if not found.amount:  # weights as they are: start-up alone, which longer steps say nothing about
            return found._replace(like=digest([found.like, "nothing"]), amount=1)
        return found

    def _dataset(self, document: Mapping[str, Any]) -> Work:
        component = document["component"]
        return Work(digest(["dataset", _same_images(component)]), 1, "load")

    def whatever_the_images(self, document: Mapping[str, Any]) -> Work | None:
        """Return the work of a fit that is as long for any number of images, where that is not known."""
        with contextlib.suppress(_UnknownError):
            config = self._generator(document["component"]) if document["stage"] == "fit" else None
            length = config.fit_length(1) if config and config.fit_length_fields else 0
            if config and length and length == config.fit_length(_MANY_IMAGES):
                return Work("", length, "fitting step")
        return None

    def _fit(self, document: Mapping[str, Any]) -> Work:
        images, component = self._documents.images_of(document), document["component"]
        config = self._generator(component)
        length = config.fit_length(images.train)
        left_out = config.fit_length_fields | config.costless_fields
        about = (images.shape, *([] if config.fit_length_fields else [images.train]))
        unit = "fitting step" if config.fit_length_fields else "fit"
        return Work(self._like(document, *about, left_out=left_out), length, unit)

    def _sample(self, document: Mapping[str, Any]) -> Work:
        images, config = self._documents.images_of(document), self._generator(document["component"])
        count = self._documents.drawn(digest(document))
        left_out = config.fit_length_fields | config.costless_fields
        like = self._like(document, images.shape, left_out=left_out)
        return Work(like, count, "image", files_grow=True, least_bytes=count * images.image_bytes)

    def _filter(self, document: Mapping[str, Any]) -> Work:
        images = self._documents.images_of(document)
        return Work(self._like(document, images.shape), self._judged(document), "image", files_grow=True)

    def _train(self, document: Mapping[str, Any]) -> Work:
        images, mix = self._documents.images_of(document), document["mix"]
        recipe = TrainRecipe.model_construct(**document["component"]["config"]["recipe"])
        synthetic = round(mix["ratio"] * images.train)
        own = {"append": images.train + synthetic, "replace": images.train}.get(mix["mode"], synthetic)
        dataset = self._documents.of(document["inputs"]["dataset"])["component"]["config"]
        scale, repeats = mix["budget_scale"], dataset.get("epoch_repeats", 1.0)
        steps = total_steps(recipe, images.train, own, mix["budget"], scale, repeats)
        like = digest([_network(document["component"]), images.shape, mix["augment"], _pace(recipe)])
        return Work(like, steps, "optimizer step")

    def _predict(self, document: Mapping[str, Any]) -> Work:
        images = self._documents.images_of(document)
        trained = self._documents.of(document["inputs"]["train"])["component"]
        count = sum(size for split, size in images.splits.items() if split not in {"train", "reserve"})
        like = digest(["predict", _network(trained), images.shape, trained["config"]["recipe"]["precision"]])
        return Work(like, count, "image", files_grow=True)

    def _embed(self, document: Mapping[str, Any]) -> Work:
        images, split = self._documents.images_of(document), document["split"]
        network = document["inputs"].get("network")
        by = _network(self._documents.of(network)["component"]) if network else document["component"]
        count = self._judged(document) if split == "synthetic" else images.splits[split]
        return Work(digest(["embed", by, images.shape]), count, "image", files_grow=True)

    def _summary(self, document: Mapping[str, Any]) -> Work:
        features = document["inputs"].get("features")
        inner = self._documents.of(features) if features else document
        images = self._documents.images_of(inner)
        about = (images.shape, dict(images.splits), inner.get("split", ""), document["summary"])
        return Work(self._like(document, *about), 1, "summary")

    def _evaluate(self, document: Mapping[str, Any]) -> Work:
        images = self._documents.images_of(document)
        drawn = self._judged(document) if "sample" in document["inputs"] else 0
        return Work(self._like(document, images.shape, dict(images.splits), drawn), 1, "evaluation")

    def _judged(self, document: Mapping[str, Any]) -> int:
        """Return how many images a step is handed: the first draw, and what stored top-ups made."""
        inputs, count = document["inputs"], self._documents.drawn(document["inputs"]["sample"])
        for role, key in inputs.items():
            if role.startswith("more:") and key in self._documents.stored:
                count += self._documents.drawn(key)
        return count

    def _generator(self, component: Mapping[str, Any]) -> GeneratorConfig:
        """Return the options of a stored or planned generator; those that a fit leaves out have defaults."""
        try:
            schema = self._registry.schema(self._registry.spec("generator", component["use"]), "generator")
        except GenbenchError:
            raise _UnknownError("its plugin is not loaded") from None
        assert issubclass(schema, GeneratorConfig)
        return schema.model_construct(**component["config"])

    def _like(self, document: Mapping[str, Any], *about: Any, left_out: Iterable[str] = ()) -> str:
        component = dict(document["component"])
        component["config"] = {
            name: one for name, one in component.get("config", {}).items() if name not in set(left_out)
        }
        return digest([document["stage"], component, *about])


def _network(component: Mapping[str, Any]) -> dict[str, Any]:
    """Return a classifier without its recipe."""
    config = {name: one for name, one in component["config"].items() if name != "recipe"}
    return {**component, "config": config}


def _pace(recipe: TrainRecipe) -> dict[str, Any]:
    return {name: getattr(recipe, name) for name in _PACE} | {
        name: bool(getattr(recipe, name)) for name in _USED
    }


# ------------------------------------------------------------------------------------------------ estimates


class Estimator:
    """Estimates steps of a plan from the steps that a store holds.

    Args:
        plan: Whose steps.
        store: Which holds others.
        registry: The components.
        place: Where steps would be computed.
        newest: How many artifacts are looked at, the newest first; None: all.
    """

    def __init__(
        self, plan: Plan, store: Store, registry: Registry, place: Place, newest: int | None = None
    ) -> None:
        self._plan, self._place = plan, place
        documents = _Documents(store, registry, plan, newest)
        self._reader = _Reader(documents, registry)
        self._seconds: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
        self._bytes: dict[str, list[tuple[float, float]]] = defaultdict(list)
        self._peaks: dict[tuple[str, str], int] = defaultdict(int)
        self._elsewhere: dict[str, set[str]] = defaultdict(set)
        self.measured = 0  #: steps that the store knows the cost of, on this device
        for manifest in list(documents.stored.values()):
            self._learn(manifest)

    def _learn(self, manifest: Mapping[str, Any]) -> None:
        document, run = manifest["document"], manifest["run"]
        try:
            work = self._reader.work_of(document)
        except (_UnknownError, KeyError, TypeError, ValueError):  # of another version, or without its inputs
            return
        seconds, hardware = run.get("seconds"), run.get("hardware") or {}
        if not isinstance(seconds, int | float):
            return
        there = Place(str(hardware.get("device")), str(hardware.get("processor"))).of(document["stage"])
        self._elsewhere[work.like].add(there)
        self._seconds[there, work.like].append((work.amount, float(seconds)))
        peak = run.get("peak_memory_bytes")
        if type(peak) is int:
            self._peaks[there, work.like] = max(peak, self._peaks[there, work.like])
        size = sum(entry["bytes"] for entry in manifest["files"].values())
        self._bytes[work.like].append((work.amount if work.files_grow else 1, size))
        self.measured += there == self._place.of(document["stage"])

    def of(self, key: str) -> Estimate:
        """Estimate one step of the plan."""
        step = self._plan.steps[key]
        try:
            work = self._reader.work_of(step.document)
        except _UnknownError as problem:
            return Estimate(self._reader.whatever_the_images(step.document), reason=str(problem))
        here = self._place.of(step.stage)
        size = _scaled(self._bytes.get(work.like, ()), work.amount if work.files_grow else 1)
        size = work.least_bytes if size is None else size
        known = self._seconds.get((here, work.like), [])
        if known:
            stretch = work.amount / max(amount for amount, _ in known)
            peak = self._peaks.get((here, work.like)) or None
            seconds = _scaled(known, work.amount)
            return Estimate(work, seconds, size, stretch=max(1.0, stretch), peak_bytes=peak)
        others = sorted(self._elsewhere.get(work.like, set()) - {here})
        reason = f"measured on {' and '.join(others)} alone" if others else "nothing alike was measured"
        return Estimate(work, None, size, reason)


def _scaled(known: Sequence[tuple[float, float]], amount: float) -> float | None:
    """Return what `amount` units cost by steps of known amounts: by the longer ones of them."""
    if not known:
        return None
    longest = max(one for one, _ in known)
    used = [(one, cost) for one, cost in known if one >= _LONG_ENOUGH * longest]
    return amount * sum(cost for _, cost in used) / sum(one for one, _ in used)


def by_clock(plan: Plan, seconds: Mapping[str, float], workers: int) -> float:
    """Return the least time by the clock: all work shared out, but no sooner than the longest chain."""
    ends: dict[str, float] = {}
    for key, step in plan.steps.items():
        if key in seconds:
            before = [ends.get(needed, 0.0) for needed in step.inputs.values()]
            ends[key] = seconds[key] + max(before, default=0.0)
    return max(sum(seconds.values()) / max(1, workers), max(ends.values(), default=0.0))
