"""`timm` and `timm-pretrained`: weights, sizes and preprocessing against timm itself, and the messages."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from timm.data import create_transform

from genbench.errors import DataError, UsageError
from genbench.images import ImageStatistics
from genbench.notation import parse_reference
from genbench.registry import Registry
from genbench.spec import resolve
from genbench.testing.suites import ClassifierConformance
from genbench.training import NormalisedNetwork
from genbench_classifiers.configs.timm import TimmConfig
from genbench_classifiers.configs.timm_pretrained import TimmPretrainedConfig
from genbench_classifiers.timm_adapter import Timm, TimmPretrained

WEIGHTS = "resnet10t.c3_in1k"  # trained at 176, resized bicubically
STATISTICS = ImageStatistics(mean=(0.3, 0.5, 0.6), std=(0.2, 0.25, 0.3))


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A mirror with weights of three models, drawn here: files as the Hub has them."""
    for name in (WEIGHTS, "vit_tiny_patch16_224.augreg_in21k_ft_in1k", "resnet10t"):
        torch.manual_seed(7)
        folder = tmp_path / "mirror" / "timm" / name
        folder.mkdir(parents=True)
        save_file(timm.create_model(name.partition(".")[0]).state_dict(), folder / "model.safetensors")
    monkeypatch.setenv("GENBENCH_HUB_MIRROR", str(tmp_path / "mirror"))
    return tmp_path / "mirror"


class TestTimm(ClassifierConformance):
    component = "timm:resnet10t"


class TestTimmOfFixedSize(ClassifierConformance):
    component = "timm:deit_tiny_patch16_224"
    image_size = 16


@pytest.mark.usefixtures("mirror")
class TestTimmPretrained(ClassifierConformance):
    component = f"timm-pretrained:{WEIGHTS}"


def fresh(model: str, size: int = 32, classes: int = 10, **options: Any) -> Any:
    torch.manual_seed(0)
    built = Timm(TimmConfig(model=model, **options)).build(classes, (3, size, size))
    return built.eval()


def pretrained(model: str = WEIGHTS, size: int = 32, **options: Any) -> Any:
    torch.manual_seed(0)
    config = TimmPretrainedConfig(model=model, **options)
    return TimmPretrained(config).build(10, (3, size, size)).eval()


def smooth_pixels(size: int = 32) -> torch.Tensor:
    """Images without hard edges, whose enlargement stays within 0 to 255: `uint8 [3, 3, size, size]`."""
    coarse = torch.randint(60, 190, (3, 3, 5, 5), generator=torch.Generator().manual_seed(0)).float()
    return torch.nn.functional.interpolate(coarse, size, mode="bilinear", align_corners=True).byte()


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv3_small_050", "convnext_atto", "efficientnet_b0"])
def test_a_fresh_model_is_timms_own(name: str) -> None:
    network = fresh(name)
    torch.manual_seed(0)
    own = timm.create_model(name, num_classes=10).eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(network(images), own(images))
        features = network.forward_head(network.forward_features(images), pre_logits=True)
        assert torch.equal(features, own.forward_head(own.forward_features(images), pre_logits=True))
    assert sum(value.numel() for value in network.parameters()) == sum(
        value.numel() for value in own.parameters()
    )


def test_a_transformer_is_built_for_the_datasets_size() -> None:
    assert fresh("vit_tiny_patch16_224", size=32).model.pos_embed.shape[1] == 1 + 4
    assert fresh("vit_tiny_patch16_224", size=8, input_size_pixels=64).model.pos_embed.shape[1] == 1 + 16


def test_input_size_pixels_resizes_inside_the_network() -> None:
    network = fresh("resnet10t", size=8, input_size_pixels=64)
    assert network.forward_features(torch.randn(1, 3, 8, 8)).shape[2:] == (2, 2)
    assert fresh("resnet10t", size=64).forward_features(torch.randn(1, 3, 64, 64)).shape[2:] == (2, 2)


def test_rates_take_effect() -> None:
    images = torch.randn(8, 3, 32, 32)
    for options in ({"drop_path": 0.9}, {"dropout": 0.9}):
        network = fresh("convnext_atto", **options)
        assert torch.equal(network(images), network(images))
        network.train()
        assert not torch.equal(network(images), network(images))
    still = fresh("convnext_atto", drop_path=0.0, dropout=0.0).train()
    assert torch.equal(still(images), still(images))


@pytest.mark.parametrize(
    ("name", "options", "size", "message"),
    [
        ("resnet23", {}, 32, r"has no model 'resnet23' among its \d+\. Did you mean resnet\d+.*list_models"),
        ("vgg11", {"drop_path": 0.1}, 32, r"timm's vgg11 does not take the option 'drop_path'"),
        ("vgg11", {}, 8, r"vgg11 cannot take images of 8x8 .*these sizes work: 32, .*input_size_pixels=32"),
        ("vit_tiny_patch16_224", {}, 8, r"cannot take images of 8x8 .*these sizes work: 16, 32"),
    ],
)
def test_what_timm_cannot_do_is_refused_with_what_it_can(
    name: str, options: dict[str, Any], size: int, message: str
) -> None:
    with pytest.raises(UsageError, match=f"(?s){message}"):
        fresh(name, size=size, **options)


def test_the_size_that_the_message_names_does_work() -> None:
    assert fresh("vgg11", size=8, input_size_pixels=32)(torch.randn(1, 3, 8, 8)).shape == (1, 10)


@pytest.mark.usefixtures("mirror")
def test_unknown_weights_are_refused_with_those_that_exist() -> None:
    with pytest.raises(UsageError, match=r"no weights 'resnet10t\.nope'. Known: resnet10t\.c3_in1k"):
        pretrained("resnet10t.nope")


@pytest.mark.usefixtures("mirror")
@pytest.mark.parametrize("model", [WEIGHTS, "vit_tiny_patch16_224.augreg_in21k_ft_in1k", "resnet10t"])
def test_published_weights_are_loaded_and_the_last_layer_is_fresh(model: str) -> None:
    network = pretrained(model)
    torch.manual_seed(7)
    published = timm.create_model(model.partition(".")[0]).state_dict()
    own = network.model.state_dict()
    same = {name for name in own if own[name].shape == published[name].shape}
    assert all(torch.equal(own[name], published[name]) for name in same)
    assert {name.partition(".")[0] for name in own.keys() - same} == {
        network.model.pretrained_cfg["classifier"]
    }


@pytest.mark.usefixtures("mirror")
def test_pixels_reach_the_model_as_timm_itself_prepares_them() -> None:
    """The harness normalises with what the weights expect; the adapter resizes."""
    classifier = TimmPretrained(TimmPretrainedConfig(model=WEIGHTS))
    own = classifier.normalisation()
    assert own is not None
    network: Any = classifier.build(10, (3, 24, 24))
    pixels = smooth_pixels()
    prepared = network.prepare(NormalisedNetwork(network, ImageStatistics(*own)).normalise(pixels))
    config = timm.data.resolve_model_data_config(network.model)
    transform = create_transform(**{**config, "crop_pct": 1.0}, is_training=False)
    expected = torch.stack(
        [transform(Image.fromarray(image.permute(1, 2, 0).numpy().astype(np.uint8))) for image in pixels]
    )
    assert prepared.shape == expected.shape == (3, 3, 176, 176)
    level = 1 / 255 / min(config["std"])  # PIL rounds to whole levels twice: after columns, and after rows
    assert float((prepared - expected).abs().max()) < 1.2 * level
    assert float((prepared - expected).abs().mean()) < 0.4 * level


@pytest.mark.slow(reason="trains networks of timm")
@pytest.mark.usefixtures("mirror")
def test_normalisation_can_be_that_of_the_train_images(run_cells: Callable[..., Any]) -> None:
    assert TimmPretrained(TimmPretrainedConfig(model=WEIGHTS, normalisation="train")).normalisation() is None
    assert Timm(TimmConfig()).normalisation() is None
    classifiers = [f"timm-pretrained:{WEIGHTS},normalisation={which}" for which in ("weights", "train")]
    _, outcome = run_cells(classifiers=classifiers)
    assert not outcome.failed
    losses = {record.result.metric("log_loss").value for record in outcome.records}
    assert len(losses) == len(outcome.records)  # the option reached training and prediction


def test_missing_weights_say_what_was_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"cannot find model 'timm/resnet10t.c3_in1k'. Tried: no mirror"):
        TimmPretrainedConfig(model=WEIGHTS).source_files()
    with pytest.raises(
        DataError, match=r"'resnet10t' names an architecture: say which .*\n.*list_pretrained"
    ):
        TimmPretrainedConfig(model="resnet10t").source_files()


def test_weights_of_another_model_are_refused(mirror: Path) -> None:
    os.replace(
        mirror / "timm" / "vit_tiny_patch16_224.augreg_in21k_ft_in1k" / "model.safetensors",
        mirror / "timm" / WEIGHTS / "model.safetensors",
    )
    with pytest.raises(DataError, match=r"model.safetensors does not hold weights of resnet10t"):
        pretrained()


def test_the_weights_are_part_of_the_identity_and_declared(registry: Registry, mirror: Path) -> None:
    def settle() -> Any:
        digest = lambda path: str(path.stat().st_size)  # noqa: E731 - a stand-in for a file's digest
        return resolve(registry, "classifier", parse_reference(f"timm-pretrained:{WEIGHTS}"), "quick", digest)

    before = settle()
    assert before.external_data == ("pretrained weights from timm",)
    with (mirror / "timm" / WEIGHTS / "model.safetensors").open("ab") as file:
        file.write(b" ")
    assert settle().identity != before.identity
    fresh = resolve(registry, "classifier", parse_reference("timm:resnet10t"), "quick", lambda path: "")
    assert fresh.external_data == ()


@pytest.mark.slow(reason="trains networks of timm")
@pytest.mark.usefixtures("mirror")
def test_cells_are_trained_and_predicted_with_both(run_cells: Callable[..., Any]) -> None:
    classifiers = [
        f"{name},recipe.epochs=10,recipe.learning_rate=1e-3"
        for name in ("timm:resnet10t", f"timm-pretrained:{WEIGHTS}")
    ]
    _, outcome = run_cells(classifiers=classifiers)
    assert not outcome.failed
    scores = {record.result.classifier.use: record.result.metric("top1") for record in outcome.records}
    assert scores.keys() == {"timm", "timm-pretrained"}
    assert all(metric is not None and metric.value > 100 / 3 for metric in scores.values())
