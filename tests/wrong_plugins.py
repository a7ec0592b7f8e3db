"""A component of each kind that holds to the contract, and, by its option `fault`, breaks it in one place."""

import pickle
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from safetensors.torch import load_file, save_file
from torch import nn

import genbench
from genbench.images import LabelledImages, RealImages, TensorImages
from genbench.metrics import Metric, Subject
from genbench.protocols import (
    Classifier,
    ClassifierConfig,
    Dataset,
    DatasetConfig,
    Evaluation,
    EvaluatorConfig,
    Filter,
    FilterConfig,
    Generator,
    GeneratorConfig,
    ImageEvaluator,
    ImageSet,
    ModelEvaluator,
    PredictionEvaluator,
    Predictions,
    RunContext,
    SampleRequest,
    SuiteEvaluator,
    SyntheticBatch,
    Verdicts,
)
from genbench.records import Record

_FAULT: Any = Field(default="", description="what is wrong")


# ---------------------------------------------------------------------------------------------- generators


class GenConfig(GeneratorConfig):
    """Options of `gen`."""

    fault: str = _FAULT


class Gen(Generator):
    """A class mean with noise, fitted in as many iterations as there are classes."""

    def __init__(self, config: GenConfig) -> None:
        self.fault = config.fault
        self.means, self.shift = torch.empty(0), torch.zeros(1)

    def fit(self, train: LabelledImages, ctx: RunContext) -> None:
        saved = ctx.restore()
        self.means = saved.tensors["means"] if saved else torch.zeros(train.num_classes, *train.image_shape)
        if self.fault == "fit changes train":
            train.all().clamp_(max=100)
        if self.fault == "fit draws":
            self.shift = torch.rand(1, generator=_entropy())
        if self.fault == "global torch":
            torch.rand(1)
        if self.fault == "global numpy":
            np.random.rand()
        if self.fault == "global python":
            random.random()
        for label in range(saved.meta["done"] if saved else 0, train.num_classes):
            rows = np.flatnonzero(train.labels == label)
            jitter = 20 * torch.rand(1, generator=ctx.rng("jitter", label))
            self.means[label] = train.batch(rows).float().mean(dim=0) + jitter
            if self.fault != "asks nothing":
                ctx.progress(label + 1, train.num_classes)
            self._save_progress(label, ctx)

    def _save_progress(self, label: int, ctx: RunContext) -> None:
        fault, meta = self.fault, {"done": label + 1}
        few = fault in {"asks once", "asks once and forgets"}
        if fault in {"never asks", "asks nothing"} or (few and label != 1) or not ctx.checkpoint_due():
            return
        if fault == "no json":
            ctx.checkpoint({"means": self.means}, {"done": np.int64(label + 1)})
        if fault in {"loses state", "asks once and forgets"}:
            ctx.checkpoint({"means": torch.zeros_like(self.means)}, meta)
        if fault != "ignores the answer":
            ctx.checkpoint({"means": self.means}, meta)

    def sample(self, request: SampleRequest, ctx: RunContext) -> Iterator[SyntheticBatch]:
        count, shape = len(request), request.train.image_shape
        noise = [
            torch.randn(shape, generator=torch.Generator().manual_seed(int(seed))) for seed in request.seeds
        ]
        images = (
            self.means[torch.from_numpy(request.labels)] + self.shift * 50 + 10 * torch.stack(noise)
        ).clamp(0, 255)
        whole = SyntheticBatch(images.byte(), request.labels, np.full(count, -1, dtype=np.int64))
        yield from self._made_wrong(whole, images, request, ctx)

    def _made_wrong(
        self, whole: SyntheticBatch, images: torch.Tensor, request: SampleRequest, ctx: RunContext
    ) -> Iterator[SyntheticBatch]:
        count = len(request)
        with_replacement = torch.randint(0, len(request.train), (count,), generator=ctx.rng("rows"))
        ragged = images.byte() + torch.arange(count).byte()[:, None, None, None]
        wrong = {
            "float": {"images": images},
            "0-1": {"images": (images / 255).byte()},
            "grey": {"images": whole.images[:, :1]},
            "other labels": {"labels": (request.labels + 1) % 3},
            "sources": {"source_indices": np.full(count, len(request.train))},
            "prompts": {"prompts": ["a photo"]},
            "unseeded": {"images": torch.randint(0, 255, images.shape, generator=_entropy()).byte()},
            "with replacement": {"images": request.train.batch(with_replacement)},
            "by place": {"images": ragged},
        }
        if self.fault == "short":
            whole = SyntheticBatch(whole.images[1:], whole.labels[1:], whole.source_indices[1:])
        if self.fault == "changes train":
            request.train.all().clamp_(max=100)
        if self.fault == "changes seeds":
            request.seeds[:] = 0
        yield replace(whole, **wrong.get(self.fault, {}))  # type: ignore[arg-type]

    def save(self, folder: Path) -> None:
        if self.fault == "torch.save":
            torch.save(self.means, folder / "means.safetensors")
        elif self.fault == "pickle":
            (folder / "means.data").write_bytes(pickle.dumps(self.means.numpy()))
        else:
            save_file({"means": self.means, "shift": self.shift}, folder / "means.safetensors")

    def load(self, folder: Path) -> None:
        state = load_file(folder / "means.safetensors")
        self.means, self.shift = state["means"], state["shift"]
        if self.fault == "load forgets":
            self.means = torch.zeros_like(self.means)


def _entropy() -> torch.Generator:
    generator = torch.Generator()
    generator.seed()
    return generator


# -------------------------------------------------------------------------------------- filters, classifiers


class SieveConfig(FilterConfig):
    """Options of `sieve`."""

    fault: str = _FAULT

    def first_draw(self) -> float:
        return 0.5 if self.fault == "draws half" else 2.0


class Sieve(Filter):
    """Drops the darkest quarter of each class."""

    def __init__(self, config: SieveConfig) -> None:
        self.fault = config.fault

    def keep(self, synthetic: LabelledImages, train: LabelledImages, ctx: RunContext) -> Verdicts:
        levels = synthetic.all().float().mean(dim=(1, 2, 3)).numpy()
        bounds = [np.quantile(levels[synthetic.labels == label], 0.25) for label in range(train.num_classes)]
        keep: Any = levels > np.array(bounds)[synthetic.labels]
        if self.fault == "by position":
            keep = np.arange(len(synthetic)) % 4 > 0
        if self.fault == "unseeded":
            keep = np.random.default_rng().random(len(synthetic)) > 0.4
        if self.fault == "global":
            keep = keep | (np.random.rand(len(synthetic)) > 2)
        if self.fault == "drops a class":
            keep = keep & (synthetic.labels != 1)
        if self.fault == "changes images":
            synthetic.all().zero_()
        if self.fault == "short":
            keep = keep[:24]  # right at first, wrong when more are added
        if self.fault == "numbers":
            keep = keep.astype(float)
        said = "" if self.fault == "no reason" else "dark"
        return Verdicts(keep, ["" if stays else said for stays in keep])


class NetConfig(ClassifierConfig):
    """Options of `net`."""

    fault: str = _FAULT


class Network(nn.Module):
    def __init__(self, inputs: int, classes: int, fault: str) -> None:
        super().__init__()
        self.fault = fault
        self.body, self.head = nn.Linear(inputs, 16), nn.Linear(16, classes)
        self.scale = torch.ones(1) if fault == "state outside" else nn.Parameter(torch.ones(1))
        if fault == "own randomness":
            nn.init.normal_(self.body.weight, std=0.05, generator=_entropy())
        if fault == "stuck":
            self.unused = nn.Linear(2, 2)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        features = torch.relu(self.body(x.flatten(1)))
        if self.fault == "batch statistics":
            features = features - features.mean(dim=0)
        if self.fault == "state outside" and self.training:
            self.scale = self.scale + 1
        return features * self.scale

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        if pre_logits:
            return x[:, :, None] if self.fault == "maps" else x
        return self.head(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = self.forward_head(self.forward_features(x))
        if self.fault == "no gradient":
            return logits.detach() + 0 * self.scale * self.head.bias.sum()
        return logits + 1 if self.fault == "two ways" else logits


class Net(Classifier):
    def build(self, num_classes: int, image_shape: tuple[int, int, int]) -> nn.Module:
        fault = self.config.fault  # type: ignore[attr-defined]
        more = fault == "one class more"
        return Network(image_shape[0] * image_shape[1] * image_shape[2], num_classes + more, fault)


# ---------------------------------------------------------------------------------------------- evaluators


class MeterConfig(EvaluatorConfig):
    """Options of `meter`."""

    fault: str = _FAULT


def _metrics(fault: str, value: float) -> Evaluation:
    metrics = [Metric("level", value, bounds=(0, 255), split="test")]
    if fault == "bounds":
        metrics.append(Metric("share", 140.0, "%"))
    if fault == "twice":
        metrics.append(Metric("level", 3.0, split="test"))
    if fault == "no note":
        metrics.append(Metric("other", None))
    if fault == "unseeded":
        metrics.append(Metric("chance", float(torch.rand(1, generator=_entropy()))))
    if fault == "global":
        metrics.append(Metric("chance", float(torch.rand(1))))
    if fault == "list":
        return metrics  # type: ignore[return-value]
    return Evaluation([] if fault == "empty" else metrics)


class Meter(PredictionEvaluator):
    def __init__(self, config: MeterConfig) -> None:
        self.fault = config.fault

    def evaluate(
        self,
        predictions: Mapping[str, Predictions],
        baseline: Mapping[str, Predictions] | None,
        ctx: RunContext,
    ) -> Evaluation:
        if self.fault == "changes logits":
            predictions["test"].logits[:] = 0
        return _metrics(self.fault, float(predictions["test"].labels.mean()))


class PhotometerConfig(EvaluatorConfig):
    """Options of `photometer`."""

    subject: ClassVar[Subject] = "image_set"
    fault: str = _FAULT


class Photometer(ImageEvaluator):
    def __init__(self, config: PhotometerConfig) -> None:
        self.fault = config.fault

    def evaluate(self, synthetic: ImageSet, real: Mapping[str, ImageSet], ctx: RunContext) -> Evaluation:
        if self.fault == "changes images":
            real["train"].images.all().zero_()
        return _metrics(self.fault, float(synthetic.images.all().float().mean()))


class ProbeConfig(EvaluatorConfig):
    """Options of `probe`."""

    reads_network: ClassVar[bool] = True
    fault: str = _FAULT


class Probe(ModelEvaluator):
    def __init__(self, config: ProbeConfig) -> None:
        self.fault = config.fault

    def evaluate(
        self, network: nn.Module, splits: Mapping[str, LabelledImages], ctx: RunContext
    ) -> Evaluation:
        logits = network(splits["test"].all())
        if self.fault == "changes weights":
            with torch.no_grad():
                next(network.parameters()).zero_()
        return _metrics(self.fault, float(logits.detach().abs().mean()))


class CensusConfig(EvaluatorConfig):
    """Options of `census`."""

    subject: ClassVar[Subject] = "suite"
    fault: str = _FAULT


class Census(SuiteEvaluator):
    def __init__(self, config: CensusConfig) -> None:
        self.fault = config.fault

    def evaluate(self, records: Sequence[Record], ctx: RunContext) -> Evaluation:
        return _metrics(self.fault, len(records))


class LostConfig(EvaluatorConfig):
    """Says that it is about cells, and `lost` is about a suite."""

    fault: str = _FAULT


# ------------------------------------------------------------------------------------------------ datasets


class DataConfig(DatasetConfig):
    """Options of `data`."""

    fault: str = _FAULT
    folder: str = Field(default="", description="a folder of somebody's machine")


class Data(Dataset):
    def __init__(self, config: DataConfig) -> None:
        self.config = config

    def load(self, ctx: RunContext) -> RealImages:
        fault = self.config.fault
        if fault == "reads a file":
            (Path(self.config.folder) / "levels.txt").read_text()
        if fault == "global":
            torch.rand(1)
        train = self._split(0, entropy=fault == "unseeded")
        test, night = self._split(1), self._split(2)
        if fault == "two sizes":
            test = TensorImages(test.all()[:, :, :4, :4], test.labels, test.class_names)
        if fault == "other classes":
            test = TensorImages(test.all(), test.labels, ["b", "a", "c"])
        if fault == "val of other classes":
            val = TensorImages(night.all(), night.labels, ["b", "a", "c"])
            return RealImages(train, test, val=val)
        if fault == "no training image":
            train = TensorImages(train.all(), train.labels % 2, train.class_names)
        if fault == "outside":
            night.labels = night.labels + 1
        return RealImages(train, test, {"val" if fault == "shift called val" else "night": night})

    def _split(self, seed: int, *, entropy: bool = False) -> TensorImages:
        chance = _entropy() if entropy else torch.Generator().manual_seed(seed)
        pixels = torch.randint(0, 256, (30, 3, 8, 8), generator=chance).byte()
        return TensorImages(pixels, np.arange(30, dtype=np.int64) % 3, ["a", "b", "c"])


# ------------------------------------------------------------------------------------- what a spec gets wrong


class UndocumentedConfig(GeneratorConfig):
    """An option that nobody explains."""

    level: float = 1.0
    fault: str = _FAULT


class PresetsConfig(GeneratorConfig):
    """A preset with a value out of bounds."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"paper": {"level": 3}}
    level: float = Field(default=0.5, le=1, description="brightness")
    fault: str = _FAULT


class PathConfig(GeneratorConfig):
    """A path that would enter the key."""

    weights: Path | None = Field(default=None, description="a file")
    fault: str = _FAULT


class AddressConfig(GeneratorConfig):
    """Files that are called by where they lie."""

    fault: str = _FAULT

    def source_files(self) -> Mapping[str, Path]:
        return {str(Path(__file__).absolute()): Path(__file__)}


def _spec(name: str, target: str, config: str = "", **facts: Any) -> genbench.ComponentSpec:
    module = "wrong_plugins"
    return genbench.ComponentSpec(
        name=name,
        target=f"{module}:{target}",
        config=f"{module}:{config or f'{target}Config'}",
        summary="made for tests",
        **facts,
    )


@genbench.hookimpl
def genbench_generators() -> Sequence[genbench.ComponentSpec]:
    return [
        _spec("gen", "Gen", needs_fit=True),
        _spec("undocumented", "Gen", "UndocumentedConfig", needs_fit=True),
        _spec("missing", "Gen", "GenConfig", needs_fit=True, requires=("nonsense_module_x",)),
        _spec("presets", "Gen", "PresetsConfig", needs_fit=True),
        _spec("path", "Gen", "PathConfig", needs_fit=True),
        _spec("address", "Gen", "AddressConfig", needs_fit=True),
    ]


@genbench.hookimpl
def genbench_filters() -> Sequence[genbench.ComponentSpec]:
    return [_spec("sieve", "Sieve")]


@genbench.hookimpl
def genbench_classifiers() -> Sequence[genbench.ComponentSpec]:
    return [_spec("net", "Net")]


@genbench.hookimpl
def genbench_evaluators() -> Sequence[genbench.ComponentSpec]:
    return [
        *(_spec(name, name.capitalize()) for name in ("meter", "photometer", "probe", "census")),
        _spec("lost", "Census", "LostConfig"),
        _spec("no-evaluator", "Sieve", "MeterConfig"),
    ]


@genbench.hookimpl
def genbench_datasets() -> Sequence[genbench.ComponentSpec]:
    return [_spec("data", "Data")]
