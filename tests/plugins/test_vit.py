"""`vit`: S1's sizes, attention against the formula written out, patches, and that options take effect."""

import math
from typing import Any

import pytest
import torch
from torch import nn

from genbench.errors import UsageError
from genbench.notation import parse_reference
from genbench.protocols import TrainRecipe
from genbench.registry import Registry
from genbench.spec import resolve
from genbench.testing.suites import ClassifierConformance
from genbench_classifiers.configs.vit import VitConfig, choose_patch
from genbench_classifiers.vit import Block, Vit


class TestVit(ClassifierConformance):
    component = "vit:tiny"


class TestVitOfTheSource(ClassifierConformance):
    component = "vit:tiny,preset=source-s1"
    image_size = 16


def build(image: int | tuple[int, int] = 32, **options: Any) -> Any:
    torch.manual_seed(0)
    sides = (image, image) if isinstance(image, int) else image
    return Vit(VitConfig(**options)).build(10, (3, *sides)).eval()


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("size", "count"),
    [("tiny", 823_658), ("small", 2_138_474), ("medium", 6_340_970), ("large", 21_037_418)],
)
def test_sizes_have_the_parameter_counts_of_the_source(size: Any, count: int) -> None:
    assert parameters(build(size=size)) == count


def test_patch_two_has_the_count_of_the_sources_first_run() -> None:
    assert parameters(build(patch=2)) == 863_522


def test_the_bare_value_is_the_size(registry: Registry) -> None:
    resolved = resolve(registry, "classifier", parse_reference("vit:medium"), "quick", lambda path: "")
    assert resolved.config == VitConfig.model_validate({"size": "medium", **VitConfig.presets["quick"]})


def test_the_source_preset_is_the_sources_recipe() -> None:
    config = VitConfig.model_validate(VitConfig.presets["source-s1"])
    assert (config.patch, config.dropout, config.embedding_dropout, config.token_std) == (4, 0.2, 0.1, 1.0)
    assert config.recipe == TrainRecipe(
        optimizer="adam",
        learning_rate=1e-3,
        weight_decay=0,
        schedule="cosine",
        epochs=20,
        batch_size_images=128,
    )


def test_a_block_is_attention_and_mlp_as_written_in_the_paper() -> None:
    """Eq. 2 and 3 with softmax(q k^T / sqrt(64)) v, head by head, in float64."""
    torch.manual_seed(0)
    block = Block(heads=3, dropout=0.0).double().eval()
    x = torch.randn(2, 5, 256, dtype=torch.float64)
    weights = block.queries_keys_values.weight.view(3, 3, 64, 256)  # q, k, v; head; row
    normed = block.norm(x)
    heads = []
    for head in range(3):
        q, k, v = (normed @ weights[part, head].T for part in range(3))
        heads.append(torch.softmax(q @ k.transpose(1, 2) / math.sqrt(64), dim=-1) @ v)
    attended = x + block.project(torch.cat(heads, dim=2))
    assert torch.allclose(block(x), attended + block.mlp(attended), atol=1e-12)


def test_patches_are_cut_row_by_row_and_know_their_place() -> None:
    network = build(8, patch=4)
    images = torch.randn(1, 3, 8, 8)
    seen: list[torch.Tensor] = []
    network.embed.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    network(images)
    for row in range(2):
        for column in range(2):
            patch = images[0, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
            assert torch.equal(seen[0][0, 2 * row + column], patch.flatten())
    turned = torch.flip(images, dims=(3,))
    assert not torch.allclose(network(images), network(turned))
    network.positions.data.zero_()
    swapped = torch.cat([images[..., 4:], images[..., :4]], dim=3)  # without positions, order means nothing
    assert torch.allclose(network(images), network(swapped), atol=1e-5)


@pytest.mark.parametrize(
    ("sides", "patch"),
    [
        ((8, 8), 4), ((4, 4), 4), ((28, 28), 4), ((32, 32), 4), ((64, 64), 8), ((96, 96), 8),
        ((128, 128), 16), ((224, 224), 16), ((32, 64), 4), ((9, 13), 1), ((6, 6), 2),
    ],
)  # fmt: skip
def test_auto_chooses_a_patch_that_fills_the_image(sides: tuple[int, int], patch: int) -> None:
    assert choose_patch(sides) == patch
    height, width = sides
    assert len(build(sides).positions) == 1 + (height // patch) * (width // patch)


@pytest.mark.parametrize(
    ("sides", "options", "message"),
    [
        (
            (8, 10),
            {"patch": 4},
            r"patches of 4x4, which do not fill 8x10 pixels: height and width must be multiples of 4; "
            r"these work here: 1, 2\n.*vit:patch=auto",
        ),
        ((257, 257), {}, r"cut 257x257 pixels into 66049 patches of 1x1: at most 4096"),
    ],
)
def test_a_size_that_does_not_work_says_which_do(
    sides: tuple[int, int], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        build(sides, **options)


def test_the_head_reads_the_class_token_alone() -> None:
    network = build(8)
    tokens = network.forward_features(torch.randn(3, 3, 8, 8))
    assert tokens.shape == (3, 5, 256)
    features = network.forward_head(tokens, pre_logits=True)
    assert torch.equal(features, tokens[:, 0])
    assert torch.equal(network.forward_head(tokens), network.head(features))


@pytest.mark.parametrize("option", ["dropout", "embedding_dropout"])
def test_dropout_takes_effect_in_training_alone(option: str) -> None:
    images = torch.randn(4, 3, 8, 8)
    network = build(8, **{option: 0.5})
    assert torch.equal(network(images), network(images))
    network.train()
    assert not torch.equal(network(images), network(images))
    plain = build(8).train()
    assert torch.equal(plain(images), plain(images))


def test_attention_itself_drops() -> None:
    block = Block(heads=2, dropout=0.5).train()
    block.project[1].p = 0.0
    x = torch.randn(2, 5, 256)
    assert not torch.equal(block._attend(x), block._attend(x))


def test_token_std_is_the_spread_of_token_and_positions() -> None:
    for std in (0.3, 1.0):
        network = build(token_std=std)
        assert float(network.positions.detach().std()) == pytest.approx(std, rel=0.05)
        assert float(network.class_token.detach().std()) == pytest.approx(std, rel=0.2)


def test_every_weight_gets_a_gradient() -> None:
    network = build(8).train()
    network(torch.randn(6, 3, 8, 8)).square().sum().backward()
    assert all(value.grad is not None and value.grad.abs().sum() > 0 for value in network.parameters())
