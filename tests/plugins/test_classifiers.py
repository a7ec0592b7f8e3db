"""The built-in classifiers: sizes, parameter counts, and that every option takes effect."""

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import nn

from genbench.errors import UsageError
from genbench.protocols import Classifier, ClassifierConfig
from genbench.registry import Registry, import_target

NAMES = ("cnn", "mlp", "resnet32")


def classifier(registry: Registry, name: str, **options: Any) -> Classifier:
    spec = registry.spec("classifier", name)
    schema: type[ClassifierConfig] = import_target(spec.config, name)
    built: Classifier = import_target(spec.target, name)(schema.model_validate(options))
    return built


def build(registry: Registry, name: str, size: int = 8, classes: int = 10, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    return classifier(registry, name, **options).build(classes, (3, size, size))


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("name", "options", "count"),
    [
        ("resnet32", {}, 464_154),
        ("resnet32", {"shortcut": "B"}, 466_906),
        ("resnet32", {"depth": 20}, 269_722),
        ("resnet32", {"depth": 110}, 1_727_962),
        ("cnn", {}, 94_762),
        ("mlp", {}, 1_841_162),
        ("mlp", {"hidden_widths": ()}, 30_730),
        ("mlp", {"hidden_widths": (64,)}, 3072 * 64 + 64 + 650),
    ],
)
def test_parameter_counts_at_32_pixels_and_ten_classes(
    registry: Registry, name: str, options: dict[str, Any], count: int
) -> None:
    assert parameters(build(registry, name, size=32, **options)) == count


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(3, 8, 8), (3, 32, 32), (3, 9, 13), (3, 4, 4)])
def test_maps_images_to_features_and_logits(
    registry: Registry, name: str, shape: tuple[int, int, int]
) -> None:
    network: Any = classifier(registry, name).build(7, shape).eval()
    images = torch.randn(5, *shape)
    features = network.forward_features(images)
    penultimate = network.forward_head(features, pre_logits=True)
    assert penultimate.shape == (5, {"cnn": 128, "mlp": 512, "resnet32": 64}[name])
    assert penultimate.dtype == torch.float32
    assert network(images).shape == (5, 7)
    assert torch.equal(network(images), network.forward_head(features))
    assert network.forward_head(features).std() > 0


@pytest.mark.parametrize("name", NAMES)
def test_weights_come_from_the_global_generator_alone(registry: Registry, name: str) -> None:
    first, again = build(registry, name).state_dict(), build(registry, name).state_dict()
    torch.manual_seed(1)
    other = classifier(registry, name).build(10, (3, 8, 8)).state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize("name", NAMES)
def test_every_weight_gets_a_gradient(registry: Registry, name: str) -> None:
    network = build(registry, name).train()
    network(torch.randn(6, 3, 8, 8)).square().sum().backward()
    assert all(
        parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in network.parameters()
    )


@pytest.mark.parametrize("name", ["cnn", "mlp"])
def test_dropout_takes_effect_in_training_alone(registry: Registry, name: str) -> None:
    images = torch.randn(16, 3, 8, 8)
    network = build(registry, name, dropout=0.5)
    assert not torch.equal(network(images), network(images))
    network.eval()
    assert torch.equal(network(images), network(images))
    plain = build(registry, name, dropout=0.0).train()
    assert torch.equal(plain(images), plain(images))


def test_option_a_pads_what_was_subsampled_with_zeros(registry: Registry) -> None:
    from genbench_classifiers.resnet32 import ZeroPaddedShortcut

    maps = torch.randn(2, 16, 5, 5)
    short = ZeroPaddedShortcut(16, 32)(maps)
    assert short.shape == (2, 32, 3, 3)
    assert torch.equal(short[:, 8:24], maps[:, :, ::2, ::2])
    assert short[:, :8].count_nonzero() == short[:, 24:].count_nonzero() == 0


def test_depth_counts_weighted_layers(registry: Registry) -> None:
    for depth in (20, 32, 44, 56, 110):
        network = build(registry, "resnet32", depth=depth)
        assert sum(isinstance(module, nn.Conv2d | nn.Linear) for module in network.modules()) == depth


def test_convolutions_start_with_the_variance_of_he_et_al(registry: Registry) -> None:
    network = build(registry, "resnet32", size=32)
    last = [module for module in network.modules() if isinstance(module, nn.Conv2d)][-1]
    assert float(last.weight.detach().var()) == pytest.approx(2 / (9 * 64), rel=0.05)


@pytest.mark.parametrize(
    ("name", "options", "shape", "message"),
    [
        (
            "resnet32",
            {},
            (3, 3, 8),
            r"resnet32 halves the image 2 times: it takes 4x4 pixels or more, found 3x8",
        ),
        (
            "cnn",
            {},
            (3, 3, 3),
            r"cnn with 3 widths halves the image 2 times: it takes 4x4 .*cnn:widths=\[32\]",
        ),
        ("cnn", {"widths": (8, 8, 8, 8, 8)}, (3, 8, 8), r"cnn with 5 widths .*it takes 16x16 .*found 8x8"),
    ],
)
def test_images_that_are_too_small_are_refused_with_the_size_that_works(
    registry: Registry, name: str, options: dict[str, Any], shape: tuple[int, int, int], message: str
) -> None:
    with pytest.raises(UsageError, match=f"(?s){message}"):
        classifier(registry, name, **options).build(10, shape)


def test_one_block_of_the_cnn_takes_one_pixel(registry: Registry) -> None:
    assert build(registry, "cnn", size=1, widths=(32,))(torch.randn(2, 3, 1, 1)).shape == (2, 10)


@pytest.mark.parametrize("name", NAMES)
def test_every_preset_is_valid_and_the_recipe_is_the_one_configured(registry: Registry, name: str) -> None:
    schema: type[ClassifierConfig] = import_target(registry.spec("classifier", name).config, name)
    assert {"smoke", "quick", "paper"} <= schema.presets.keys()
    recipes = {}
    for preset, values in schema.presets.items():
        config = schema.model_validate(values)
        recipes[preset] = classifier(registry, name, **values).recipe()
        assert recipes[preset] == config.recipe
    assert recipes["smoke"].epochs < recipes["quick"].epochs < recipes["paper"].epochs
    assert recipes["paper"].precision == "bf16"


@pytest.mark.parametrize("name", NAMES)
def test_every_option_is_described(registry: Registry, name: str) -> None:
    schema: type[ClassifierConfig] = import_target(registry.spec("classifier", name).config, name)
    assert all(field.description for field in schema.model_fields.values())


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("resnet32", {"depth": 33}),
        ("resnet32", {"shortcut": "C"}),
        ("cnn", {"widths": ()}),
        ("cnn", {"dropout": 1.0}),
        ("mlp", {"hidden_widths": (0,)}),
        ("mlp", {"width": 3}),
    ],
)
def test_values_out_of_bounds_are_refused(registry: Registry, name: str, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        classifier(registry, name, **options)


def test_listing_and_configuring_imports_neither_torch_nor_numpy() -> None:
    code = (
        "import sys, genbench_classifiers.plugin as c, genbench_evaluators.plugin as e;"
        "c.genbench_classifiers(); e.genbench_evaluators();"
        "import genbench_classifiers.configs, genbench_evaluators.configs;"
        "print(sorted({'torch', 'numpy'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
