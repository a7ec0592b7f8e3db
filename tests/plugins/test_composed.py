"""Generators that are made of others, and `cvae`: what they take, and what they make of it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from genbench.digest import file_digest
from genbench.errors import GenbenchError, UsageError
from genbench.images import TensorImages, open_images
from genbench.notation import parse_reference
from genbench.plan import Plan
from genbench.protocols import Draft, SampleRequest
from genbench.registry import Registry
from genbench.runner import RunSummary
from genbench.seeding import counter_bits
from genbench.spec import Resolved, resolve
from genbench.store import Store
from genbench.testing import MemoryContext
from genbench.testing.suites import GeneratorConformance
from genbench_generators._fractals import draw_fractals, mandelbrot
from genbench_generators.configs.chain import ChainConfig
from genbench_generators.configs.copies import CopiesConfig
from genbench_generators.configs.diffusemix import DiffuseMixConfig
from genbench_generators.configs.union import UnionConfig
from genbench_generators.copies import Copies
from genbench_generators.diffusemix import DiffuseMix, make_mask, mix

MakeImages = Callable[..., TensorImages]
RunCells = Callable[..., tuple[Plan, RunSummary]]


# The contract holds for a network after ten steps as after any number: every check fits anew.


class TestUnion(GeneratorConformance):
    component = "union:third=ddpm,third.fit_steps=10"


class TestChain(GeneratorConformance):
    component = "chain:first=ddpm,first.fit_steps=10,second=sdedit,second.base=ddpm,second.base.fit_steps=10"


class TestRealExtra(GeneratorConformance):
    component = "real_extra"


class TestDiffuseMix(GeneratorConformance):
    component = "diffusemix:editor=sdedit,editor.base=ddpm,editor.base.fit_steps=10,fractal_count=3"


class TestDiffuseMixOfCopies(GeneratorConformance):
    component = (
        "diffusemix:editor=classical,editor.variant=colour,cut=random,edge_fraction=0.25,"
        "fractals=mandelbrot,fractal_count=3"
    )


class TestCvae(GeneratorConformance):
    component = "cvae:fit_steps=10"


class TestClassifierGuidance(GeneratorConformance):
    component = "ddpm:guidance=classifier,fit_steps=10"


class TestMixup(GeneratorConformance):
    component = "classical:mixup"


class TestCutmix(GeneratorConformance):
    component = "classical:cutmix"


def _request(make_images: MakeImages, **drafts: Draft) -> SampleRequest:
    train = make_images(40)
    rows = np.arange(24, dtype=np.int64)
    return SampleRequest(train.labels[rows], rows * 7 + 1, rows, train, drafts)


def _draft(make_images: MakeImages, seed: int, sources: Any = None, prompt: str = "") -> Draft:
    images = make_images(24, seed=seed)
    return Draft(images, np.arange(24) if sources is None else sources, [prompt] * 24)


# --------------------------------------------------------------------------------------------------- union


def test_a_union_takes_every_image_from_one_part_with_its_source_and_prompt(make_images: MakeImages) -> None:
    from genbench_generators.union import Union

    drafts = {
        "first": _draft(make_images, 1, prompt="one"),
        "second": _draft(make_images, 2, np.full(24, -1)),
    }
    (batch,) = Union(UnionConfig()).sample(_request(make_images, **drafts), MemoryContext)  # type: ignore[arg-type]
    assert batch.prompts is not None
    from_first = [bool(prompt) for prompt in batch.prompts]
    assert 4 <= sum(from_first) <= 20
    for row, first in enumerate(from_first):
        part = drafts["first" if first else "second"]
        assert torch.equal(batch.images[row], part.images.batch([row])[0])
        assert batch.source_indices[row] == part.source_indices[row]


@pytest.mark.parametrize("shares", [(795, 5122), (1, 1)])
def test_a_union_keeps_its_shares(make_images: MakeImages, shares: tuple[float, float]) -> None:
    """Each image by its own seed alone: the shares are kept up to chance, five standard errors of it."""
    from genbench_generators.union import Union

    union, count = Union(UnionConfig(shares=shares)), 4000
    seeds = counter_bits(3, torch.arange(count)).numpy()
    from_first = union._parts_of(seeds, 2) == 0
    wanted = shares[0] / sum(shares)
    assert abs(from_first.mean() - wanted) < 5 * (wanted * (1 - wanted) / count) ** 0.5
    assert (union._parts_of(seeds[7:9], 2) == union._parts_of(seeds, 2)[7:9]).all()
    parts = {name: _draft(make_images, place) for place, name in enumerate(("first", "second"))}
    request = _request(make_images, **parts)
    (batch,) = union.sample(request, MemoryContext)  # type: ignore[arg-type]
    for row, place in enumerate(union._parts_of(request.seeds, 2)):
        part = parts["second" if place else "first"]
        assert torch.equal(batch.images[row], part.images.batch([row])[0])


def test_shares_are_one_per_part(registry: Registry) -> None:
    def shares(text: str) -> Any:
        return resolve(registry, "generator", parse_reference(f"union:{text}"), "quick", str).config

    assert shares("shares=795+5122").shares == shares("shares=[795,5122]").shares == (795, 5122)
    assert shares("third=copies,shares=1+2+3").shares == (1, 2, 3)
    assert shares("third=copies").shares == ()
    with pytest.raises(UsageError, match=r"3 shares for 2 parts \(first, second\)"):
        shares("shares=1+2+3")
    for wrong in ("shares=0+1", "shares=much", "shares=-1+2"):
        with pytest.raises(UsageError, match="shares"):
            shares(wrong)


# --------------------------------------------------------------------------------------------------- chain


def test_a_chain_edits_the_first_ones_images_and_keeps_their_ancestry(
    make_images: MakeImages, tmp_path: Any
) -> None:
    from genbench_generators.chain import Chain

    sources = np.where(np.arange(24) % 2, np.arange(24), -1)
    draft = _draft(make_images, 3, sources, prompt="a cat")
    ctx = MemoryContext(tmp_path, inputs={"second": Copies(CopiesConfig())})
    (batch,) = Chain(ChainConfig()).sample(_request(make_images, first=draft), ctx)
    assert torch.equal(batch.images, draft.images.all())
    assert batch.source_indices.tolist() == sources.tolist()
    assert batch.prompts == ["a cat"] * 24


def test_a_chain_of_a_generator_that_starts_from_nothing_is_refused(run_cells: RunCells) -> None:
    _, outcome = run_cells(generators=["chain:first=copies,second=cvae"])
    assert "option second is 'cvae', which makes images from nothing" in next(iter(outcome.failed.values()))


def test_a_generator_with_a_draft_of_its_own_cannot_be_second(run_cells: RunCells) -> None:
    with pytest.raises(UsageError, match="diffusemix cannot be used here: its option editor takes images"):
        run_cells(generators=["chain:second=diffusemix"])


@pytest.mark.slow(reason="fits a diffusion model and trains four networks")
def test_compositions_share_steps_with_their_parts_and_count_their_cost(run_cells: RunCells) -> None:
    plan, outcome = run_cells(
        generators=["ddpm", "union:first=ddpm,second=copies", "chain:first=ddpm,second=sdedit"],
        datasets=["digits:limit_train=60"],
    )
    assert outcome.failed == {}
    stages = [step.stage for step in plan.steps.values()]
    assert stages.count("fit") == 1  # ddpm, for itself, for union, for chain and for sdedit's base
    assert stages.count("sample") == 4  # ddpm, copies, union, chain
    costs = {
        record.result.generator.label: [cost.stage for cost in record.run.costs]
        for record in outcome.records
        if record.result.subject == "cell"
    }
    assert costs["union:first=ddpm,second=copies"] == ["fit", "sample", "sample", "sample", "train"]
    assert costs["chain:first=ddpm,second=sdedit"] == ["fit", "sample", "sample", "train"]


# --------------------------------------------------------------------------------------------- real_extra


def test_real_extra_returns_each_held_out_image_once(run_cells: RunCells, store: Store) -> None:
    plan, outcome = run_cells(
        generators=["real_extra"], datasets=["digits:limit_train=60,reserve=100"], mixes=[{"ratio": 0.5}]
    )
    assert outcome.failed == {}
    key = next(key for key, step in plan.steps.items() if step.stage == "sample")
    dataset = store.open(plan.steps[key].inputs["dataset"])
    artifact = store.open(key)
    assert artifact is not None
    assert dataset is not None
    made = {image.numpy().tobytes() for image in open_images(artifact.folder).all()}
    reserve = {image.numpy().tobytes() for image in open_images(dataset.folder / "reserve").all()}
    train = {image.numpy().tobytes() for image in open_images(dataset.folder / "train").all()}
    assert len(made) == 30
    assert made <= reserve
    assert not made & train


def test_a_reserve_that_is_too_small_is_refused_with_the_numbers(run_cells: RunCells) -> None:
    with pytest.raises(UsageError, match="holds out 30 of the 60 that ratio 1 takes") as raised:
        run_cells(generators=["real_extra"], datasets=["digits:limit_train=60,reserve=30"])
    assert "reserve=N with N of at least 60" in raised.value.hint
    with pytest.raises(UsageError, match="real images, and toy-data holds out none"):
        run_cells(generators=["real_extra"])


# --------------------------------------------------------------------------------------------- diffusemix


@pytest.mark.parametrize("config", [{}, {"blend": 0.15, "cut": "random", "edge_fraction": 0.25}])
def test_diffusemix_is_the_papers_equation(make_images: MakeImages, config: dict[str, Any]) -> None:
    settled = DiffuseMixConfig(fractal_count=3, **config)
    request = _request(make_images, editor=_draft(make_images, 5, prompt="snowy"))
    (batch,) = DiffuseMix(settled).sample(request, MemoryContext)  # type: ignore[arg-type]
    fractals = draw_fractals(settled.fractals, 3, 0, 8, 8)
    x, e = request.train.batch(request.source_indices).numpy(), request.drafts["editor"].images.all().numpy()
    drawn = set()
    for row, seed in enumerate(request.seeds):
        rng = np.random.default_rng(seed)
        orientation = settled.orientations[rng.integers(4)]
        cut = float(rng.random()) if settled.cut == "random" else 0.5
        fractal = fractals[rng.integers(3)]
        mask = make_mask(8, 8, orientation, cut, settled.edge_fraction)
        expected = (1 - settled.blend) * (mask * x[row] + (1 - mask) * e[row]) + settled.blend * fractal
        assert np.abs(batch.images[row].numpy() - expected).max() <= 1  # of 255
        drawn.add(orientation)
    assert drawn == {"left", "right", "top", "bottom"}
    assert batch.prompts == ["snowy"] * 24


@pytest.mark.parametrize(
    ("orientation", "corner"), [("left", (4, 0)), ("right", (4, 7)), ("top", (0, 4)), ("bottom", (7, 4))]
)
def test_a_mask_keeps_the_original_on_its_side(orientation: Any, corner: tuple[int, int]) -> None:
    mask = make_mask(8, 8, orientation, 0.5, 0.0)
    assert mask[corner] == 1
    assert mask.mean() == 0.5
    assert set(np.unique(mask)) == {0.0, 1.0}
    soft = make_mask(8, 8, orientation, 0.5, 0.5)
    assert soft.mean() == pytest.approx(0.5)
    assert len(np.unique(soft.round(9))) == 6  # four pixels of blend


def test_a_cut_leaves_at_least_a_pixel_to_the_edited_copy() -> None:
    assert make_mask(8, 8, "left", 0.999, 0.0).mean() == 7 / 8
    assert make_mask(8, 8, "left", 0.0, 0.0).mean() == 0  # S1's "1 in 32 is all generated"


def test_the_official_mask_and_sums_are_the_published_codes() -> None:
    """Written again from khawar-islam/diffuseMix (augment/utils.py, combine_images and blend_images_...)."""
    rng = np.random.default_rng(0)
    x, e, fractal = rng.integers(0, 256, (3, 3, 256, 256)).astype(np.uint8)
    config = DiffuseMixConfig(**DiffuseMixConfig.presets["official"])
    ramp = np.concatenate([np.zeros(118), np.linspace(0, 1, 20), np.ones(118)])
    for orientation, theirs in (("left", ramp[None]), ("top", ramp[:, None])):
        mask = make_mask(256, 256, orientation, 0.5, config.edge_fraction)  # type: ignore[arg-type]
        assert np.abs(mask - (1 - theirs)).max() < 1e-12
        hybrid = (1 - theirs) * (x.astype(np.float32) / 255) + theirs * (e.astype(np.float32) / 255)
        hybrid = np.clip(hybrid * 255, 0, 255).astype(np.uint8).astype(np.float32)
        wanted = np.clip((1 - 0.20) * hybrid + 0.20 * fractal.astype(np.float32), 0, 255).astype(np.uint8)
        found = mix(x, e, mask, fractal.astype(np.float32), config.blend, down=config.rounding == "down")
        assert (found != wanted).mean() < 0.001
        assert (mix(x, e, mask, fractal.astype(np.float32), config.blend) != wanted).mean() > 0.3


def test_fractals_of_a_folder_are_read_and_their_content_is_the_identity(
    make_images: MakeImages, registry: Registry, tmp_path: Any
) -> None:
    from PIL import Image

    def resolved(folder: Any) -> Resolved:
        reference = parse_reference(f"diffusemix:editor=copies,fractals={folder}")
        return resolve(registry, "generator", reference, "quick", file_digest)

    for place, name in enumerate(("here", "there", "other")):
        (tmp_path / name).mkdir()
        for number, level in enumerate((10, 200 + place // 2)):
            Image.new("RGB", (20, 30), (level, 0, 0)).save(tmp_path / name / f"{number}.png")
    here, there, other = (resolved(tmp_path / name) for name in ("here", "there", "other"))
    assert here.identity == there.identity != other.identity
    assert here.config.fractals == "folder"  # type: ignore[attr-defined]
    assert str(tmp_path) not in str(here.identity)
    request = _request(make_images, editor=_draft(make_images, 5))
    config = DiffuseMixConfig(fractals=str(tmp_path / "here"), blend=1.0)  # type: ignore[arg-type]
    (batch,) = DiffuseMix(config).sample(request, MemoryContext)  # type: ignore[arg-type]
    assert set(batch.images[:, 0].unique().tolist()) == {10, 200}
    (tmp_path / "empty").mkdir()
    for wrong, message in (
        ("mandelbrt", "'mandelbrt', which is not a folder"),
        (tmp_path / "empty", "no image"),
    ):
        with pytest.raises(GenbenchError, match=message):
            resolved(wrong)
    with pytest.raises(UsageError, match="'ifs' are drawn: write fractals=FOLDER"):
        resolved(f"ifs,fractal_folder={tmp_path}")


def test_mandelbrot_is_the_set_of_s1() -> None:
    """What escapes and what does not, by hand; the crops stay where S1 draws them."""
    plane = mandelbrot(np.random.default_rng(1))
    assert plane.shape == (32, 32)
    assert plane.max() == 1  # the main cardioid is in every crop
    assert plane.min() in {0.01, 0.02}  # |c| > 2: within at the first step alone, or |c| <= 2 for one more
    pictures = draw_fractals("mandelbrot", 60, 0, 24, 24)
    hues = {tuple(picture[:, 12, 12].round(-1)) for picture in pictures}
    assert len(hues) >= 6


def test_mix_by_hand() -> None:
    x, e = np.full((3, 2, 2), 200, np.uint8), np.full((3, 2, 2), 100, np.uint8)
    mask = np.array([[1.0, 0.0], [0.5, 1.0]])
    mixed = mix(x, e, mask, np.full((3, 2, 2), 50, np.float32), 0.2)
    assert mixed[0].tolist() == [[170, 90], [130, 170]]


def test_an_editor_that_edits_nothing_is_refused(run_cells: RunCells) -> None:
    _, outcome = run_cells(generators=["diffusemix:editor=cvae"])
    assert "option editor is 'cvae', which does not edit training images" in next(
        iter(outcome.failed.values())
    )


@pytest.mark.parametrize("kind", ["mandelbrot", "ifs"])
def test_fractals_are_seeded_varied_and_not_blank(kind: str) -> None:
    drawn = draw_fractals(kind, 12, 0, 32, 32)
    assert drawn.shape == (12, 3, 32, 32)
    assert np.array_equal(drawn[:3], draw_fractals(kind, 3, 0, 32, 32))
    assert not np.array_equal(drawn[:3], draw_fractals(kind, 3, 1, 32, 32))
    assert drawn.min() >= 0
    assert drawn.max() <= 255
    assert all(picture.std() > 8 for picture in drawn)
    assert len({picture.tobytes() for picture in drawn}) == 12


# ------------------------------------------------------------------------------------- mixup, cutmix, cvae


def _classical(make_images: MakeImages, **options: Any) -> tuple[SampleRequest, torch.Tensor]:
    from genbench_generators.classical import Classical
    from genbench_generators.configs.classical import ClassicalConfig

    request = _request(make_images)
    (batch,) = Classical(ClassicalConfig(**options)).sample(request, MemoryContext)  # type: ignore[arg-type]
    return request, batch.images


def test_mixup_mixes_within_the_class(make_images: MakeImages) -> None:
    request, mixed = _classical(make_images, variant="mixup")
    x = request.train.batch(request.source_indices).float()
    everything = request.train.all().float()
    for row, label in enumerate(request.labels):
        delta = (mixed[row].float() - x[row]).flatten()
        fits = []
        for partner in np.flatnonzero(request.train.labels == label):
            towards = (everything[partner] - x[row]).flatten()
            share = float(delta @ towards / (towards @ towards).clamp_min(1e-9))
            fits.append(float((delta - share * towards).abs().max()))
        assert min(fits) <= 1  # rounding


def test_cutmix_pastes_a_rectangle_of_the_class(make_images: MakeImages) -> None:
    request, mixed = _classical(make_images, variant="cutmix")
    x = request.train.batch(request.source_indices)
    changed = (mixed != x).any(dim=1)
    shares = changed.float().mean(dim=(1, 2))
    assert 0.2 < float(shares.mean()) < 0.6  # half for Beta(1, 1), less what falls outside
    for row in torch.nonzero(shares).flatten().tolist():
        rows, columns = torch.nonzero(changed[row]).T
        here = (
            slice(None),
            slice(int(rows.min()), int(rows.max()) + 1),
            slice(int(columns.min()), int(columns.max()) + 1),
        )
        same_class = np.flatnonzero(request.train.labels == request.labels[row])
        assert any(torch.equal(mixed[row][here], other[here]) for other in request.train.batch(same_class))


def test_mix_alpha_takes_effect(make_images: MakeImages) -> None:
    _, strong = _classical(make_images, variant="mixup", mix_alpha=50.0)
    request, weak = _classical(make_images, variant="mixup", mix_alpha=0.02)
    x = request.train.batch(request.source_indices)
    assert (strong != x).any(dim=1).float().mean() > 0.8
    assert not torch.equal(strong, weak)


def test_the_divergence_is_torchs() -> None:
    from genbench_generators.cvae import Normal, divergence

    rng = torch.Generator().manual_seed(0)
    q, p = (Normal(*torch.randn(2, 5, 7, generator=rng)) for _ in range(2))
    torchs = (torch.distributions.Normal(one.mean, one.deviation) for one in (q, p))
    expected = torch.distributions.kl_divergence(*torchs).sum(1)
    assert torch.allclose(divergence(q, p), expected, rtol=1e-5)


@pytest.mark.slow(reason="fits an autoencoder until its classes can be told apart")
def test_cvae_draws_its_classes(make_images: MakeImages, tmp_path: Any) -> None:
    """Classes of distinct brightness come out in their brightness."""
    from genbench_generators.configs.cvae import CvaeConfig
    from genbench_generators.cvae import Cvae

    labels = np.arange(60, dtype=np.int64) % 3
    noise = torch.randint(0, 20, (60, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    train = TensorImages((noise + torch.from_numpy(labels * 100)[:, None, None, None]).byte(), labels, "abc")
    generator = Cvae(CvaeConfig(channels=8, latent_dimensions=4, fit_steps=500))
    generator.fit(train, MemoryContext(tmp_path))
    rows = np.arange(30, dtype=np.int64)
    request = SampleRequest(labels[rows], rows, rows, train)
    images = torch.cat([batch.images for batch in generator.sample(request, MemoryContext(tmp_path))])
    means = [float(images[torch.from_numpy(labels[rows] == label)].float().mean()) for label in range(3)]
    assert np.abs(np.array(means) - [10, 110, 210]).max() < 20  # of the 100 between two classes
    cold = Cvae(CvaeConfig(channels=8, latent_dimensions=4, fit_steps=500, temperature=0.0))
    generator.save(tmp_path)
    cold.load(tmp_path)
    still = torch.cat([batch.images for batch in cold.sample(request, MemoryContext(tmp_path))])
    assert torch.equal(still[0], still[3])  # z is its class's mean: one image per class
    assert not torch.equal(images[0], images[3])


def test_cvae_says_where_it_diverged(make_images: MakeImages, tmp_path: Any) -> None:
    from genbench_generators.configs.cvae import CvaeConfig
    from genbench_generators.cvae import Cvae

    config = CvaeConfig(channels=8, fit_steps=40, learning_rate=1e30, clip_norm=None)
    with pytest.raises(
        GenbenchError, match=r"cvae diverged: the loss is \S+ by step 20 of 40, learning rate"
    ):
        Cvae(config).fit(make_images(40), MemoryContext(tmp_path))
