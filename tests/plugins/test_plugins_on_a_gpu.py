"""What the built-in components compute on a GPU stays there; on fake CUDA tensors (see `fake_cuda.py`)."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fake_cuda import NoWaiting, fake_cuda, on_fake_cuda
from genbench.images import ImageStatistics, TensorImages
from genbench.notation import parse_reference
from genbench.protocols import DatasetFacts
from genbench.registry import Registry, import_target
from genbench.spec import resolve
from genbench.steps.context import StepContext
from genbench.steps.extractors import _extracted, _Loaded
from genbench.training.data import Batch
from genbench.training.loop import batch_loss, tally
from genbench.training.predict import NormalisedNetwork
from genbench_evaluators import _neighbours
from genbench_evaluators._feature_sets import FeatureSets
from genbench_evaluators._kernels import Kernel
from genbench_evaluators.adversarial import differentiable, fgsm, margin, pgd
from genbench_filters._distances import squared_distances
from genbench_filters.near_duplicates import _flat
from genbench_generators._adain import Decoder, adain, decoder_loss, moments
from genbench_generators._ddpm_fit import DdpmFit
from genbench_generators._diffusion import ImageNoise, cosine_betas
from genbench_generators._encoders import ReferenceEncoder
from genbench_generators._fitting import Fit, FitPlan, TrainingImages
from genbench_generators._gatys import gram, losses
from genbench_generators._noisy_classifier import NoisyClassifier, log_probability_gradient
from genbench_generators._samplers import DpmSolver, make_sampler
from genbench_generators._unet import build_unet, unet_options
from genbench_generators.configs.ddpm import DdpmConfig
from genbench_generators.configs.style_transfer import StyleTransferConfig
from genbench_generators.cvae import CvaeNetwork, negative_bound
from genbench_generators.ddpm import Ddpm, _Fitted

MakeContext = Callable[..., StepContext]
IMAGES = TensorImages(torch.zeros(32, 3, 32, 32, dtype=torch.uint8), np.arange(32) % 4, list("abcd"))
STATISTICS = ImageStatistics((0.5, 0.5, 0.5), (0.2, 0.2, 0.2))
SMALL_DDPM = {
    "channels": 8, "channel_multipliers": (1, 2), "attention_levels": (1,), "blocks_per_level": 1,
    "norm_groups": 4, "batch_size_images": 8, "timesteps": 20, "sampling_steps": 5,
}  # fmt: skip


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with fake_cuda(monkeypatch):
        yield


def build(registry: Registry, name: str) -> nn.Module:
    resolved = resolve(registry, "classifier", parse_reference(name), "smoke", lambda path: "")
    found: Any = import_target(resolved.spec.target, name)(resolved.config)
    network: nn.Module = found.build(4, (3, 32, 32))
    return network


def images(count: int = 8) -> torch.Tensor:
    return torch.zeros(count, 3, 32, 32, device="cuda")


def labels(count: int = 8) -> torch.Tensor:
    return torch.zeros(count, dtype=torch.int64, device="cuda")


@pytest.mark.parametrize("name", ["mlp", "cnn", "resnet32", "vit", "timm:model=resnet18"])
def test_a_classifiers_forward_pass_and_loss(
    name: str, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = build(registry, name)
    with fake_cuda(monkeypatch):
        network = on_fake_cuda(built).train()
        batch = Batch(images(), labels(), labels(), torch.ones(8, device="cuda"))
        with NoWaiting():
            logits = network(batch.images)
            plain = batch_loss(logits.float(), batch._replace(weight=None), 0.1)
            books = tally(batch_loss(logits.float(), batch, 0.1), logits, batch.targets)
    assert logits.shape == (8, 4)
    assert {plain.device.type, books.device.type} == {"cuda"}


def test_an_attack_stays_on_the_device(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    built = NormalisedNetwork(build(registry, "cnn"), STATISTICS)
    slope = "genbench_evaluators.adversarial.gradient"  # a backward pass, which fake tensors do not have
    monkeypatch.setattr(slope, lambda logits_of, x, y: logits_of(x)[0, 0] + x)
    with fake_cuda(monkeypatch):
        logits_of = differentiable(on_fake_cuda(built).eval())
        with NoWaiting():
            attacked = [fgsm(logits_of, images(), labels(), 0.03)]
            attacked += [pgd(logits_of, images(), labels(), 0.03, 2, 0.5, norm) for norm in ("linf", "l2")]
    assert {one.device.type for one in attacked} == {"cuda"}


@pytest.mark.usefixtures("fake")
def test_kernels_and_distances_stay_on_the_device() -> None:
    x, y = torch.zeros(5, 7, device="cuda"), torch.zeros(6, 7, device="cuda")
    with NoWaiting():
        values = [Kernel("rbf")(x, y), Kernel("rbf", (1.0, 2.0))(x, y), Kernel("polynomial")(x, y)]
        values.append(squared_distances(x.double(), y.double()))
    assert {(value.device.type, tuple(value.shape)) for value in values} == {("cuda", (5, 6))}
    assert _flat(IMAGES, np.arange(4), "cuda").device.type == "cuda"


@pytest.mark.usefixtures("fake")
def test_feature_sets_and_their_neighbours_stay_on_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_neighbours, "_COLUMNS", 4)  # several blocks
    sets = FeatureSets(*(torch.zeros(count, 7) for count in (9, 8, 5, 5, 5))).centred().on("cuda")
    assert {one.device.type for one in sets} == {"cuda"}
    with NoWaiting():
        radius = _neighbours.radii(sets.train, 3)
        found = _neighbours.nearest(sets.synthetic, sets.train)
        inside = _neighbours.inside(sets.synthetic, sets.train, radius)
        heights = margin(torch.zeros(8, 4, device="cuda"), labels())
    assert {one.device.type for one in (radius, *found, inside, heights)} == {"cuda"}
    assert [len(radius), len(found.row), len(inside)] == [8, 9, 9]


@pytest.mark.usefixtures("fake")
def test_an_extractor_sees_images_on_the_device() -> None:
    seen: list[torch.Tensor] = []

    def network(x: torch.Tensor) -> torch.Tensor:
        seen.append(x)
        return x.mean(dim=(2, 3))

    loaded = _Loaded(network, 48, "bilinear", (0.5, 0.5, 0.5), (0.2, 0.2, 0.2))
    with pytest.raises(RuntimeError, match="numpy"):  # fake tensors have no values to hand over
        next(_extracted(loaded, IMAGES, "cuda"))
    assert seen[0].device.type == "cuda"
    assert seen[0].shape == (32, 3, 48, 48)


# ----------------------------------------------------------------------------------------------- generators


@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "dpmpp", "dpmpp-sde"])
def test_every_step_of_a_sampler_is_on_the_device(sampler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = DdpmConfig.model_validate({**SMALL_DDPM, "sampler": sampler})
    made = make_sampler(config, cosine_betas(config.timesteps))
    if isinstance(made, DpmSolver):
        made._scheduler.set_begin_index(0)  # else diffusers looks its place up by value, on the CPU
    with fake_cuda(monkeypatch):
        noise = ImageNoise(list(range(8)), (3, 32, 32), "cuda")
        x_t = noise.draw()
        for index in range(len(made.levels)):
            x_t = made.step(index, x_t, torch.zeros_like(x_t), noise)
    assert x_t.device.type == "cuda"


def test_the_gradient_that_guides_is_on_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    built = NoisyClassifier(8, 2, 20, 4)
    monkeypatch.setattr(torch.autograd, "grad", lambda chosen, x: (x * chosen,))
    with fake_cuda(monkeypatch):
        network = on_fake_cuda(built)
        with NoWaiting():
            gradient = log_probability_gradient(network, images(), 3, labels())
    assert gradient.device.type == "cuda"


@pytest.mark.parametrize("guidance", ["classifier-free", "classifier"])
@pytest.mark.parametrize("flip", [False, True])
def test_the_loss_of_a_ddpm_step_waits_for_nothing(
    guidance: str, flip: bool, make_context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = DdpmConfig.model_validate({**SMALL_DDPM, "guidance": guidance})
    network = build_unet(unet_options(config, 4), "cpu")
    classifier = NoisyClassifier(8, 2, 20, 4) if guidance == "classifier" else None
    ctx = make_context(device="cuda", dataset=DatasetFacts(flip=flip))
    with fake_cuda(monkeypatch):
        beside = None if classifier is None else on_fake_cuda(classifier)
        fit = DdpmFit(on_fake_cuda(network), beside, IMAGES, config, cosine_betas(20), ctx)
        first = fit._loss(0, slice(None))  # brings the rows of a block to the device
        with NoWaiting():
            loss = fit._loss(1, slice(3, 6))
    assert {first.device.type, loss.device.type} == {"cuda"}
    assert loss.shape == ()


def test_the_loss_of_a_cvae_step_waits_for_nothing(
    make_context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = CvaeNetwork(8, 4, {"image_shape": [3, 32, 32], "num_classes": 4})
    with fake_cuda(monkeypatch):
        network = on_fake_cuda(built)
        served = TrainingImages(IMAGES, 8, make_context(device="cuda"))
        served.batch(0)
        with NoWaiting():
            x, own = served.batch(1)
            loss = negative_bound(network, x, own, torch.zeros(8, 4, device="cuda"), 1.0)  # type: ignore[arg-type]
    assert loss.device.type == "cuda"


def test_a_second_batch_size_is_a_second_static_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    """A guided batch is twice as large; a graph for any size would be slower for both."""

    class Plain(nn.Module):
        def forward(self, x: torch.Tensor, t: Any, classes: Any, return_dict: bool) -> tuple[torch.Tensor]:
            return (x.flip(-1) * 2,)

    torch._dynamo.reset()
    compile_it, graphs = torch.compile, []

    def backend(graph: torch.fx.GraphModule, inputs: list[Any]) -> Any:
        graphs.append([value for value in inputs if isinstance(value, torch.SymInt)])
        return graph.forward

    def compiled(network: nn.Module, **options: Any) -> Any:
        return compile_it(network, backend=backend, **options)

    monkeypatch.setattr(torch, "compile", compiled)
    generator = Ddpm(DdpmConfig.model_validate({**SMALL_DDPM, "compile": True}))
    generator._adopt(_Fitted(Plain(), {"num_classes": 4}))
    for count in (2, 4):
        generator._call(torch.zeros(count, 3, 8, 8), 3, torch.zeros(count, dtype=torch.int64))
    torch._dynamo.reset()
    assert graphs == [[], []]


@pytest.mark.parametrize("parts", [1, 2])
def test_no_line_of_a_fits_step_reads_a_value(make_context: MakeContext, parts: int) -> None:
    network = nn.Linear(4, 1)
    before = network.weight.detach().clone()
    plan = FitPlan("test", 9, 3, lambda step: 0.1, clip_norm=1.0, ema_decay=0.9, parts=parts)
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)
    x = torch.ones(3, 4)
    fit = Fit(network, optimizer, lambda step, rows: network(x[rows]).square().mean(), plan, make_context())
    with NoWaiting():
        fit._step(0)
    assert not torch.equal(network.weight, before)


def test_rows_are_the_same_in_blocks_as_one_by_one(
    make_context: MakeContext, make_images: Callable[..., TensorImages], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a block ends within an epoch, and where a fit resumes within a block."""
    train = make_images(40)

    def served(block_rows: int, steps: range) -> list[torch.Tensor]:
        monkeypatch.setattr("genbench_generators._fitting._BLOCK_ROWS", block_rows)
        found = TrainingImages(train, 16, make_context())
        return [found.batch(step)[0] for step in steps]

    single = served(1, range(12))
    assert all(torch.equal(a, b) for a, b in zip(served(80, range(12)), single, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(served(80, range(7, 12)), single[7:], strict=True))
    assert not torch.equal(single[0], single[1])


def test_style_transfer_stays_on_the_device(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    built = NormalisedNetwork(build(registry, "cnn"), STATISTICS)
    with fake_cuda(monkeypatch):
        on_fake_cuda(built)
        gatys = ReferenceEncoder(built, (32, 32), StyleTransferConfig(method="gatys"))
        maps = gatys(images())
        with NoWaiting():
            found = losses(gatys, images(), maps.content, [gram(seen) for seen in maps.style], 1.0)
        encoder = ReferenceEncoder(built, (32, 32), StyleTransferConfig(method="adain"))
        seen = encoder(images())
        style = [moments(one) for one in seen.style]
        decoder = on_fake_cuda(Decoder(seen.content.shape[1], 1, (32, 32)))
        with NoWaiting():
            t = adain(seen.content, style[-1])
            loss = decoder_loss(encoder, decoder(t), t, style, 10.0)
    assert {found.device.type, loss.device.type} == {"cuda"}
    assert found.shape == (8,)
