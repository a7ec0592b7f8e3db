"""The built-in classifiers: sizes, parameter counts, and that every option takes effect."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from genbench.errors import UsageError
from genbench.protocols import Classifier, ClassifierConfig
from genbench.registry import Registry, import_target
from genbench.testing.suites import ClassifierConformance

NAMES = ("cnn", "mlp", "resnet32")


class TestMlp(ClassifierConformance):
    component = "mlp"


class TestCnn(ClassifierConformance):
    component = "cnn"


class TestCnnOfS3(ClassifierConformance):
    component = "cnn:architecture=s3"
    image_size = 16


class TestCnnOfS4(ClassifierConformance):
    component = "cnn:architecture=s4"
    image_size = 22


class TestResNet32(ClassifierConformance):
    component = "resnet32"


class TestResNetOfDepth56(ClassifierConformance):
    component = "resnet32:depth=56,shortcut=B"


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
        ("resnet32", {"depth": 44}, 658_586),
        ("resnet32", {"depth": 56}, 853_018),
        ("resnet32", {"depth": 110}, 1_727_962),
        ("cnn", {}, 94_762),
        ("cnn", {"architecture": "s3"}, 62_006),
        ("mlp", {}, 1_841_162),
        ("mlp", {"hidden_widths": ()}, 30_730),
        ("mlp", {"hidden_widths": (64,)}, 3072 * 64 + 64 + 650),
    ],
)
def test_parameter_counts_at_32_pixels_and_ten_classes(
    registry: Registry, name: str, options: dict[str, Any], count: int
) -> None:
    assert parameters(build(registry, name, size=32, **options)) == count


def test_resnets_have_the_millions_of_parameters_of_table_6_of_he_et_al() -> None:
    from genbench_classifiers.resnet32 import ResNetNetwork

    reported = {20: 0.27, 32: 0.46, 44: 0.66, 56: 0.85, 110: 1.7}
    for depth, millions in reported.items():
        digits = 1 if depth == 110 else 2
        assert round(parameters(ResNetNetwork(3, depth, "A", 10)) / 1e6, digits) == millions


@pytest.mark.parametrize(("outputs", "count"), [(1, 3_304_769), (2, 3_304_898), (3, 3_305_027)])
def test_s4_has_the_parameter_count_that_keras_printed(outputs: int, count: int) -> None:
    from genbench_classifiers._plain_cnns import s4_cnn

    network = s4_cnn((3, 128, 128), outputs)
    assert parameters(network) == count
    assert network.layers(torch.zeros(1, 3, 128, 128)).shape == (1, 128)
    first_dense = next(module for module in network.modules() if isinstance(module, nn.Linear))
    assert first_dense.in_features == 25_088


def test_two_classes_of_s4_are_one_sigmoid_unit(registry: Registry) -> None:
    """Cross-entropy of its two logits is the binary cross-entropy of its one output."""
    two = build(registry, "cnn", size=22, classes=2, architecture="s4").eval()
    assert parameters(build(registry, "cnn", size=128, classes=2, architecture="s4")) == 3_304_769
    assert parameters(build(registry, "cnn", size=128, classes=3, architecture="s4")) == 3_305_027
    logits = two(torch.randn(6, 3, 22, 22)).detach()
    labels = torch.tensor([0, 1, 1, 0, 1, 0])
    assert logits.shape == (6, 2)
    expected = nn.functional.binary_cross_entropy_with_logits(logits[:, 1], labels.float())
    assert float(nn.functional.cross_entropy(logits, labels)) == pytest.approx(float(expected), abs=1e-6)


def test_s4_drops_and_starts_as_keras_does(registry: Registry) -> None:
    network = build(registry, "cnn", size=32, architecture="s4")
    shares = [module.p for module in network.modules() if isinstance(module, nn.Dropout)]
    assert shares == [0.25, 0.25, 0.25, 0.5]
    convolution = [module for module in network.modules() if isinstance(module, nn.Conv2d)][-1]
    assert float(convolution.weight.detach().abs().max()) <= (6 / (9 * 64 + 9 * 128)) ** 0.5  # Eq. 16
    assert float(convolution.weight.detach().var()) == pytest.approx(2 / (9 * 64 + 9 * 128), rel=0.05)
    assert all(
        not module.bias.any() for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)
    )


@pytest.mark.parametrize(
    ("name", "preset", "recipe"),
    [
        ("mlp", "source-s2", {"learning_rate": 1e-4, "epochs": 40, "batch_size_images": 32}),
        ("cnn", "source-s3", {"epochs": 40, "batch_size_images": 32, "weight_decay": 0}),
        ("cnn", "source-s4", {"optimizer": "adam", "learning_rate": 1e-3, "schedule": "constant"}),
        (
            "resnet32",
            "source-s1",
            {"optimizer": "sgd", "learning_rate": 0.1, "weight_decay": 1e-4, "epochs": 20, "gamma": 0.1},
        ),
    ],
)
def test_source_presets_are_the_sources_recipes(
    registry: Registry, name: str, preset: str, recipe: dict[str, Any]
) -> None:
    schema: type[ClassifierConfig] = import_target(registry.spec("classifier", name).config, name)
    config = schema.model_validate(schema.presets[preset])
    assert {entry: getattr(config.recipe, entry) for entry in recipe} == recipe


def test_s4_takes_900_updates_on_its_601_images(registry: Registry) -> None:
    from genbench.training import total_steps
    from genbench_classifiers.configs.cnn import CnnConfig

    recipe = CnnConfig.model_validate(CnnConfig.presets["source-s4"]).recipe
    assert total_steps(recipe, 601, 601, "steps") == 900


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
        ("cnn", {"architecture": "s3"}, (3, 15, 32), r"s3 has two .*it takes 16x16 .*found 15x32"),
        ("cnn", {"architecture": "s4"}, (3, 21, 22), r"s4 has three .*it takes 22x22 .*found 21x22"),
        ("cnn", {"widths": (8, 8, 8, 8, 8)}, (3, 8, 8), r"cnn with 5 widths .*it takes 16x16 .*found 8x8"),
    ],
)
def test_images_that_are_too_small_are_refused_with_the_size_that_works(
    registry: Registry, name: str, options: dict[str, Any], shape: tuple[int, int, int], message: str
) -> None:
    with pytest.raises(UsageError, match=f"(?s){message}"):
        classifier(registry, name, **options).build(10, shape)


@pytest.mark.parametrize(("architecture", "size"), [("s3", 16), ("s4", 22)])
def test_the_smallest_size_that_is_named_works(registry: Registry, architecture: str, size: int) -> None:
    network = build(registry, "cnn", size=size, architecture=architecture)
    assert network(torch.randn(2, 3, size, size)).shape == (2, 10)


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
        ("cnn", {"architecture": "s5"}),
        ("cnn", {"widths": (8,), "architecture": "s3"}),
        ("cnn", {"dropout": 0.1, "architecture": "s4"}),
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
        "import genbench_classifiers.configs.cnn, genbench_classifiers.configs.timm;"
        "import genbench_evaluators.configs.fid;"
        "print(sorted({'torch', 'numpy', 'timm'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def suite_classifiers(registry: Registry, name: str) -> list[Any]:
    import genbench
    from genbench.spec import resolve
    from genbench.suite import load_suite

    suite = load_suite(Path(genbench.__file__).parent / "suites" / f"{name}.toml")
    assert suite.generators == ()
    return [
        resolve(registry, "classifier", reference, suite.preset, lambda path: "").config
        for reference in suite.classifiers
    ]


def test_the_search_suite_holds_the_sources_rows_and_gives_every_optimizer_the_same_budget(
    registry: Registry,
) -> None:
    configs = suite_classifiers(registry, "s1-resnet32-search")
    recipes = [config.recipe for config in configs]
    assert {config.shortcut for config in configs} == {"B"}
    assert {recipe.batch_size_images for recipe in recipes} == {128}
    equal, own = recipes[:8], recipes[8:]
    assert {recipe.epochs for recipe in equal} == {20}
    tried = {(recipe.optimizer, recipe.learning_rate, recipe.weight_decay) for recipe in equal}
    assert tried == {("sgd", 0.1, 1e-4), ("sgd", 0.1, 5e-4), ("sgd", 0.01, 5e-4), ("adam", 1e-3, 1e-4)}
    for schedule in ("multistep", "cosine"):
        assert sum(recipe.schedule == schedule for recipe in equal) == 4
    rows = [(recipe.optimizer, recipe.learning_rate, recipe.weight_decay, recipe.schedule) for recipe in own]
    assert rows == [
        ("adam", 1e-3, 1e-4, "cosine"),
        ("sgd", 0.1, 5e-4, "multistep"),
        ("sgd", 0.01, 5e-4, "multistep"),
    ]
    assert {recipe.epochs for recipe in own} == {10}
    assert {recipe.milestones for recipe in own[1:]} == {(0.5, 0.8)}  # after epochs 5 and 8
    assert suite_classifiers(registry, "s1-resnet32-baseline")[0] == configs[0]


def test_the_transformer_suite_is_the_sources_second_run(registry: Registry) -> None:
    configs = suite_classifiers(registry, "s1-vit")
    assert [(config.size, config.patch, config.recipe.epochs) for config in configs] == [
        ("tiny", 4, 20), ("small", 4, 20), ("medium", 4, 40), ("large", 4, 60),
    ]  # fmt: skip
    assert {(config.recipe.optimizer, config.recipe.learning_rate) for config in configs} == {("adam", 1e-3)}
