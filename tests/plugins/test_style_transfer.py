"""`style_transfer`: its numbers against closed forms, what is recorded, and both methods end to end."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from safetensors.torch import save_file

from genbench.digest import file_digest
from genbench.errors import DataError, UsageError
from genbench.images import LabelledImages, TensorImages, statistics
from genbench.notation import parse_reference
from genbench.protocols import SampleRequest, SyntheticBatch
from genbench.registry import Registry
from genbench.seeding import counter_bits
from genbench.spec import Resolved, resolve
from genbench.testing.context import MemoryContext
from genbench.testing.suites import GeneratorConformance
from genbench.training import NormalisedNetwork
from genbench_classifiers.cnn import CnnNetwork
from genbench_generators._adain import Decoder, Moments, adain, decoder_loss, layer_scales, moments
from genbench_generators._encoders import Encoder, Maps, ReferenceEncoder, make_encoder
from genbench_generators._gatys import gram, losses, stylised
from genbench_generators._styles import draw_style, load_styles, style_name
from genbench_generators.configs.style_transfer import StyleTransferConfig
from genbench_generators.style_transfer import StyleTransfer

SMALL: dict[str, Any] = {
    "drawn_styles": 4,
    "working_size_pixels": 16,
    "steps": 5,
    "fit_steps": 4,
    "batch_size_images": 4,
    "micro_batch_images": 4,
}


class TestGatys(GeneratorConformance):
    component = "style_transfer:working_size_pixels=16,steps=3"


class TestAdain(GeneratorConformance):
    component = "style_transfer:method=adain,fit_steps=4"


class Pixels(Encoder):
    """Sees the pixels themselves: every number can be worked out by hand."""

    def __call__(self, images: torch.Tensor) -> Maps:
        return Maps(images, (images,))


def network(widths: tuple[int, ...] = (8, 8, 8)) -> NormalisedNetwork:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        built = CnnNetwork(3, widths, 10, 0.0)
    return NormalisedNetwork(built, statistics(picture_set())).eval()


def picture_set(count: int = 12, size: int = 8) -> TensorImages:
    """Smooth pictures: encoders that see edges see something."""
    rng = torch.Generator().manual_seed(5)
    coarse = torch.rand((count, 3, 3, 3), generator=rng)
    pixels = torch.nn.functional.interpolate(coarse, size, mode="bilinear", align_corners=True) * 255
    return TensorImages(pixels.byte(), np.arange(count, dtype=np.int64) % 3, ["a", "b", "c"])


def context(folder: Path, reference: Any = None) -> MemoryContext:
    return MemoryContext(work=folder, inputs={"reference": reference or network()})


def ask(train: LabelledImages, count: int = 10) -> SampleRequest:
    rows = np.arange(count, dtype=np.int64)
    return SampleRequest(train.labels[rows], counter_bits(11, torch.from_numpy(rows)).numpy(), rows, train)


def made(folder: Path, reference: Any = None, **options: Any) -> SyntheticBatch:
    """Fit, save, load and sample."""
    config = StyleTransferConfig(**{**SMALL, **options})
    ctx, train = context(folder, reference), picture_set()
    fitted = StyleTransfer(config)
    fitted.fit(train, ctx)
    state = folder / "state"
    shutil.rmtree(state, ignore_errors=True)
    state.mkdir(parents=True)
    fitted.save(state)
    loaded = StyleTransfer(config)
    loaded.load(state)
    batches = list(loaded.sample(ask(train), ctx))
    return SyntheticBatch(
        torch.cat([batch.images for batch in batches]),
        np.concatenate([batch.labels for batch in batches]),
        np.concatenate([batch.source_indices for batch in batches]),
        [prompt for batch in batches for prompt in batch.prompts or ()],
    )


@pytest.fixture
def paintings(tmp_path: Path) -> Path:
    folder = tmp_path / "paintings"
    (folder / "old").mkdir(parents=True)
    for name, colour in (("red.png", (250, 0, 0)), ("old/blue.png", (0, 0, 250))):
        Image.new("RGB", (20, 30), colour).save(folder / name)
    (folder / "notes.txt").write_text("not a painting")
    return folder


def resolved(text: str) -> Resolved:
    return resolve(Registry(), "generator", parse_reference(text), "smoke", file_digest)


# --------------------------------------------------------------------------------------------- numerics


def test_the_gram_matrix_of_a_hand_made_tensor() -> None:
    maps = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]], [[0.0, 1.0], [0.0, -1.0]]]])
    torch.testing.assert_close(gram(maps), torch.tensor([[[30.0, -2.0], [-2.0, 2.0]]]) / 4)


def test_losses_equal_their_closed_form_and_are_zero_at_their_targets() -> None:
    rng = torch.Generator().manual_seed(0)
    image, source, style = (torch.rand((1, 3, 4, 4), generator=rng) for _ in range(3))
    found = losses(Pixels(), image, source, [gram(style)], 7.0)
    x, p, s = (part[0].double().numpy().reshape(3, 16) for part in (image, source, style))
    g, a = x @ x.T / 16, s @ s.T / 16
    expected = ((x - p) ** 2).sum() / (p**2).sum() + 7 * ((g - a) ** 2).sum() / (a**2).sum()
    assert float(found) == pytest.approx(expected, rel=1e-5)
    assert float(losses(Pixels(), image, image, [gram(image)], 7.0)) == 0


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_the_loss_falls_and_pixels_stay_in_range(optimizer: str) -> None:
    rng = torch.Generator().manual_seed(1)
    source, style = torch.rand((1, 3, 16, 16), generator=rng), torch.rand((1, 3, 16, 16), generator=rng)
    config = StyleTransferConfig(optimizer=optimizer, steps=20, style_weight=5)
    encoder = ReferenceEncoder(network(), (16, 16), config)
    with torch.no_grad():
        grams = [gram(maps) for maps in encoder(style).style]
        content = encoder(source).content
        before = losses(encoder, source, content, grams, 5.0)
    image = stylised(encoder, source, grams, source, config)
    with torch.no_grad():
        after = losses(encoder, image, content, grams, 5.0)
    assert float(after) < 0.5 * float(before)
    assert 0 <= float(image.min()) <= float(image.max()) <= 1


def test_images_that_are_optimised_together_are_those_optimised_alone() -> None:
    sources = picture_set(4, 16).all().float() / 255
    config = StyleTransferConfig(steps=10)
    encoder = ReferenceEncoder(network(), (16, 16), config)
    with torch.no_grad():
        grams = [gram(maps) for maps in encoder(sources.flip(0)).style]
    together = stylised(encoder, sources, grams, sources, config)
    for row in range(4):
        part = slice(row, row + 1)
        alone = stylised(encoder, sources[part], [layer[part] for layer in grams], sources[part], config)
        torch.testing.assert_close(together[part], alone, atol=2e-3, rtol=0)


def test_adain_gives_content_the_moments_of_the_style() -> None:
    rng = torch.Generator().manual_seed(2)
    content = torch.randn((2, 5, 9, 7), generator=rng) * 3 + 1
    style = torch.randn((2, 5, 6, 6), generator=rng) * torch.arange(1, 6)[None, :, None, None] - 2
    out = adain(content, moments(style)).double().flatten(2).numpy()
    wanted = style.double().flatten(2).numpy()
    np.testing.assert_allclose(out.mean(axis=2), wanted.mean(axis=2), atol=1e-5)
    np.testing.assert_allclose(out.std(axis=2), wanted.std(axis=2), rtol=1e-4)
    shape = np.corrcoef(out[0, 0], content[0, 0].flatten().numpy())[0, 1]
    assert shape == pytest.approx(1, abs=1e-5), "within a channel AdaIN is linear"


def test_moments_are_those_of_numpy() -> None:
    maps = torch.rand((3, 4, 5, 6), generator=torch.Generator().manual_seed(0))
    found = moments(maps)
    np.testing.assert_allclose(found.mean[..., 0, 0], maps.numpy().mean(axis=(2, 3)), rtol=1e-5)
    expected = np.sqrt(maps.numpy().var(axis=(2, 3)) + 1e-5)
    np.testing.assert_allclose(found.std[..., 0, 0], expected, rtol=1e-5)


def test_the_decoder_loss_has_its_closed_form() -> None:
    image = torch.rand((2, 3, 4, 4), generator=torch.Generator().manual_seed(0))
    own = moments(image)
    style = [Moments(own.mean + 0.5, own.std - 0.1)]
    found = decoder_loss(Pixels(), image, image + 2, style, 10.0)
    assert float(found) == pytest.approx(4 + 10 * (0.25 + 0.01), rel=1e-5)


def test_layers_are_scaled_by_their_root_mean_square() -> None:
    images = torch.stack([torch.full((3, 4, 4), 0.3), torch.full((3, 4, 4), 0.9)])
    assert layer_scales(Pixels(), images) == pytest.approx([np.sqrt((0.09 + 0.81) / 2)], rel=1e-4)


@pytest.mark.parametrize("size", [(16, 16), (13, 17)])
def test_the_decoder_makes_images_of_any_size(size: tuple[int, int]) -> None:
    assert Decoder(24, 2, size)(torch.zeros(2, 24, 4, 4)).shape == (2, 3, *size)


# ----------------------------------------------------------------------------------------------- methods


def test_the_decoder_learns_and_the_source_is_recognised_in_what_it_makes(tmp_path: Path) -> None:
    options: dict[str, Any] = {"method": "adain", "fit_learning_rate": 3e-3, "style": "blots-2"}
    sources = picture_set().batch(np.arange(10)).float().mean(dim=1).flatten(1)

    def likeness(fit_steps: int) -> float:
        images = made(tmp_path, fit_steps=fit_steps, **options).images.float().mean(dim=1).flatten(1)
        return float(np.mean([abs(np.corrcoef(x, y)[0, 1]) for x, y in zip(sources, images, strict=True)]))

    assert likeness(100) > max(0.5, likeness(1) + 0.1)


def test_a_decoder_whose_units_are_all_pushed_off_still_sees_its_input_and_can_learn() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        decoder = Decoder(24, 1, (16, 16))
    first = next(layer for layer in decoder.layers if isinstance(layer, torch.nn.Conv2d))
    torch.nn.init.constant_(first.bias, -100)  # type: ignore[arg-type]
    one, two = torch.randn((2, 1, 24, 8, 8), generator=torch.Generator().manual_seed(0))
    assert not torch.allclose(decoder(one), decoder(two), atol=1e-3)
    (gradient,) = torch.autograd.grad(decoder(one).sum(), first.weight)
    assert float(gradient.abs().max()) > 0


@pytest.mark.parametrize("method", ["gatys", "adain"])
def test_images_change_and_each_records_its_style(tmp_path: Path, method: str) -> None:
    batch = made(tmp_path, method=method)
    sources = picture_set().batch(np.arange(10))
    changed = (batch.images.int() - sources.int()).abs().flatten(1).float().mean(dim=1)
    assert (changed > 2).all()
    assert batch.prompts is not None
    assert set(batch.prompts) <= {style_name(index) for index in range(4)}
    assert len(set(batch.prompts)) > 1
    np.testing.assert_array_equal(batch.source_indices, np.arange(10))


def test_one_style_can_be_named(tmp_path: Path) -> None:
    batch = made(tmp_path, style="dots-3")
    assert batch.prompts == ["dots-3"] * 10
    with pytest.raises(UsageError, match=r"style is 'dots-4'\. Did you mean dots-3.* Known: blots-2"):
        made(tmp_path, style="dots-4")


@pytest.mark.parametrize(
    "options",
    [
        {"steps": 6},
        {"style_weight": 9.0},
        {"learning_rate": 0.1},
        {"start_noise": 0.5},
        {"preserve_colour": True},
        {"working_size_pixels": 24},
        {"style_seed": 1},
        {"style_blur_pixels": 3},
        {"optimizer": "lbfgs"},
        {"method": "adain", "alpha": 0.5},
        {"method": "adain", "fit_style_weight": 5.0},
        {"method": "adain", "fit_learning_rate": 1e-2},
    ],
    ids=str,
)
def test_every_option_takes_effect(tmp_path: Path, options: dict[str, Any]) -> None:
    usual = made(tmp_path, method=options.get("method", "gatys"))
    assert not torch.equal(made(tmp_path, **options).images, usual.images)


def test_without_a_style_loss_the_source_comes_back(tmp_path: Path) -> None:
    batch = made(tmp_path, style_weight=0.0, working_size_pixels=8, reference=network((8, 8)))
    torch.testing.assert_close(batch.images, picture_set().batch(np.arange(10)))


def test_with_alpha_0_no_style_shows(tmp_path: Path) -> None:
    first, second = (made(tmp_path, method="adain", alpha=0.0, style=name) for name in ("waves-1", "dots-3"))
    assert torch.equal(first.images, second.images)
    styled = made(tmp_path, method="adain", style="waves-1")
    assert not torch.equal(styled.images, first.images)


def test_colours_are_preserved(tmp_path: Path) -> None:
    grey = picture_set().all().float().mean(dim=1, keepdim=True).expand(-1, 3, -1, -1).byte()
    train = TensorImages(grey, picture_set().labels, ["a", "b", "c"])
    config = StyleTransferConfig(**SMALL, preserve_colour=True)
    generator, ctx = StyleTransfer(config), context(tmp_path)
    generator.fit(train, ctx)
    (images,) = [torch.cat([batch.images for batch in generator.sample(ask(train), ctx)])]
    spread = images.int().amax(dim=1) - images.int().amin(dim=1)
    assert int(spread.max()) <= 1
    assert not torch.equal(images, train.batch(np.arange(10)))


# -------------------------------------------------------------------------------------------- encoders


def test_images_too_small_for_the_encoder_are_an_error_that_says_which_work() -> None:
    config = StyleTransferConfig(working_size_pixels=4)
    with pytest.raises(UsageError, match=r"takes images of 4 pixels or more for method 'gatys', found 2x2"):
        make_encoder(config, network(), (2, 2), "cpu")
    assert make_encoder(config, network(), (4, 4), "cpu")


def test_adains_code_keeps_a_quarter_of_the_side_and_eight_pixels() -> None:
    config = StyleTransferConfig(method="adain")
    for size, kept in ((8, 8), (16, 8), (32, 8), (64, 16)):
        maps = ReferenceEncoder(network((8, 8, 8, 8)), (size, size), config)(torch.rand(1, 3, size, size))
        assert maps.content.shape[2] == kept
        assert maps.content is maps.style[-1]


def test_a_reference_without_convolutions_is_refused() -> None:
    class Flat(torch.nn.Module):
        def forward_features(self, x: torch.Tensor) -> torch.Tensor:
            return x.flatten(1)

    flat = NormalisedNetwork(Flat(), statistics(picture_set()))
    flat.weight = torch.nn.Parameter(torch.zeros(1))
    config = StyleTransferConfig(reference="mlp")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="reference is 'mlp', which has no convolutions at two resolutions"):
        make_encoder(config, flat, (32, 32), "cpu")


def test_vgg19_reads_torchvision_weights_and_taps_the_papers_layers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torchvision

    with torch.device("meta"):
        shapes = torchvision.models.vgg19().features.state_dict()
    rng = torch.Generator().manual_seed(0)
    weights = {
        f"features.{name}": (torch.randn(value.shape, generator=rng) * (2 / value[0].numel()) ** 0.5).half()
        if value.ndim == 4
        else torch.zeros(value.shape)
        for name, value in shapes.items()
    }
    folder = tmp_path / "torchvision" / "vgg19"
    folder.mkdir(parents=True)
    save_file(weights, folder / "model.safetensors")
    monkeypatch.setenv("GENBENCH_HUB_MIRROR", str(tmp_path))
    config = StyleTransferConfig(encoder="vgg19")
    assert set(config.source_files()) == {"encoder/model.safetensors"}
    maps = make_encoder(config, None, (32, 32), "cpu")(torch.rand(1, 3, 32, 32, generator=rng))
    assert [tuple(part.shape[1:]) for part in maps.style] == [
        (64, 32, 32),
        (128, 16, 16),
        (256, 8, 8),
        (512, 4, 4),
        (512, 2, 2),
    ]
    assert maps.content.shape[1:] == (512, 4, 4)
    assert all(float(part.min()) == 0 for part in maps.style), "after the ReLU"
    with pytest.raises(UsageError, match=r"'vgg19' takes images of 32 pixels or more .* found 31x31"):
        make_encoder(config, None, (31, 31), "cpu")


def test_weights_that_do_not_fit_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "torchvision" / "squeezenet1_0"
    folder.mkdir(parents=True)
    save_file({"features.0.weight": torch.zeros(1)}, folder / "model.safetensors")
    monkeypatch.setenv("GENBENCH_HUB_MIRROR", str(tmp_path))
    with pytest.raises(
        DataError, match=r"model\.safetensors does not hold the weights of squeezenet: Missing"
    ):
        make_encoder(StyleTransferConfig(encoder="squeezenet"), None, (32, 32), "cpu")


def test_squeezenet_stylises_in_the_manner_of_a_painting(tmp_path: Path, hub_mirror: Path) -> None:
    folder = hub_mirror / "styles" / "paintings"
    options = {"encoder": "squeezenet", "styles": folder, "working_size_pixels": 32, "steps": 12}
    night = made(tmp_path, style="starry_night", **options)
    hat = made(tmp_path, style="woman-with-hat-matisse", **options)
    blueness = [float((b.images[:, 2].float() - b.images[:, 0].float()).mean()) for b in (night, hat)]
    assert blueness[0] > blueness[1] + 5, "the night is blue"
    sources = picture_set().batch(np.arange(10)).float().flatten(1)
    alike = [
        float(np.corrcoef(x, y)[0, 1]) for x, y in zip(sources, night.images.float().flatten(1), strict=True)
    ]
    assert np.mean(alike) > 0.5, "the source is still recognised"


def test_squeezenet_equals_torchvisions_own_layers(hub_mirror: Path) -> None:
    import torchvision
    from safetensors.torch import load_file

    own = torchvision.models.squeezenet1_0()
    own.load_state_dict(load_file(hub_mirror / "torchvision" / "squeezenet1_0" / "model.safetensors"))
    images = picture_set(2, 32).all().float() / 255
    normalise = torchvision.transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    with torch.no_grad():
        expected = own.features[:10].eval()(normalise(images))
        found = make_encoder(StyleTransferConfig(encoder="squeezenet"), None, (32, 32), "cpu")(images)
    torch.testing.assert_close(found.style[-1], expected)


# ---------------------------------------------------------------------------------------------- styles


def test_drawn_styles_are_seeded_and_differ() -> None:
    assert np.array_equal(draw_style(4, 0), draw_style(4, 0))
    assert not np.array_equal(draw_style(4, 0), draw_style(4, 1))
    styles = load_styles(StyleTransferConfig(drawn_styles=9), 16)
    assert styles.names[0] == "stripes-0"
    assert styles.names[8] == "stripes-8"
    flat = styles.images.flatten(1)
    assert float(torch.cdist(flat, flat).add(torch.eye(9) * 99).min()) > 1


def test_a_style_is_pooled_over_what_is_there(paintings: Path) -> None:
    config = StyleTransferConfig(styles=paintings, style_blur_pixels=3)
    styles = load_styles(config, 8)
    assert styles.names == ("old/blue", "red")
    assert torch.equal(styles.images[1], load_styles(StyleTransferConfig(styles=paintings), 8).images[1])
    sharp = load_styles(StyleTransferConfig(drawn_styles=1), 8).images[0, 0]
    blurred = load_styles(StyleTransferConfig(drawn_styles=1, style_blur_pixels=3), 8).images[0, 0]
    assert float(blurred[0, 0]) == pytest.approx(float(sharp[:2, :2].mean()), abs=1e-6)
    assert float(blurred[4, 5]) == pytest.approx(float(sharp[3:6, 4:7].mean()), abs=1e-6)


def test_the_content_of_the_folder_is_the_identity_and_its_path_is_not(
    paintings: Path, tmp_path: Path
) -> None:
    first = resolved(f"style_transfer:styles={paintings}").identity
    moved = shutil.copytree(paintings, tmp_path / "elsewhere")
    assert resolved(f"style_transfer:styles={moved}").identity == first
    assert str(tmp_path) not in str(first)
    Image.new("RGB", (20, 30), (250, 1, 0)).save(moved / "red.png")
    assert resolved(f"style_transfer:styles={moved}").identity["fingerprint"] != first["fingerprint"]


def test_folders_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'/nowhere', which is not a folder"):
        StyleTransferConfig(styles=Path("/nowhere")).source_files()
    with pytest.raises(DataError, match="holds no image"):
        StyleTransferConfig(styles=tmp_path).source_files()
    (tmp_path / "broken.png").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"broken\.png in styles cannot be decoded as an image"):
        load_styles(StyleTransferConfig(styles=tmp_path), 8)


# ---------------------------------------------------------------------------------------------- options


def test_a_reference_is_an_input_only_where_it_is_the_encoder(hub_mirror: Path) -> None:
    assert resolved("style_transfer").references["reference"][1].name == "cnn"
    assert not resolved("style_transfer:encoder=squeezenet").references
    with pytest.raises(UsageError, match="encoder 'reference' needs the option reference"):
        resolved("style_transfer:reference=null")


def test_sampling_options_do_not_fit_again() -> None:
    assert StyleTransferConfig.sample_fields <= set(StyleTransferConfig.model_fields)
    assert "encoder" not in StyleTransferConfig.sample_fields


def test_source_s4_pools_styles_and_runs_forward() -> None:
    config = StyleTransferConfig(**StyleTransferConfig.presets["source-s4"])
    assert (config.method, config.style_blur_pixels, config.working_size_pixels) == ("adain", 3, 256)
    with pytest.raises(ValidationError, match="must be odd, found 2"):
        StyleTransferConfig(style_blur_pixels=2)


def test_only_what_is_used_counts_as_external_data(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "styles").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "styles" / "dots.png")

    def known(**options: Any) -> tuple[str, ...]:
        declared = registry.spec("generator", "style_transfer").external_data
        return StyleTransferConfig(**options).external_data(declared)

    assert known() == ()
    assert known(styles=tmp_path / "styles") == ("style images",)
    assert known(encoder="squeezenet") == ("ImageNet (weights of the vgg19 or squeezenet encoder)",)
    assert len(known(encoder="vgg19", styles=tmp_path / "styles")) == 2
    settled = resolve(
        registry, "generator", parse_reference("chain:first=style_transfer,second=copies"), "smoke", str
    )
    assert settled.external_data == ()
