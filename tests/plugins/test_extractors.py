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
from genbench.registry import Registry
from genbench.spec import parse_reference, resolve
from genbench.steps.network import write_embedding

MakeImages = Callable[..., TensorImages]


def test_pixels_are_the_pixels(make_images: MakeImages, tmp_path: Path) -> None:
    images = make_images(10)
    write_embedding("pixels", images, None, "cpu", tmp_path)
    features = np.load(tmp_path / "features.npy")
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, images.all().flatten(1).numpy() / 255, rtol=1e-6)


def test_inception_is_read_from_the_mirror_and_enters_the_identity(
    registry: Registry, make_images: MakeImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random weights in the real layout: what is tested is the loading, and that pool3 has 2,048 numbers."""
    from torchvision.models import inception_v3

    folder = tmp_path / "mirror" / "torchvision" / "inception_v3"
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    weights = inception_v3(weights=None, init_weights=False).state_dict()
    save_file({name: value.contiguous() for name, value in weights.items()}, folder / "model.safetensors")
    monkeypatch.setenv("GENBENCH_HUB_MIRROR", str(tmp_path / "mirror"))
    reference = parse_reference("fid:extractor=inception")
    assert resolve(registry, "evaluator", reference, "quick", file_digest).fingerprint
    write_embedding("inception", make_images(4), None, "cpu", tmp_path)
    features = np.load(tmp_path / "features.npy")
    assert features.shape == (4, 2048)
    assert features.std() > 0


def test_without_weights_the_message_says_where_they_belong(registry: Registry) -> None:
    with pytest.raises(
        DataError, match=r"cannot find model 'torchvision/inception_v3'[\s\S]*FOLDER/torchvision"
    ):
        resolve(registry, "evaluator", parse_reference("fid:extractor=inception"), "quick", file_digest)
