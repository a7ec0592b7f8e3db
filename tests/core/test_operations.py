"""The operations of policies, image by image against torchvision: the same draws make the same pixels."""

from collections import Counter
from typing import Any

import pytest
import torch
from torchvision.transforms import v2

from genbench.training.augment import POLICIES, Policy, apply_policy, draw_for_policy
from genbench.training.operations import (
    AUGMIX,
    OPERATIONS,
    RANDAUGMENT,
    SETTINGS,
    TRIVIALAUGMENT_WIDE,
    UNSIGNED,
    Space,
    apply_operations,
    plain_settings,
    settings_table,
)

OURS = {
    "Identity": "identity", "ShearX": "shear_x", "ShearY": "shear_y", "TranslateX": "translate_x",
    "TranslateY": "translate_y", "Rotate": "rotate", "Brightness": "brightness", "Color": "saturation",
    "Contrast": "contrast", "Sharpness": "sharpness", "Posterize": "posterize", "Solarize": "solarize",
    "AutoContrast": "autocontrast", "Equalize": "equalize",
}  # fmt: skip
SIDES = (24, 32)
COUNT = 6
SPACES = [(v2.RandAugment, RANDAUGMENT), (v2.TrivialAugmentWide, TRIVIALAUGMENT_WIDE), (v2.AugMix, AUGMIX)]


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    """Smooth images, one nearly black and white, one of a few levels, one of a single one: `uint8`."""
    coarse = torch.randint(0, 256, (COUNT, 3, 5, 5), generator=torch.Generator().manual_seed(0)).float()
    smooth = torch.nn.functional.interpolate(coarse, SIDES, mode="bicubic")
    smooth[0] = (smooth[0] - 128) * 20
    smooth[1] = (smooth[1] / 50).round() + 100
    smooth[2] = 77
    return smooth.clamp(0, 255).byte()


def differing(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """Share of pixels that differ: 0 where these tests were written; rounding is the machine's."""
    assert found.dtype == wanted.dtype == torch.uint8
    return float((found != wanted).float().mean())


@pytest.mark.parametrize(("theirs", "space"), SPACES)
def test_every_operation_and_magnitude_is_torchvisions(
    theirs: Any, space: Space, images: torch.Tensor
) -> None:
    """The lowest, a middle and the highest bin of each, with either sign: equal pixels.

    All magnitudes are compared as numbers.
    """
    transform = theirs()
    mode = str(getattr(transform.interpolation, "value", transform.interpolation))
    table = torch.from_numpy(settings_table(space, *SIDES))
    assert [OURS[name] for name in transform._AUGMENTATION_SPACE] == list(space.names)
    for place, (name, (magnitudes, signed)) in enumerate(transform._AUGMENTATION_SPACE.items()):
        ours = space.magnitudes(OURS[name], *SIDES)
        expected = magnitudes(space.bins, *SIDES)
        assert signed is (OURS[name] not in UNSIGNED)
        expected = torch.zeros(space.bins) if expected is None else expected
        assert ours == pytest.approx(expected.tolist(), rel=1e-6)
        for level in (0, space.bins // 3, space.bins - 1):
            for sign in (0, 1):
                magnitude = ours[level] * (-1 if signed and not sign else 1)
                wanted = transform._apply_image_or_video_transform(
                    images, name, magnitude, interpolation=transform.interpolation, fill=transform._fill
                )
                settings = table[place, level, sign][:, None].expand(SETTINGS, COUNT)
                found = apply_operations(images, settings, frozenset(space.names), mode)
                assert differing(found, wanted) < 0.001, (name, magnitude)
                moves = name not in {"Identity", "AutoContrast", "Equalize"} and level == space.bins - 1
                assert not moves or not torch.equal(found, images), name


class Noted:
    """Makes a torchvision policy note the operations that it draws."""

    def __init__(self, transform: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.drawn: list[tuple[str, float]] = []
        self.weights: list[torch.Tensor] = []
        apply, dirichlet = (
            transform._apply_image_or_video_transform,
            getattr(transform, "_sample_dirichlet", None),
        )

        def note(image: Any, name: str, magnitude: float, **options: Any) -> Any:
            self.drawn.append((OURS[name], magnitude))
            return apply(image, name, magnitude, **options)

        def share(parameters: torch.Tensor) -> torch.Tensor:
            self.weights.append(dirichlet(parameters))
            return self.weights[-1]

        monkeypatch.setattr(transform, "_apply_image_or_video_transform", note)
        if dirichlet is not None:
            monkeypatch.setattr(transform, "_sample_dirichlet", share)

    def settings(self, space: Space) -> list[torch.Tensor]:
        """Return what was noted, as settings of the space."""
        table, found = torch.from_numpy(settings_table(space, *SIDES)), []
        for name, magnitude in self.drawn:
            ours = torch.tensor(space.magnitudes(name, *SIDES))
            level = int((ours - abs(magnitude)).abs().argmin())
            sign = int(magnitude >= 0 or name in UNSIGNED)
            found.append(table[space.names.index(name), level, sign])
        self.drawn.clear()
        return found


@pytest.mark.parametrize("name", ["randaugment", "trivialaugment"])
def test_the_same_draws_make_the_same_pixels(
    name: str, images: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each image through torchvision's policy, as `classical` takes it, and all through ours as a batch."""
    policy, transform = (
        POLICIES[name],
        {"randaugment": v2.RandAugment, "trivialaugment": v2.TrivialAugmentWide}[name](),
    )
    noted, wanted, settings = Noted(transform, monkeypatch), [], []
    assert policy.space is not None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        for image in images.repeat(8, 1, 1, 1):
            wanted.append(transform(image))
            assert len(noted.drawn) == policy.turns
            settings.append(torch.cat(noted.settings(policy.space)))
    pixels = images.repeat(8, 1, 1, 1).permute(0, 2, 3, 1)
    found, _, weight = apply_policy(policy, pixels, torch.stack(settings, dim=1))
    assert differing(found.permute(0, 3, 1, 2), torch.stack(wanted)) < 0.001
    assert weight is None
    assert not torch.equal(found, pixels)


def test_augmix_mixes_as_torchvision_does(images: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    policy, transform = POLICIES["augmix"], v2.AugMix()
    noted, wanted, columns = Noted(transform, monkeypatch), [], []
    depths: list[int] = []
    randint, nothing = torch.randint, plain_settings("identity", torch.zeros(1), *SIDES)[0]

    def deep(*arguments: Any, **options: Any) -> torch.Tensor:
        drawn: torch.Tensor = randint(*arguments, **options)
        if options.get("high") == 4:
            depths.append(int(drawn))
        return drawn

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        monkeypatch.setattr(torch, "randint", deep)
        for image in images:
            wanted.append(transform(image))
            settings = iter(noted.settings(AUGMIX))
            lengths = [depths.pop(0) for _ in range(3)]
            turns = [next(settings) if turn < length else nothing for length in lengths for turn in range(3)]
            own, chains = noted.weights[-2][0], noted.weights[-1][0]
            columns.append(torch.cat([*turns, own[:1], own[1] * chains]))
    found, _, _ = apply_policy(policy, images.permute(0, 2, 3, 1), torch.stack(columns, dim=1))
    assert differing(found.permute(0, 3, 1, 2), torch.stack(wanted)) < 0.001


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "hue"])
def test_colour_is_color_jitter(name: str, images: torch.Tensor) -> None:
    change = {"hue": [-0.1, 0.03]}.get(name, [-0.4, 0.25])
    for amount in change:
        adjust = getattr(v2.functional, f"adjust_{name}")
        wanted = adjust(images, amount if name == "hue" else 1 + torch.tensor(amount).item())
        settings = plain_settings(name, torch.full((COUNT,), amount), *SIDES).T
        found = apply_operations(images, settings, POLICIES["colour"].names, "nearest")
        assert differing(found, wanted) < 0.001
        assert not torch.equal(found, images)


def test_what_is_drawn_is_what_torchvision_draws() -> None:
    """Operations, magnitudes and signs alike often; chains 1 to 3 long; ColorJitter in every order."""
    rows, visits = torch.arange(14_000), torch.zeros(14_000, dtype=torch.int64)

    def drawn(name: str) -> torch.Tensor:
        policy = POLICIES[name]
        return draw_for_policy(policy, 1, rows, visits, *SIDES).view(policy.rows, -1)

    randaugment = drawn("randaugment").view(2, SETTINGS, -1)
    for turn in randaugment:
        counts = Counter(turn[0].tolist())
        assert set(counts) == {float(OPERATIONS.index(name)) for name in RANDAUGMENT.names}
        assert all(850 < count < 1150 for count in counts.values())
    brighter = randaugment[0, 1][randaugment[0, 0] == OPERATIONS.index("brightness")]
    assert sorted({round(value, 4) for value in brighter.tolist()}) == [-0.27, 0.27]  # 9 of 30 of 0.9
    assert 0.4 < float((brighter > 0).float().mean()) < 0.6
    wide = drawn("trivialaugment")
    bits = wide[1][wide[0] == OPERATIONS.index("posterize")]
    assert {int(mask).bit_count() for mask in bits.tolist()} == set(range(2, 9))
    chains = drawn("augmix")
    places = chains[: 9 * SETTINGS].view(3, 3, SETTINGS, -1)[:, :, 0]
    lengths = (places != 0).sum(dim=1)
    assert Counter(lengths.flatten().tolist()).keys() == {1, 2, 3}
    assert torch.allclose(chains[-4:].sum(dim=0), torch.ones(len(rows)))
    assert float(chains[-4].mean()) == pytest.approx(0.5, abs=0.01)
    assert float(chains[-3:].mean()) == pytest.approx(1 / 6, abs=0.01)
    orders = drawn("colour").view(4, SETTINGS, -1)[:, 0].T
    assert len(set(map(tuple, orders.tolist()))) == 24


def test_saturation_keeps_luma_and_not_the_mean(images: torch.Tensor) -> None:
    """Without saturation a pixel is its ITU-R 601 luma."""
    settings = plain_settings("saturation", torch.full((COUNT,), -1.0), *SIDES).T
    found = apply_operations(images, settings, frozenset({"saturation"}), "nearest")
    wanted = (images.float() * torch.tensor([0.2989, 0.587, 0.114])[:, None, None]).sum(1).floor()
    assert (found[:, 0].float() - wanted).abs().max() <= 1
    assert torch.equal(found[:, 0], found[:, 2])


def test_operations_take_images_of_any_size() -> None:
    """Sharpness leaves what has no inside, as torchvision does."""
    for height, width in ((1, 2), (2, 5), (3, 3)):
        pixels = torch.full((4, height, width, 3), 9, dtype=torch.uint8)
        for policy in (POLICIES["strong"], POLICIES["augmix"], Policy(TRIVIALAUGMENT_WIDE, 1)):
            rows = torch.arange(4)
            drawn = draw_for_policy(policy, 1, rows, torch.zeros_like(rows), height, width)
            assert apply_policy(policy, pixels, drawn)[0].shape == pixels.shape
