"""The network of `ddpm`: diffusers' `UNet2DModel` with a class embedding, and image sizes that fit it.

With `patch_pixels` p it sees p x p pixels as one position of 3 p^2 channels (Luhman and Luhman,
arXiv:2207.04316): at p = 2 a convolution of the same width takes a quarter of the time.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from genbench.errors import UsageError
from genbench_generators.configs.ddpm import DdpmConfig


class PatchedUnet(nn.Module):
    """A U-Net of patches, called as `UNet2DModel` is: `float32 [n, 3, H, W]` in and out.

    Args:
        unet: Takes and returns `[n, 3 p^2, H / p, W / p]`.
        patch_pixels: The patches' side p, which divides H and W.
    """

    def __init__(self, unet: nn.Module, patch_pixels: int) -> None:
        super().__init__()
        self.unet = unet
        self.patch_pixels = patch_pixels

    def forward(
        self, sample: torch.Tensor, timestep: torch.Tensor, class_labels: torch.Tensor, return_dict: bool
    ) -> tuple[torch.Tensor]:
        """Return the prediction as a tuple of one; `return_dict` is False, as everywhere in `ddpm`."""
        patches = F.pixel_unshuffle(sample, self.patch_pixels)
        patches = patches.contiguous(memory_format=torch.channels_last)
        predicted = self.unet(patches, timestep, class_labels, return_dict=return_dict)[0]
        return (F.pixel_shuffle(predicted, self.patch_pixels),)


def unet_options(config: DdpmConfig, num_classes: int) -> dict[str, Any]:
    """Return the arguments of `UNet2DModel`: JSON data. Class number `num_classes` means: no class."""
    channels = 3 * config.patch_pixels**2
    levels = range(len(config.channel_multipliers))
    with_attention = [level in config.attention_levels for level in levels]
    return {
        "in_channels": channels,
        "out_channels": channels,
        "block_out_channels": [config.channels * multiplier for multiplier in config.channel_multipliers],
        "down_block_types": ["AttnDownBlock2D" if found else "DownBlock2D" for found in with_attention],
        "up_block_types": ["AttnUpBlock2D" if found else "UpBlock2D" for found in reversed(with_attention)],
        "layers_per_block": config.blocks_per_level,
        "norm_num_groups": config.norm_groups,
        "attention_head_dim": None,  # one head, as in DDPM
        "dropout": config.dropout,
        "num_class_embeds": num_classes + 1,
    }


def build_unet(options: Mapping[str, Any], device: str) -> nn.Module:
    """Build the network on a device, in NHWC layout; weights come from torch's global generator."""
    from diffusers.models.unets.unet_2d import UNet2DModel

    network: nn.Module = UNet2DModel(**options)
    patch = math.isqrt(options["in_channels"] // 3)
    if patch > 1:
        network = PatchedUnet(network, patch)
    return network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def check_image_size(config: DdpmConfig, image_shape: tuple[int, int, int]) -> None:
    """Refuse images that the levels would halve to nothing.

    Raises:
        UsageError: The message says which sizes work, and how many levels do.
    """
    smallest, side = _unit(config), min(image_shape[1:])
    if side < smallest:
        patch = config.patch_pixels if config.patch_pixels <= side else 1
        multipliers = list(config.channel_multipliers[: (side // patch).bit_length()])
        of_patches = f" of patches of {config.patch_pixels} pixels" if config.patch_pixels > 1 else ""
        smaller = f"patch_pixels={patch} and " if patch < config.patch_pixels else ""
        raise UsageError(
            f"ddpm: channel_multipliers has {len(config.channel_multipliers)} levels{of_patches}, which need "
            f"images of at least {smallest}x{smallest} pixels, found {image_shape[1]}x{image_shape[2]}",
            hint=f"choose {smaller}channel_multipliers={multipliers}, with attention_levels below "
            f"{len(multipliers)}",
        )


def padded_size(config: DdpmConfig, height: int, width: int) -> tuple[int, int]:
    """Return the next sizes that are whole patches, and that every level can halve."""
    unit = _unit(config)
    return -(-height // unit) * unit, -(-width // unit) * unit


def pad(x: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Repeat the right and bottom border up to a size: `float32 [n, 3, H, W]`."""
    if x.shape[-2:] == (height, width):
        return x
    return F.pad(x, (0, width - x.shape[-1], 0, height - x.shape[-2]), mode="replicate")


def _unit(config: DdpmConfig) -> int:
    return int(config.patch_pixels * 2 ** (len(config.channel_multipliers) - 1))
