"""A single-file plugin of small, quick components: what the tests of the harness run on."""

import json
import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import torch
from PIL import Image
from pydantic import Field
from torch import nn

import genbench
from genbench import seeding
from genbench.errors import DataError
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
    ModelEvaluator,
    RunContext,
    SampleRequest,
    SuiteEvaluator,
    SyntheticBatch,
    TrainRecipe,
    Verdicts,
)
from genbench.records import Record
from genbench.seeding import counter_bits


class ToyDataConfig(DatasetConfig):
    """Bright and dark images with noise."""

    images: int = Field(default=120, ge=4, description="training images")
    classes: int = Field(default=3, ge=2, description="classes")
    size: int = Field(default=8, ge=2, description="pixels")

    def source_files(self) -> Mapping[str, Path]:
        return {"genbench": Path(genbench.__file__)}  # any file whose content stays


class ToyData(Dataset):
    def __init__(self, config: ToyDataConfig) -> None:
        self._config = config

    def load(self, ctx: RunContext) -> RealImages:
        return RealImages(
            train=self._make("train"), test=self._make("test"), shifts={"noisy": self._make("noisy")}
        )

    def _make(self, split: str) -> TensorImages:
        config = self._config
        labels = torch.arange(config.images) % config.classes
        noise = torch.rand(
            config.images, 3, config.size, config.size, generator=seeding.generator("toy", split)
        )
        level = labels.float() / config.classes
        pixels = ((level[:, None, None, None] + 0.6 * noise) / 1.6 * 255).byte()
        return TensorImages(pixels, labels.numpy(), [f"class{label}" for label in range(config.classes)])


class ToyGeneratorConfig(GeneratorConfig):
    """A training image with noise."""

    noise: float = Field(default=0.1, ge=0, le=1, description="share of noise")
    fit_iterations: int = Field(default=20, ge=1, description="iterations of fit")
    seconds_per_iteration: float = Field(default=0.0, ge=0, description="time that each takes")
    fault: str = Field(default="", description="what goes wrong: raise, kill, exit, nan, short, labels, leak")
    sample_fields: ClassVar[frozenset[str]] = frozenset({"noise"})


class ToyGenerator(Generator):
    def __init__(self, config: ToyGeneratorConfig) -> None:
        self._config = config
        self.mean = torch.zeros(1)

    def fit(self, train: LabelledImages, ctx: RunContext) -> None:
        """Sum random numbers, one draw per iteration: resumable, and different if an iteration is lost."""
        saved = ctx.restore()
        first, self.mean = (saved.meta["iteration"], saved.tensors["mean"]) if saved else (0, torch.zeros(1))
        for iteration in range(first, self._config.fit_iterations):
            time.sleep(self._config.seconds_per_iteration)
            self.mean = self.mean + torch.rand(1, generator=ctx.rng("draw", iteration))
            ctx.progress(iteration + 1, self._config.fit_iterations, mean=float(self.mean))
            if ctx.checkpoint_due():
                ctx.checkpoint({"mean": self.mean}, {"iteration": iteration + 1})
        _go_wrong(self._config.fault)

    def save(self, folder: Path) -> None:
        (folder / "toy.json").write_text(json.dumps({"mean": float(self.mean)}))

    def load(self, folder: Path) -> None:
        self.mean = torch.tensor([json.loads((folder / "toy.json").read_text())["mean"]])

    def sample(self, request: SampleRequest, ctx: RunContext) -> Iterator[SyntheticBatch]:
        images = request.train.batch(request.source_indices).float()
        shape = images.shape[1:]
        counters = torch.arange(shape.numel())
        noise = torch.stack([counter_bits(int(seed), counters) % 256 for seed in request.seeds]).view(
            images.shape
        )
        mixed = (1 - self._config.noise) * images + self._config.noise * noise
        labels = request.labels if self._config.fault != "labels" else (request.labels + 1) % 2
        if self._config.fault == "leak":  # what no generator may do: it has seen test
            test = ToyData(ToyDataConfig(images=200))._make("test")  # whose classes come in turn
            mixed = test.batch([3 * (place % 66) + int(label) for place, label in enumerate(labels)]).float()
        stop = len(labels) - 1 if self._config.fault == "short" else len(labels)
        yield SyntheticBatch(mixed[:stop].byte(), labels[:stop], request.source_indices[:stop])


def _go_wrong(fault: str) -> None:
    if fault == "raise":
        raise RuntimeError("the toy broke")
    if fault == "user":
        raise DataError("the toy is out of paint", hint="buy paint")
    if fault == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if fault == "exit":
        raise SystemExit(7)
    if fault == "hang":
        time.sleep(3600)


class ToyFilterConfig(FilterConfig):
    """Keeps every second image."""

    drop_class: int = Field(default=-1, ge=-1, description="a class that loses every image")


class ToyFilter(Filter):
    def __init__(self, config: ToyFilterConfig) -> None:
        self._config = config

    def keep(self, synthetic: LabelledImages, train: LabelledImages, ctx: RunContext) -> Verdicts:
        keep = (torch.arange(len(synthetic)) % 2 == 0).numpy() & (synthetic.labels != self._config.drop_class)
        return Verdicts(keep, ["" if stays else "odd" for stays in keep])


class ToyClassifierConfig(ClassifierConfig):
    """One linear layer."""

    dropout: float = Field(default=0.0, ge=0, lt=1, description="dropout")
    recipe: TrainRecipe = Field(
        default=TrainRecipe(epochs=4, batch_size_images=16, learning_rate=0.05),
        description="how it is trained",
    )


class ToyNetwork(nn.Module):
    def __init__(self, inputs: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.hidden = nn.Linear(inputs, 16)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(16, classes)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.hidden(x.flatten(1)))

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        return x if pre_logits else self.head(self.dropout(x))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.forward_head(self.forward_features(x))


class ToyClassifier(Classifier):
    config: ToyClassifierConfig

    def build(self, num_classes: int, image_shape: tuple[int, int, int]) -> nn.Module:
        return ToyNetwork(image_shape[0] * image_shape[1] * image_shape[2], num_classes, self.config.dropout)


class ToyEvaluatorConfig(EvaluatorConfig):
    """Asks the network itself."""

    reads_network: ClassVar[bool] = True

    picture: bool = Field(default=False, description="draw one")


class ToyEvaluator(ModelEvaluator):
    def __init__(self, config: ToyEvaluatorConfig) -> None:
        self._config = config

    def evaluate(
        self, network: nn.Module, splits: Mapping[str, LabelledImages], ctx: RunContext
    ) -> Evaluation:
        logits = network(splits["test"].all())
        (ctx.files / "note.txt").write_text("a file of the evaluator")
        if self._config.picture:
            Image.new("RGB", (4, 4)).save(ctx.files / "a_square.png")
        return Evaluation([Metric("mean_logit", float(logits.detach().mean()))])


class ToySuiteConfig(EvaluatorConfig):
    """Counts the records of a suite."""

    subject: ClassVar[Subject] = "suite"

    fault: str = Field(default="", description="what goes wrong: raise, kill, exit, hang")


class ToySuite(SuiteEvaluator):
    def __init__(self, config: ToySuiteConfig) -> None:
        self._config = config

    def evaluate(self, records: Sequence[Record], ctx: RunContext) -> Evaluation:
        _go_wrong(self._config.fault)
        return Evaluation([Metric("records", len(records), average="none")])


def _spec(name: str, stem: str, **facts: object) -> genbench.ComponentSpec:
    target, config = f"toy_plugin:{stem}", f"toy_plugin:{stem}Config"
    return genbench.ComponentSpec(name=name, target=target, config=config, summary=f"toy {name}", **facts)  # type: ignore[arg-type]


@genbench.hookimpl
def genbench_datasets() -> Sequence[genbench.ComponentSpec]:
    return [_spec("toy-data", "ToyData")]


@genbench.hookimpl
def genbench_generators() -> Sequence[genbench.ComponentSpec]:
    return [_spec("toy", "ToyGenerator", needs_fit=True)]


@genbench.hookimpl
def genbench_filters() -> Sequence[genbench.ComponentSpec]:
    return [_spec("toy-filter", "ToyFilter")]


@genbench.hookimpl
def genbench_classifiers() -> Sequence[genbench.ComponentSpec]:
    return [_spec("toy-net", "ToyClassifier")]


@genbench.hookimpl
def genbench_evaluators() -> Sequence[genbench.ComponentSpec]:
    return [_spec("toy-eval", "ToyEvaluator"), _spec("toy-suite", "ToySuite")]
