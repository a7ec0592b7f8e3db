"""What pipelines and their fine-tuning both need: optional imports, and images of the working size."""

import importlib
from typing import Any

import numpy as np
import torch

from genbench.errors import UsageError
from genbench_generators.configs._pipelines import PipelineConfig


def required(module: str) -> Any:
    """Import an optional dependency.

    Raises:
        UsageError: It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as problem:
        raise UsageError(
            f"Stable Diffusion pipelines need {module}, which cannot be imported: {problem}",
            hint="pip install 'genbench[diffusion-hub]'",
        ) from problem


def working_size(config: PipelineConfig, image_shape: tuple[int, int, int]) -> tuple[int, int]:
    """Return height and width at which the pipeline works: the shape's proportions, in multiples of 8."""
    _, height, width = image_shape
    scale = config.working_size_pixels / min(height, width)
    return tuple(max(8, 8 * round(side * scale / 8)) for side in (height, width))  # type: ignore[return-value]


def resized(images: torch.Tensor, size: tuple[int, ...], method: str) -> torch.Tensor:
    """Scale images with Pillow: `uint8 [n, 3, H, W]` to `uint8 [n, 3, *size]`; antialiased, but `nearest`.

    Images that have the size already keep every pixel.
    """
    from PIL import Image

    if tuple(images.shape[2:]) == tuple(size):
        return images
    resample = Image.Resampling[method.upper()]
    scaled = [
        np.asarray(Image.fromarray(image).resize((size[1], size[0]), resample))
        for image in images.permute(0, 2, 3, 1).contiguous().numpy()
    ]
    return torch.from_numpy(np.stack(scaled)).permute(0, 3, 1, 2).contiguous()
