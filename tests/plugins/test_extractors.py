"""Extractors: pixels, the reference network, and InceptionV3 where its weights are present."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from genbench.digest import file_digest
from genbench.errors import DataError
from genbench.images import TensorImages
from genbench.notation import parse_reference
from genbench.registry import Registry
from genbench.spec import resolve
from genbench.steps.extractors import embed

MakeImages = Callable[..., TensorImages]


def test_pixels_are_the_pixels(make_images: MakeImages) -> None:
    images = make_images(10)
    features = embed("pixels", images, None, "cpu")
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, images.all().flatten(1).numpy() / 255, rtol=1e-6)


def test_inception_is_read_from_the_mirror_and_enters_the_identity(
    registry: Registry, make_images: MakeImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random weights in the real layout: what is tested is the loading, and that pool3 has 2,048 numbers.

    With the auxiliary head, as torchvision saves them, and without, as timm does: the features are the same.
    """
    from torchvision.models import inception_v3

    folder = tmp_path / "mirror" / "timm" / "inception_v3.tv_in1k"
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    weights = inception_v3(weights=None, init_weights=False).state_dict()
    save_file({name: value.contiguous() for name, value in weights.items()}, folder / "model.safetensors")
    monkeypatch.setenv("GENBENCH_HUB_MIRROR", str(tmp_path / "mirror"))
    reference = parse_reference("fid:extractor=inception")
    assert resolve(registry, "evaluator", reference, "quick", file_digest).fingerprint
    features = embed("inception", make_images(2), None, "cpu")
    assert features.shape == (2, 2048)
    assert features.std() > 0
    short = {name: value for name, value in weights.items() if not name.startswith("AuxLogits.")}
    assert len(weights) - len(short) == 14
    save_file({name: value.contiguous() for name, value in short.items()}, folder / "model.safetensors")
    np.testing.assert_array_equal(embed("inception", make_images(2), None, "cpu"), features)
    del short["fc.weight"]
    save_file({name: value.contiguous() for name, value in short.items()}, folder / "model.safetensors")
    with pytest.raises(DataError, match="extractor 'inception': its weights fit another network"):
        embed("inception", make_images(2), None, "cpu")


def test_without_weights_the_message_says_where_they_belong(registry: Registry) -> None:
    with pytest.raises(DataError, match=r"cannot find model 'timm/inception_v3.tv_in1k'[\s\S]*FOLDER/timm"):
        resolve(registry, "evaluator", parse_reference("fid:extractor=inception"), "quick", file_digest)


def test_squeezenet_is_torchvisions_last_map_averaged(hub_mirror: Path, make_images: MakeImages) -> None:
    from safetensors.torch import load_file
    from torchvision.models import squeezenet1_0
    from torchvision.transforms import v2

    images = make_images(3, size=32)
    network = squeezenet1_0(weights=None)
    network.load_state_dict(load_file(hub_mirror / "torchvision" / "squeezenet1_0" / "model.safetensors"))
    prepare = v2.Compose(
        [v2.ToDtype(torch.float32, scale=True), v2.Resize((224, 224), antialias=True),
         v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))]
    )  # fmt: skip
    with torch.inference_mode():
        expected = network.eval().features(prepare(images.all())).mean(dim=(2, 3)).numpy()
    features = embed("squeezenet", images, None, "cpu")
    assert features.shape == (3, 512)
    np.testing.assert_allclose(features, expected, rtol=1e-3, atol=1e-4)


@pytest.fixture
def timm_mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A mirror with a tiny timm model of random weights, in the Hub's layout."""
    import timm

    folder = tmp_path / "mirror" / "timm" / "test_resnet"
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    weights = timm.create_model("test_resnet", pretrained=False).state_dict()
    save_file({name: value.contiguous() for name, value in weights.items()}, folder / "model.safetensors")
    monkeypatch.setenv("GENBENCH_HUB_MIRROR", str(tmp_path / "mirror"))
    return folder


def test_any_timm_model_extracts_as_its_own_configuration_says(
    timm_mirror: Path, make_images: MakeImages
) -> None:
    import timm
    from PIL import Image
    from safetensors.torch import load_file
    from timm.data import create_transform, resolve_model_data_config

    images = make_images(3, size=32)
    network = timm.create_model("test_resnet", pretrained=False)
    network.load_state_dict(load_file(timm_mirror / "model.safetensors"))
    network.reset_classifier(0)
    facts = resolve_model_data_config(network)
    prepare = create_transform(**{**facts, "crop_pct": 1.0}, is_training=False)
    pictures = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images.all()]
    with torch.inference_mode():
        expected = network.eval()(torch.stack([prepare(picture) for picture in pictures])).numpy()
    features = embed("timm:test_resnet", images, None, "cpu")
    assert features.shape == expected.shape
    cosine = (
        (features * expected).sum(1) / np.linalg.norm(features, axis=1) / np.linalg.norm(expected, axis=1)
    )
    assert cosine.min() > 0.999  # Pillow and torch interpolate alike but for rounding


def test_weights_of_another_network_are_refused(timm_mirror: Path, make_images: MakeImages) -> None:
    import timm

    weights = timm.create_model("test_vit", pretrained=False).state_dict()
    save_file(
        {name: value.contiguous() for name, value in weights.items()}, timm_mirror / "model.safetensors"
    )
    with pytest.raises(DataError, match="extractor 'timm:test_resnet': its weights fit another network"):
        embed("timm:test_resnet", make_images(3), None, "cpu")


def test_unknown_extractors_are_refused_when_the_plan_is_made(registry: Registry) -> None:
    from genbench.errors import UsageError

    with pytest.raises(UsageError, match="extractor"):
        resolve(registry, "evaluator", parse_reference("fid:extractor=vgg"), "quick", file_digest)
