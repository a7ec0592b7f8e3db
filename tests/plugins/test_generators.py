"""The built-in generators and the filter `none`: what they make, from what, and that they can be resumed."""

import hashlib
import logging
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from sklearn.datasets import load_digits
from sklearn.svm import SVC
from torch import nn

from genbench.errors import GenbenchError, Interrupted, PluginError, UsageError
from genbench.images import LabelledImages, TensorImages
from genbench.protocols import Checkpoint, DatasetFacts, FilterConfig, Generator, RunContext, SampleRequest
from genbench.registry import Registry, import_target
from genbench.seeding import counter_bits, derive_seed
from genbench_filters.configs.none import NoFilterConfig
from genbench_filters.none import NoFilter
from genbench_generators._unet import PatchedUnet
from genbench_generators.configs.classical import ClassicalConfig
from genbench_generators.configs.copies import CopiesConfig
from genbench_generators.configs.ddpm import DdpmConfig
from genbench_generators.configs.none import NoneConfig
from genbench_generators.configs.sdedit import SdEditConfig
from genbench_generators.ddpm import Ddpm
from genbench_generators.sdedit import SdEdit

NAMES = ("classical", "copies", "ddpm", "none", "sdedit")
VARIANTS = ("flip_crop", "colour", "shear_zoom", "randaugment", "trivialaugment", "augmix")
SMALL: dict[str, Any] = {
    **DdpmConfig.presets["smoke"],
    "fit_steps": 6,
    "batch_size_images": 8,
    "sampling_steps": 3,
    "micro_batch_images": 4,
}


class FakeContext(RunContext):
    """A context in memory, which interrupts the step at its n-th chance to checkpoint."""

    def __init__(
        self,
        stop_at: int | None = None,
        saved: Checkpoint | None = None,
        seed: int = 0,
        *,
        flip: bool = False,
    ) -> None:
        self.device, self.inputs, self.dataset = "cpu", {}, DatasetFacts(flip=flip)
        self.work = self.files = Path("nowhere")
        self.log = logging.getLogger("genbench.test")
        self.saved, self.reports = saved, list[tuple[int, int, dict[str, float]]]()
        self._stop_at, self._chances, self._seed = stop_at, 0, seed

    def seed(self, *purpose: str | int) -> int:
        return derive_seed(self._seed, *purpose)

    def rng(self, *purpose: str | int) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed(*purpose))

    def progress(self, done: int, total: int, **metrics: float) -> None:
        self.reports.append((done, total, metrics))

    def checkpoint_due(self) -> bool:
        self._chances += 1
        return self._chances == self._stop_at

    def checkpoint(self, tensors: Mapping[str, torch.Tensor], meta: Mapping[str, Any]) -> None:
        assert all(isinstance(tensor, torch.Tensor) for tensor in tensors.values())
        self.saved = Checkpoint({name: tensor.clone() for name, tensor in tensors.items()}, dict(meta))
        raise Interrupted("stopped")

    def restore(self) -> Checkpoint | None:
        return self.saved


def build(registry: Registry, name: str, **options: Any) -> Generator:
    spec = registry.spec("generator", name)
    schema = import_target(spec.config, name)
    made: Generator = import_target(spec.target, name)(schema(**options))
    return made


def request_for(train: LabelledImages, count: int = 8, start: int = 0) -> SampleRequest:
    index = np.arange(start, start + count, dtype=np.int64)
    seeds = counter_bits(11, torch.from_numpy(index)).numpy()
    return SampleRequest(train.labels[index % len(train)], seeds, index % len(train), train)


def part_of(request: SampleRequest, start: int, stop: int) -> SampleRequest:
    return SampleRequest(
        request.labels[start:stop],
        request.seeds[start:stop],
        request.source_indices[start:stop],
        request.train,
    )


def images_of(generator: Generator, request: SampleRequest, ctx: RunContext) -> torch.Tensor:
    """Sample, and check what every generator owes."""
    batches = list(generator.sample(request, ctx))
    images = torch.cat([batch.images for batch in batches])
    assert images.dtype == torch.uint8
    assert images.shape == (len(request), *request.train.image_shape)
    np.testing.assert_array_equal(np.concatenate([batch.labels for batch in batches]), request.labels)
    return images


def sources_of(generator: Generator, request: SampleRequest, ctx: RunContext) -> list[int]:
    return [int(row) for batch in generator.sample(request, ctx) for row in batch.source_indices]


def fit(train: LabelledImages, ctx: RunContext | None = None, **options: Any) -> Ddpm:
    generator = Ddpm(DdpmConfig(**{**SMALL, **options}))
    generator.fit(train, ctx or FakeContext())
    return generator


def weights(generator: Ddpm) -> str:
    """Hash the weights, bit for bit."""
    state = generator.network.state_dict()
    return hashlib.sha256(b"".join(state[name].numpy().tobytes() for name in sorted(state))).hexdigest()


# ---------------------------------------------------------------------------------------- registration


def test_the_built_in_generators_are_registered_with_every_preset_valid(registry: Registry) -> None:
    for name in NAMES:
        spec = registry.spec("generator", name)
        schema = import_target(spec.config, name)
        for values in ({}, *schema.presets.values()):
            schema.model_validate(values)
    assert registry.spec("generator", "ddpm").needs_fit
    assert not registry.spec("generator", "sdedit").needs_fit


def test_registration_and_options_import_neither_torch_nor_numpy() -> None:
    code = (
        "import sys, genbench_generators.plugin as g, genbench_filters.plugin as f;"
        "import genbench_generators.configs.ddpm, genbench_filters.configs.confidence;"
        "g.genbench_generators(); f.genbench_filters();"
        "print([m for m in ('torch', 'numpy', 'diffusers', 'torchvision') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("preset", "millions"),
    [("smoke", 0.042), ("quick", 0.269), ("cpu", 4.25), ("paper", 35.75), ("source-wpi", 38.72)],
)
def test_parameter_counts_with_ten_classes(preset: str, millions: float) -> None:
    from diffusers.models.unets.unet_2d import UNet2DModel

    from genbench_generators._unet import unet_options

    with torch.device("meta"):
        network = UNet2DModel(**unet_options(DdpmConfig(**DdpmConfig.presets[preset]), 10))
    found = sum(parameter.numel() for parameter in network.parameters())
    assert found / 1e6 == pytest.approx(millions, rel=0.01)


# ----------------------------------------------------------------------------- none, copies and the filter


def test_none_refuses_to_sample(registry: Registry, make_images: Callable[..., TensorImages]) -> None:
    assert NoneConfig().model_dump() == {}
    with pytest.raises(PluginError, match="'none' is the baseline"):
        build(registry, "none").sample(request_for(make_images()), FakeContext())


def test_copies_are_the_source_images(registry: Registry, make_images: Callable[..., TensorImages]) -> None:
    assert CopiesConfig().model_dump() == {}
    train = make_images(count=300)
    request = request_for(train, count=600)
    generator = build(registry, "copies")
    images = images_of(generator, request, FakeContext())
    assert torch.equal(images, train.batch(request.source_indices))
    assert sources_of(generator, request, FakeContext()) == request.source_indices.tolist()


def test_the_filter_none_keeps_everything(make_images: Callable[..., TensorImages]) -> None:
    images = make_images(count=7)
    config: FilterConfig = NoFilterConfig()
    verdicts = NoFilter(NoFilterConfig()).keep(images, images, FakeContext())
    assert config.oversample == 1
    assert verdicts.keep.tolist() == [True] * 7
    assert list(verdicts.reasons) == [""] * 7


# -------------------------------------------------------------------------------------------- classical


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("variant", VARIANTS)
def test_classical_copies_depend_on_their_seed_alone_and_leave_global_state(
    registry: Registry, make_images: Callable[..., TensorImages], variant: str, flip: bool
) -> None:
    train = make_images(size=12)
    request = request_for(train, count=20)
    generator, ctx = build(registry, "classical", variant=variant), FakeContext(flip=flip)
    before = torch.get_rng_state()
    whole = images_of(generator, request, ctx)
    torch.rand(3)
    parts = [images_of(generator, part_of(request, *cut), ctx) for cut in ((0, 7), (7, 20))]
    assert torch.equal(whole, torch.cat(parts))
    assert not torch.equal(whole, train.batch(request.source_indices))
    torch.set_rng_state(before)
    images_of(generator, request, ctx)
    assert torch.equal(torch.get_rng_state(), before)
    other = SampleRequest(request.labels, request.seeds + 1, request.source_indices, train)
    assert not torch.equal(images_of(generator, other, ctx), whole)
    assert sources_of(generator, request, ctx) == request.source_indices.tolist()


def test_the_default_shifts_by_an_eighth_and_mirrors_nothing_that_a_dataset_forbids(
    registry: Registry, make_images: Callable[..., TensorImages]
) -> None:
    train = make_images()
    request = request_for(train, count=30)
    images = images_of(build(registry, "classical"), request, FakeContext())
    moves = {(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)}
    seen = set()
    for image, source in zip(images, train.batch(request.source_indices), strict=True):
        inner = image[:, 1:-1, 1:-1]
        fitting = {
            (down, right)
            for down, right in moves
            if torch.equal(inner, source.roll((down, right), (1, 2))[:, 1:-1, 1:-1])
        }
        assert len(fitting) == 1
        seen |= fitting
    assert len(seen) > 4


def test_half_are_mirrored_where_the_dataset_allows_it_and_nothing_else_changes(
    registry: Registry, make_images: Callable[..., TensorImages]
) -> None:
    train = make_images()
    request = request_for(train, count=40)
    images = images_of(build(registry, "classical", shift_fraction=0), request, FakeContext(flip=True))
    sources = train.batch(request.source_indices)
    kept = [torch.equal(image, source) for image, source in zip(images, sources, strict=True)]
    mirrored = [torch.equal(image, source.flip(-1)) for image, source in zip(images, sources, strict=True)]
    assert all(one != other for one, other in zip(kept, mirrored, strict=True))
    assert 10 < sum(mirrored) < 30


@pytest.mark.parametrize(
    ("variant", "option", "values"),
    [
        ("flip_crop", "shift_fraction", (0.1, 0.4)),
        ("colour", "jitter", (0.1, 0.8)),
        ("shear_zoom", "shear_degrees", (0.2, 30)),
        ("shear_zoom", "zoom", (0.2, 0.7)),
        ("randaugment", "randaugment_operations", (1, 4)),
        ("randaugment", "randaugment_magnitude", (3, 20)),
    ],
)
def test_every_classical_option_takes_effect(
    registry: Registry,
    make_images: Callable[..., TensorImages],
    variant: str,
    option: str,
    values: tuple[float, float],
) -> None:
    request = request_for(make_images(size=16), count=12)
    few, many = (
        images_of(build(registry, "classical", variant=variant, **{option: value}), request, FakeContext())
        for value in values
    )
    assert not torch.equal(few, many)


def test_no_shear_and_no_zoom_is_the_image_itself(
    registry: Registry, make_images: Callable[..., TensorImages]
) -> None:
    request = request_for(make_images())
    still = build(registry, "classical", variant="shear_zoom", shear_degrees=0, zoom=0)
    assert torch.equal(images_of(still, request, FakeContext()), request.train.batch(request.source_indices))
    assert ClassicalConfig.presets["source-s4"]["variant"] == "shear_zoom"


# ------------------------------------------------------------------------------------------------- ddpm


@pytest.fixture(scope="module")
def train() -> TensorImages:
    pixels = torch.randint(0, 256, (30, 3, 8, 8), generator=torch.Generator().manual_seed(0)).byte()
    return TensorImages(pixels, np.arange(30, dtype=np.int64) % 3, ["a", "b", "c"])


@pytest.fixture(scope="module")
def fitted(train: TensorImages) -> Ddpm:
    return fit(train, fit_steps=30)


@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "dpmpp"])
def test_an_image_depends_on_its_label_and_seed_alone_however_the_work_is_split(
    train: TensorImages, fitted: Ddpm, tmp_path: Path, sampler: str
) -> None:
    fitted.save(tmp_path)
    generator = Ddpm(DdpmConfig(**{**SMALL, "sampler": sampler}))
    generator.load(tmp_path)
    request = request_for(train, count=8)
    before = torch.get_rng_state()
    whole = images_of(generator, request, FakeContext())
    parts = [images_of(generator, part_of(request, *cut), FakeContext(seed=9)) for cut in ((0, 3), (3, 8))]
    assert torch.equal(whole, torch.cat(parts))
    assert torch.equal(torch.get_rng_state(), before)
    assert len(torch.unique(whole.flatten(1), dim=0)) == 8
    relabelled = SampleRequest((request.labels + 1) % 3, request.seeds, request.source_indices, train)
    assert not torch.equal(images_of(generator, relabelled, FakeContext()), whole)
    assert sources_of(generator, request, FakeContext()) == [-1] * 8


def test_saving_and_loading_changes_no_image(train: TensorImages, fitted: Ddpm, tmp_path: Path) -> None:
    fitted.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ddpm.json", "unet.safetensors"]
    fresh = Ddpm(fitted.config)
    before = torch.get_rng_state()
    fresh.load(tmp_path)
    assert torch.equal(torch.get_rng_state(), before)
    assert weights(fresh) == weights(fitted)
    request = request_for(train, count=5)
    assert torch.equal(images_of(fresh, request, FakeContext()), images_of(fitted, request, FakeContext()))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"dropout": 0.3, "weight_decay": 0.1},
        {"ema_decay": 0.0, "clip_norm": None},
        {"precision": "bf16", "epochs": 3.0},
    ],
    ids=str,
)
@pytest.mark.parametrize("stop_at", [1, 4])
def test_a_fit_that_was_killed_and_resumed_is_the_fit_that_was_not(
    train: TensorImages, options: dict[str, Any], stop_at: int
) -> None:
    torch.manual_seed(stop_at)  # what the process drew before must not matter
    whole = fit(train, **options)
    killed = FakeContext(stop_at=stop_at)
    with pytest.raises(Interrupted):
        fit(train, killed, **options)
    assert killed.saved is not None
    assert killed.saved.meta["step"] == stop_at
    torch.manual_seed(99)
    before = torch.get_rng_state()
    resumed = fit(train, FakeContext(saved=killed.saved), **options)
    assert torch.equal(torch.get_rng_state(), before)
    assert weights(resumed) == weights(whole)


@pytest.mark.parametrize(
    "options",
    [
        {"channels": 12},
        {"channel_multipliers": (1, 1)},
        {"patch_pixels": 2},
        {"attention_levels": (1,)},
        {"blocks_per_level": 2},
        {"norm_groups": 2},
        {"dropout": 0.5},
        {"timesteps": 50},
        {"schedule": "linear"},
        {"schedule": "linear", "beta_start": 0.01},
        {"schedule": "linear", "beta_end": 0.1},
        {"fit_steps": 7},
        {"epochs": 5.0},
        {"batch_size_images": 9},
        {"learning_rate": 1e-3},
        {"warmup_fraction": 0.9},
        {"warmup_gain": 2.0},
        {"learning_rate_schedule": "constant"},
        {"weight_decay": 0.5},
        {"clip_norm": 1e-3},
        {"ema_decay": 0.0},
        {"label_dropout": 0.9},
        {"guidance": "classifier"},
        {"precision": "bf16"},
    ],
    ids=str,
)
def test_every_fit_option_changes_what_is_fitted(train: TensorImages, options: dict[str, Any]) -> None:
    reference = {"schedule": "linear"} if options.keys() & {"beta_start", "beta_end"} else {}
    assert weights(fit(train, **options)) != weights(fit(train, **reference))
    assert not options.keys() & DdpmConfig.sample_fields


def test_a_fit_mirrors_where_the_dataset_allows_it(train: TensorImages) -> None:
    assert weights(fit(train, FakeContext(flip=True))) != weights(fit(train, FakeContext()))


def test_another_seed_is_another_fit_and_progress_tells_the_loss(train: TensorImages) -> None:
    ctx = FakeContext(seed=1)
    assert weights(fit(train, ctx, fit_steps=25)) != weights(fit(train, fit_steps=25))
    assert [(done, total) for done, total, _ in ctx.reports] == [(step, 25) for step in range(1, 26)]
    losses = {done: metrics["loss"] for done, _, metrics in ctx.reports if metrics}
    assert list(losses) == [20, 25], "the device is not waited for in between"
    assert all(0 < loss < 10 for loss in losses.values())


def test_a_fit_that_diverges_says_when_and_what_to_do(train: TensorImages) -> None:
    with pytest.raises(
        GenbenchError, match=r"loss is (nan|inf) by step 6 of 6, learning rate .*e\+"
    ) as caught:
        fit(train, learning_rate=1e30, learning_rate_schedule="constant")
    assert "lower learning_rate" in caught.value.hint


@pytest.mark.parametrize("patch_pixels", [1, 2])
@pytest.mark.parametrize("size", [(9, 7), (8, 8), (5, 12)])
def test_odd_sizes_work(size: tuple[int, int], patch_pixels: int) -> None:
    pixels = torch.randint(0, 256, (12, 3, *size), generator=torch.Generator().manual_seed(0)).byte()
    odd = TensorImages(pixels, np.arange(12, dtype=np.int64) % 2, ["a", "b"])
    generator = fit(
        odd, channel_multipliers=(1, 2, 2)[: 4 - patch_pixels], fit_steps=2, patch_pixels=patch_pixels
    )
    assert images_of(generator, request_for(odd, count=3), FakeContext()).shape == (3, 3, *size)


def test_images_too_small_for_the_levels_are_refused_with_what_works() -> None:
    tiny = TensorImages(torch.zeros(4, 3, 4, 4).byte(), np.zeros(4, dtype=np.int64), ["a"])
    with pytest.raises(UsageError, match="at least 8x8 pixels, found 4x4") as caught:
        fit(tiny, channel_multipliers=(1, 2, 2, 2))
    assert "choose channel_multipliers=[1, 2, 2]" in caught.value.hint
    fit(tiny, channel_multipliers=(1, 2, 2), fit_steps=1)
    with pytest.raises(
        UsageError, match=r"2 levels of patches of 4 pixels, which need images .*8x8"
    ) as caught:
        fit(tiny, channel_multipliers=(1, 2), patch_pixels=4)
    assert "choose channel_multipliers=[1]" in caught.value.hint
    fit(tiny, channel_multipliers=(1,), patch_pixels=4, fit_steps=1)
    with pytest.raises(UsageError, match="of patches of 8 pixels") as caught:
        fit(tiny, channel_multipliers=(1, 2, 2, 2), patch_pixels=8)
    assert "choose patch_pixels=1 and channel_multipliers=[1, 2, 2]" in caught.value.hint


def test_a_network_of_patches_sees_each_pixel_once_and_is_read_back(
    train: TensorImages, tmp_path: Path
) -> None:
    generator = fit(train, patch_pixels=2, channel_multipliers=(1, 2))
    request = request_for(train, count=4)
    whole = images_of(generator, request, FakeContext())
    generator.save(tmp_path)
    again = Ddpm(generator.config)
    again.load(tmp_path)
    assert torch.equal(images_of(again, request, FakeContext()), whole)
    unet = again.network
    assert isinstance(unet, PatchedUnet)
    unet.unet = nn.Identity()  # what goes in comes out where it was
    unet.unet.forward = lambda x, t, c, return_dict: (x,)  # type: ignore[method-assign]
    x = torch.rand(2, 3, 8, 12)
    assert torch.equal(unet(x, torch.zeros(2), torch.zeros(2), False)[0], x)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 12, "norm_groups": 8}, "norm_groups .8. must divide channels .12."),
        ({"attention_levels": (3,)}, r"attention_levels \[3\] do not exist"),
        ({"guidance_interval": (0.9, 0.1)}, "low <= high"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        DdpmConfig(**options)


def test_a_schedule_that_leaves_the_image_visible_is_warned_of(
    train: TensorImages, caplog: pytest.LogCaptureFixture
) -> None:
    fit(train, fit_steps=1, schedule="linear", timesteps=50)
    assert "use schedule=cosine" in caplog.text


def test_sampling_before_fitting_is_refused(train: TensorImages) -> None:
    with pytest.raises(PluginError, match="fit or load comes before sample"):
        list(Ddpm(DdpmConfig()).sample(request_for(train), FakeContext()))


# ----------------------------------------------------------------------------------------------- sdedit


def edited(base: Generator, train: LabelledImages, strength: float, count: int = 6) -> torch.Tensor:
    ctx = FakeContext()
    ctx.inputs = {"base": base}
    return images_of(SdEdit(SdEditConfig(strength=strength)), request_for(train, count), ctx)


def test_sdedit_keeps_the_less_of_an_image_the_stronger_it_is(train: TensorImages, tmp_path: Path) -> None:
    base = fit(train, sampling_steps=50, fit_steps=60)
    sources = train.batch(np.arange(6)).float()
    distances = [
        float((edited(base, train, strength).float() - sources).abs().mean()) for strength in (0.02, 0.5, 1.0)
    ]
    assert distances[0] < 12
    assert distances[0] < distances[1] < distances[2]


def test_sdedit_gives_each_image_its_source_label_and_seed(train: TensorImages, fitted: Ddpm) -> None:
    ctx = FakeContext()
    ctx.inputs = {"base": fitted}
    generator = SdEdit(SdEditConfig(strength=0.8))
    request = request_for(train, count=8)
    whole = images_of(generator, request, ctx)
    parts = [images_of(generator, part_of(request, *cut), ctx) for cut in ((0, 3), (3, 8))]
    assert torch.equal(whole, torch.cat(parts))
    assert sources_of(generator, request, ctx) == list(range(8))
    relabelled = SampleRequest((request.labels + 1) % 3, request.seeds, request.source_indices, train)
    assert not torch.equal(images_of(generator, relabelled, ctx), whole)


def test_sdedit_refuses_a_base_that_cannot_denoise(registry: Registry, train: TensorImages) -> None:
    with pytest.raises(UsageError, match="cannot start from a noised image"):
        edited(build(registry, "copies"), train, 0.5)


@pytest.mark.parametrize("strength", [0.0, 1.1])
def test_sdedit_strength_has_bounds(strength: float) -> None:
    with pytest.raises(ValidationError, match="strength"):
        SdEditConfig(strength=strength)


# ----------------------------------------------------------------------------------------------- digits


@pytest.mark.slow(reason="fits a diffusion model until its digits can be read")
def test_drawn_digits_are_recognised_by_a_classifier_of_real_ones() -> None:
    """Half of the `quick` fit: a support vector machine that knows real digits alone reads most of them."""
    digits = load_digits()
    pixels = torch.from_numpy((digits.images / 16 * 255).round().astype(np.uint8))[:, None].repeat(1, 3, 1, 1)
    labels = digits.target.astype(np.int64)
    real = TensorImages(pixels[:1150], labels[:1150], [str(label) for label in range(10)])
    generator = Ddpm(DdpmConfig(fit_steps=350))
    generator.fit(real, FakeContext())
    index = np.arange(128, dtype=np.int64)
    wanted = SampleRequest(index % 10, index, index, real)
    drawn = images_of(generator, wanted, FakeContext())

    def features(images: torch.Tensor) -> np.ndarray[Any, Any]:
        found: np.ndarray[Any, Any] = images.float().mean(dim=1).flatten(1).numpy() / 255
        return found

    judge = SVC().fit(features(real.all()), real.labels)
    assert judge.score(features(pixels[1150:]), labels[1150:]) > 0.9
    assert judge.score(features(drawn), wanted.labels) > 0.8
