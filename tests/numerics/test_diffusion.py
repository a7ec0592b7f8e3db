"""Diffusion against the papers' formulas, against diffusers, and on Gaussian data, where all is known."""

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

from genbench.images import TensorImages
from genbench.protocols import RunContext, SampleRequest
from genbench_generators._ddpm_fit import learning_rate
from genbench_generators._diffusion import (
    ImageNoise,
    alpha_bar_of,
    cosine_betas,
    linear_betas,
    to_model,
    to_pixels,
)
from genbench_generators._samplers import Sampler, clean_image, clipped_noise, make_sampler
from genbench_generators.configs.ddpm import DdpmConfig
from genbench_generators.ddpm import Ddpm

SAMPLERS = ("ddpm", "ddim", "dpmpp")
SMALL: dict[str, Any] = {
    **DdpmConfig.presets["smoke"],
    "fit_steps": 8,
    "timesteps": 40,
    "micro_batch_images": 4,
}


def betas_of(**options: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    return Ddpm(DdpmConfig(**options)).betas


# ------------------------------------------------------------------------------------------- schedules


@pytest.mark.parametrize(("steps", "first", "last"), [(1000, 1e-4, 0.02), (500, 1e-4, 0.028), (10, 0.1, 0.9)])
def test_linear_schedule_is_the_closed_product(steps: int, first: float, last: float) -> None:
    betas = betas_of(schedule="linear", timesteps=steps, beta_start=first, beta_end=last)
    expected = [first + (last - first) * t / (steps - 1) for t in range(steps)]
    np.testing.assert_allclose(betas, expected, rtol=1e-12)
    alpha_bar = alpha_bar_of(betas)
    for t in (0, 1, steps // 2, steps - 1):
        assert alpha_bar[t] == pytest.approx(math.prod(1 - beta for beta in expected[: t + 1]), rel=1e-10)


def test_linear_schedules_of_the_sources_end_where_they_should() -> None:
    assert alpha_bar_of(linear_betas(1000, 1e-4, 0.02))[-1] == pytest.approx(4.0e-5, rel=0.02)
    wpi = DdpmConfig(**DdpmConfig.presets["source-wpi"])
    assert alpha_bar_of(Ddpm(wpi).betas)[-1] == pytest.approx(8.3e-4, rel=0.01)


@pytest.mark.parametrize("steps", [10, 250, 1000])
def test_cosine_schedule_is_equation_17(steps: int) -> None:
    def alpha_bar(t: float) -> float:
        def f(u: float) -> float:
            return math.cos((u / steps + 0.008) / 1.008 * math.pi / 2) ** 2

        return f(t) / f(0)

    betas = cosine_betas(steps)
    for t in (1, 2, steps // 2, steps - 1):
        assert alpha_bar_of(betas)[t - 1] == pytest.approx(alpha_bar(t), rel=1e-9)
    assert betas[-1] == 0.999
    assert betas_of(schedule="cosine", timesteps=steps).tolist() == betas.tolist()


def test_pixels_survive_the_way_to_the_model_and_back() -> None:
    pixels = torch.arange(256, dtype=torch.uint8)
    assert to_model(pixels).min() == -1
    assert to_model(pixels).max() == 1
    assert torch.equal(to_pixels(to_model(pixels)), pixels)
    assert to_pixels(torch.tensor([-3.0, 3.0])).tolist() == [0, 255]


# --------------------------------------------------------------------------------------------- samplers


def sampler_of(**options: Any) -> Sampler:
    config = DdpmConfig(**options)
    return make_sampler(config, Ddpm(config).betas)


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("variance", ["posterior", "beta"])
def test_ancestral_step_is_the_posterior_of_equation_7(variance: str, clip: bool) -> None:
    sampler = sampler_of(
        sampler="ddpm", sampling_steps=50, timesteps=50, schedule="linear", variance=variance
    )
    betas = linear_betas(50, 1e-4, 0.02)
    alpha_bar = np.cumprod(1 - betas)
    rng = torch.Generator().manual_seed(0)
    x_t, eps = torch.randn(2, 2, 3, 4, 4, generator=rng).unbind(0)
    seeds = [3, 4]
    for t in (49, 20, 1, 0):
        used = clipped_noise(x_t, eps, alpha_bar[t]) if clip else eps
        found = sampler.step(49 - t, x_t, used, ImageNoise(seeds, (3, 4, 4), "cpu"))
        x_0 = (x_t - math.sqrt(1 - alpha_bar[t]) * eps) / math.sqrt(alpha_bar[t])
        x_0 = x_0.clamp(-1, 1) if clip else x_0
        before = alpha_bar[t - 1] if t else 1.0
        mean = math.sqrt(before) * betas[t] / (1 - alpha_bar[t]) * x_0
        mean = mean + math.sqrt(1 - betas[t]) * (1 - before) / (1 - alpha_bar[t]) * x_t
        beta_tilde = (1 - before) / (1 - alpha_bar[t]) * betas[t]
        sigma = math.sqrt(beta_tilde if variance == "posterior" else betas[t]) if t else 0.0
        noise = ImageNoise(seeds, (3, 4, 4), "cpu").draw()
        torch.testing.assert_close(found, mean + sigma * noise, rtol=1e-4, atol=1e-4)


def test_deterministic_steps_are_those_of_diffusers() -> None:
    steps = 100
    betas = linear_betas(steps, 1e-4, 0.02)
    rng = torch.Generator().manual_seed(0)
    x_t, eps = torch.randn(2, 2, 3, 4, 4, generator=rng).unbind(0)
    no_noise = ImageNoise([0, 1], (3, 4, 4), "cpu")

    ddim = DDIMScheduler(num_train_timesteps=steps, trained_betas=betas.tolist(), clip_sample=False)
    ddim.set_timesteps(steps)
    ours = sampler_of(sampler="ddim", schedule="linear", timesteps=steps, sampling_steps=steps)
    for t in (99, 50, 1):
        found = ours.step(99 - t, x_t, eps, no_noise)
        torch.testing.assert_close(found, ddim.step(eps, t, x_t).prev_sample, rtol=1e-4, atol=1e-4)

    ddpm = DDPMScheduler(num_train_timesteps=steps, trained_betas=betas.tolist(), clip_sample=False)
    ddpm.set_timesteps(steps)
    ours = sampler_of(sampler="ddpm", schedule="linear", timesteps=steps, sampling_steps=steps)
    found = ours.step(99, x_t, eps, no_noise)
    torch.testing.assert_close(found, ddpm.step(eps, 0, x_t).prev_sample, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize(("sampler", "steps"), [("ddpm", 400), ("ddpm", 60), ("ddim", 60), ("dpmpp", 12)])
def test_with_the_exact_noise_of_gaussian_data_every_sampler_returns_that_gaussian(
    sampler: str, steps: int, schedule: str
) -> None:
    mean, spread = 0.3, 0.2
    run = sampler_of(
        sampler=sampler,
        schedule=schedule,
        sampling_steps=steps,
        timesteps=400,
        beta_end=0.05,
        variance="beta",
    )
    noise = ImageNoise([5], (4000,), "cpu")
    x = noise.draw()
    for index, level in enumerate(run.levels):
        alpha_bar = float(run.alpha_bar[level])
        # E[eps | x_t] for x_0 ~ N(mean, spread^2)
        marginal = alpha_bar * spread**2 + 1 - alpha_bar
        eps = math.sqrt(1 - alpha_bar) * (x - math.sqrt(alpha_bar) * mean) / marginal
        x = run.step(index, x, eps, noise)
    assert float(x.mean()) == pytest.approx(mean, abs=0.02)
    assert float(x.std()) == pytest.approx(spread, rel=0.15)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("steps", [1, 7, 40, 1000])
def test_levels_fall_and_never_exceed_the_schedule(sampler: str, steps: int) -> None:
    levels = sampler_of(sampler=sampler, sampling_steps=steps, timesteps=40).levels
    assert (np.diff(levels) < 0).all()
    assert levels[0] <= 39
    assert len(levels) == min(steps, 40) if sampler != "dpmpp" else len(levels) <= min(steps, 40)
    assert steps == 1 or levels[-1] == 0


def test_clipping_moves_the_clean_image_into_the_pixel_range_and_nothing_else() -> None:
    x_t = torch.tensor([0.5, 4.0])
    eps = torch.tensor([0.1, -2.0])
    clipped = clipped_noise(x_t, eps, 0.5)
    torch.testing.assert_close(clipped[0], eps[0])
    torch.testing.assert_close(clean_image(x_t, clipped, 0.5)[1], torch.tensor(1.0))


# --------------------------------------------------------------------------------------------- guidance


class Calls:
    """Counts network calls and what they were asked."""

    def __init__(self, generator: Ddpm) -> None:
        self.classes: list[list[int]] = []
        self.levels: list[int] = []
        self._handle = generator.network.register_forward_pre_hook(self._note)

    def _note(self, network: torch.nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
        self.levels.append(int(arguments[1][0]))
        self.classes.append(arguments[2].tolist())


@pytest.fixture
def request_of(make_images: Callable[..., TensorImages]) -> Callable[..., SampleRequest]:
    def make(count: int = 4) -> SampleRequest:
        train = make_images(count=24)
        index = np.arange(count, dtype=np.int64)
        return SampleRequest(index % 4, index + 100, index, train)

    return make


@pytest.fixture
def fitted(
    make_images: Callable[..., TensorImages], make_context: Callable[..., RunContext], tmp_path: Any
) -> Callable[..., Ddpm]:
    first = Ddpm(DdpmConfig(**SMALL))
    first.fit(make_images(count=24), make_context())
    first.save(tmp_path)

    def make(**options: Any) -> Ddpm:
        generator = Ddpm(DdpmConfig(**{**SMALL, **options}))
        generator.load(tmp_path)
        return generator

    return make


def images_of(generator: Ddpm, request: SampleRequest, ctx: RunContext) -> torch.Tensor:
    return torch.cat([batch.images for batch in generator.sample(request, ctx)])


def test_guidance_outside_the_interval_costs_nothing_and_changes_the_images(
    fitted: Callable[..., Ddpm],
    request_of: Callable[..., SampleRequest],
    make_context: Callable[..., RunContext],
) -> None:
    options: dict[str, Any] = {"sampler": "ddim", "sampling_steps": 5, "guidance_scale": 4.0}
    found = {}
    calls = {}
    for interval in ((0.0, 1.0), (0.4, 0.8), (0.9, 0.95)):
        generator = fitted(**options, guidance_interval=interval)
        calls[interval] = Calls(generator)
        found[interval] = images_of(generator, request_of(), make_context())
    levels = [39, 29, 20, 10, 0]  # as fractions 1, .74, .51, .26, 0
    assert calls[0.0, 1.0].levels == [level for level in levels for _ in range(2)]
    assert calls[0.4, 0.8].levels == [39, 29, 29, 20, 20, 10, 0]
    assert calls[0.9, 0.95].levels == levels
    assert calls[0.4, 0.8].classes[1:3] == [[0, 1, 2, 3], [4, 4, 4, 4]]  # the class, then none
    assert not torch.equal(found[0.0, 1.0], found[0.4, 0.8])
    assert not torch.equal(found[0.4, 0.8], found[0.9, 0.95])
    unguided = images_of(fitted(**{**options, "guidance_scale": 1.0}), request_of(), make_context())
    assert torch.equal(found[0.9, 0.95], unguided)


def test_guidance_is_linear_in_the_scale(
    fitted: Callable[..., Ddpm], request_of: Callable[..., SampleRequest]
) -> None:
    """eps(s) = eps_u + s (eps_c - eps_u): 0 is no class, 1 the class, 2 as far again beyond."""
    x_t = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    classes = torch.arange(4)
    with torch.inference_mode():
        eps = {
            scale: fitted(guidance_scale=scale, guidance_interval=(0, 1))._predict(x_t, 20, classes)
            for scale in (0.0, 1.0, 2.0, 2.8)
        }
        no_class = fitted()._call(x_t, 20, torch.full((4,), 4))
    torch.testing.assert_close(eps[0.0], no_class)
    torch.testing.assert_close(eps[2.0], 2 * eps[1.0] - eps[0.0])
    w = 1.8  # the convention of the guidance paper, and of the WPI reports
    torch.testing.assert_close(eps[2.8], (1 + w) * eps[1.0] - w * eps[0.0])
    assert not torch.allclose(eps[0.0], eps[1.0])


def test_classifier_guidance_is_the_papers_gradient(
    make_images: Callable[..., TensorImages], make_context: Callable[..., RunContext], tmp_path: Any
) -> None:
    """eps_hat = eps_c - w sqrt(1 - alpha_bar) grad log p(y | x_t), the gradient by finite differences."""
    options: dict[str, Any] = {**SMALL, "guidance": "classifier", "guidance_interval": (0, 1)}
    fitted = Ddpm(DdpmConfig(**options))
    fitted.fit(make_images(count=24), make_context())
    fitted.save(tmp_path)
    guided, plain = (Ddpm(DdpmConfig(**{**options, "guidance_scale": s})) for s in (4.0, 1.0))
    for generator in (guided, plain):
        generator.load(tmp_path)
    x_t = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    classes = torch.arange(4)
    with torch.inference_mode():
        change = guided._predict(x_t, 20, classes) - plain._predict(x_t, 20, classes)
    classifier = guided._fitted().classifier
    assert classifier is not None
    double = copy.deepcopy(classifier).double()

    def score(x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return double(x, torch.full((4,), 20)).log_softmax(1)[torch.arange(4), classes]

    noise = 3 * float(1 - alpha_bar_of(guided.betas)[20]) ** 0.5
    for direction in torch.randn(3, 4, 3, 8, 8, generator=torch.Generator().manual_seed(2)).double():
        slope = (score(x_t + 1e-4 * direction) - score(x_t - 1e-4 * direction)) / 2e-4
        along = (change.double() * direction).sum(dim=(1, 2, 3))
        torch.testing.assert_close(along, -noise * slope, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"sampler": "ddim"},
        {"sampler": "dpmpp"},
        {"sampling_steps": 7},
        {"guidance_scale": 5.0},
        {"guidance_interval": (0.0, 1.0)},
        {"clip_prediction": False},
        {"variance": "beta"},
    ],
    ids=str,
)
def test_every_sampling_option_changes_the_images(
    options: dict[str, Any],
    fitted: Callable[..., Ddpm],
    request_of: Callable[..., SampleRequest],
    make_context: Callable[..., RunContext],
) -> None:
    request, ctx = request_of(), make_context()
    assert not torch.equal(images_of(fitted(**options), request, ctx), images_of(fitted(), request, ctx))
    assert options.keys() <= DdpmConfig.sample_fields


# ------------------------------------------------------------------------------------------------- fit


def test_learning_rate_warms_up_and_follows_its_schedule() -> None:
    cosine = DdpmConfig(learning_rate=1.0, warmup_fraction=0.1, learning_rate_schedule="cosine")
    rates = [learning_rate(cosine, step, 100) for step in range(100)]
    assert rates[:10] == pytest.approx([0.1 * (step + 1) for step in range(10)])
    assert rates[55] == pytest.approx(0.5)
    assert rates[99] == pytest.approx(0.5 * (1 + math.cos(math.pi * 89 / 90)))
    constant = DdpmConfig(learning_rate=1.0, warmup_fraction=0.1, learning_rate_schedule="constant")
    assert {learning_rate(constant, step, 100) for step in range(10, 100)} == {1.0}
    gradual = DdpmConfig(learning_rate=1.0, warmup_fraction=0.1, warmup_gain=2.5)
    assert learning_rate(gradual, 0, 100) == pytest.approx(1.15)
    assert learning_rate(gradual, 9, 100) == pytest.approx(2.5)
