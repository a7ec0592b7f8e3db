"""LoRA on the network of Stable Diffusion 1.5, counted by hand; no weights are needed for that."""

import diffusers
import torch

from genbench_generators import _lora
from genbench_generators.configs.sd_text2img import SdText2ImgConfig

TEXT = 768  # width of what the network sees of a text
BLOCKS = {320: 5, 640: 5, 1280: 6}  # attention blocks by channels


def test_the_adapter_has_as_many_numbers_as_its_projections_ask_for() -> None:
    """Each block has eight projections of C channels; its second keys and values start from text."""
    rank = 4
    with torch.device("meta"):
        unet = diffusers.UNet2DConditionModel(cross_attention_dim=TEXT, attention_head_dim=8)
        assert sum(value.numel() for value in unet.parameters()) == 859_520_964
        _lora._add_adapter(unet, SdText2ImgConfig(lora_rank=rank))
    trained = sum(value.numel() for value in unet.parameters() if value.requires_grad)
    assert (
        trained == sum(count * rank * (6 * 2 * c + 2 * (TEXT + c)) for c, count in BLOCKS.items()) == 797_184
    )
