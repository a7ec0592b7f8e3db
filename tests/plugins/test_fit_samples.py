"""Samples in the course of a fit: they show how far it is, and change neither what it finds nor its cost."""

import itertools
import logging
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from genbench.errors import Interrupted
from genbench.images import TensorImages
from genbench.protocols import Generator
from genbench.steps import fit_samples
from genbench.steps.context import Clock, StepContext
from genbench.store import Artifact
from genbench_generators.configs.cvae import CvaeConfig
from genbench_generators.configs.ddpm import DdpmConfig
from genbench_generators.cvae import Cvae
from genbench_generators.ddpm import Ddpm

STEPS = 16
TINY = {"channels": 4, "batch_size_images": 8, "fit_steps": STEPS}
DDPM = {**TINY, "channel_multipliers": [1], "attention_levels": [], "norm_groups": 2, "blocks_per_level": 1}
SAMPLING = {"timesteps": 10, "sampling_steps": 4, "micro_batch_images": 3, "dropout": 0.2}
Make = Callable[[], Generator]
MakeContext = Callable[..., StepContext]


def ddpm() -> Ddpm:
    return Ddpm(DdpmConfig.model_validate({**DDPM, **SAMPLING}))


def cvae() -> Cvae:
    return Cvae(CvaeConfig.model_validate({**TINY, "latent_dimensions": 4, "ema_decay": 0.5}))


@pytest.fixture(autouse=True)
def _short_fits_are_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit_samples, "_LEAST_STEPS", STEPS)


@pytest.fixture
def train(make_images: Callable[..., TensorImages]) -> TensorImages:
    return make_images(24)


def kept(work: Path) -> list[fit_samples.FitSamples]:
    files = work.parent / f"{work.name}-files"
    fit_samples.finish(work, files)
    return fit_samples.read(Artifact(files, {}, {}, {}))


def tensors_of(generator: Generator, folder: Path) -> dict[str, bytes]:
    folder.mkdir(parents=True)
    generator.save(folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("make", [ddpm, cvae])
def test_a_fit_that_is_watched_is_the_fit_that_is_not(
    make: Make, train: TensorImages, make_context: MakeContext, tmp_path: Path
) -> None:
    alone, watched = make(), make()
    alone.fit(train, make_context(work=tmp_path / "alone"))
    watched.fit(train, make_context(work=tmp_path / "watched", classes=train.num_classes))
    assert tensors_of(watched, tmp_path / "a") == tensors_of(alone, tmp_path / "b")
    assert not (tmp_path / "alone" / fit_samples.FOLDER).exists()
    samples = kept(tmp_path / "watched")
    assert [one.step for one in samples] == [2, 4, 8, 16]
    for one in samples:
        assert one.labels.tolist() == [0, 1, 2, 3]
        assert (one.pixels.shape, one.pixels.dtype) == ((4, 3, 8, 8), np.uint8)
    assert all((a.pixels != b.pixels).any() for a, b in itertools.pairwise(samples))


@pytest.mark.parametrize("make", [ddpm, cvae])
def test_a_stopped_fit_keeps_its_samples_and_draws_the_same(
    make: Make, train: TensorImages, make_context: MakeContext, tmp_path: Path
) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    make().fit(train, make_context(work=whole, classes=train.num_classes))
    asked = iter([False] * 10 + [True] * 10)
    first = make_context(work=stopped, classes=train.num_classes, must_stop=lambda: next(asked))
    with pytest.raises(Interrupted):
        make().fit(train, first)
    before = sorted(path.name for path in (stopped / fit_samples.FOLDER).iterdir())
    assert 0 < len(before) < 4
    make().fit(train, make_context(work=stopped, classes=train.num_classes))
    for one, other in zip(kept(stopped), kept(whole), strict=True):
        assert one.step == other.step
        assert (one.pixels == other.pixels).all()


def test_what_cannot_be_drawn_stops_no_fit(
    make_context: MakeContext, caplog: pytest.LogCaptureFixture
) -> None:
    ctx = make_context(classes=3, log=logging.getLogger("genbench"))
    before = torch.get_rng_state()

    def broken(labels: object, seeds: object) -> torch.Tensor:
        torch.rand(1)
        raise RuntimeError("NaN pixels")

    ctx.watch(STEPS, STEPS, broken)
    assert "no samples after 16 steps: RuntimeError: NaN pixels" in caplog.text
    ctx.watch(STEPS, STEPS, lambda labels, seeds: torch.zeros(3, 8, 8))
    assert "instead of uint8 [3, 3, H, W]" in caplog.text
    assert torch.equal(torch.get_rng_state(), before)
    assert kept(ctx.work) == []


def test_drawing_them_is_charged_to_nobody(make_context: MakeContext) -> None:
    clock = Clock()
    with clock.paused():
        time.sleep(0.3)
    assert clock.seconds < 0.2
    ctx = make_context(classes=2)

    def slow(labels: "np.ndarray[tuple[int], np.dtype[np.int64]]", seeds: object) -> torch.Tensor:
        time.sleep(0.3)
        return torch.zeros(len(labels), 3, 8, 8, dtype=torch.uint8)

    began = ctx.clock.seconds
    ctx.watch(STEPS, STEPS, slow)
    assert ctx.clock.seconds - began < 0.25
    assert len(kept(ctx.work)) == 1


def test_a_fit_of_a_moment_is_not_watched_and_one_of_many_classes_shows_ten() -> None:
    assert not any(fit_samples.are_due(done, STEPS - 1) for done in range(STEPS))
    assert fit_samples.labels_for(1000).tolist() == [0, 111, 222, 333, 444, 555, 666, 777, 888, 999]
