"""`vit`: a vision transformer for small images (Dosovitskiy et al., arXiv:2010.11929), in the sizes of S1.

Width 256, MLP 512, heads of 64, class token, learned positions, pre-norm blocks and a final norm (Eq. 1 to
4); depth = heads = 2, 4, 8 or 16. On 32x32 images of ten classes in patches of 4: 823,658, 2,138,474,
6,340,970 and 21,037,418 parameters. Departures from the paper, all as in S1, which is
DALISA-2025/CS7643-final-project: patches are normalised before and after their projection; queries, keys and
values have no bias; heads are 64 wide whatever their number, so that attention's inner width is 64 x heads.
The norm before the projection takes brightness and contrast out of every patch: little is left of patches
smaller than 4x4, and less of grey ones.
"""

import torch
import torch.nn.functional as F
from torch import nn

from genbench_classifiers._shared import BuiltIn, Network
from genbench_classifiers.configs.vit import VitConfig

_DEPTHS = {"tiny": 2, "small": 4, "medium": 8, "large": 16}
_WIDTH, _HEAD_WIDTH, _MLP_WIDTH = 256, 64, 512


class Vit(BuiltIn):
    """Builds a vision transformer of the configured size."""

    config: VitConfig

    def fresh(self, num_classes: int, image_shape: tuple[int, int, int]) -> nn.Module:
        """Return a network with 256 penultimate features.

        Raises:
            UsageError: No patch divides the image, or the configured one does not.
        """
        config = self.config
        config.check_images(image_shape)
        network = VitNetwork(
            image_shape, config.patch_of(image_shape), _DEPTHS[config.size], num_classes, config.dropout
        )
        network.embedding_dropout.p = config.embedding_dropout
        nn.init.normal_(network.class_token, std=config.token_std)
        nn.init.normal_(network.positions, std=config.token_std)
        return network


class VitNetwork(Network):
    """The network. Class token and positions are zero until they are drawn.

    Args:
        image_shape: Channels, height and width.
        patch: Side of a patch, which divides height and width.
        depth: Blocks, and heads in each.
        num_classes: Logits.
        dropout: Share dropped in attention and MLP.
    """

    def __init__(
        self, image_shape: tuple[int, int, int], patch: int, depth: int, num_classes: int, dropout: float
    ) -> None:
        super().__init__()
        channels, height, width = image_shape
        inputs = channels * patch**2
        self._patch = patch
        self.embed = nn.Sequential(nn.LayerNorm(inputs), nn.Linear(inputs, _WIDTH), nn.LayerNorm(_WIDTH))
        self.class_token = nn.Parameter(torch.zeros(_WIDTH))
        self.positions = nn.Parameter(torch.zeros(1 + height * width // patch**2, _WIDTH))
        self.embedding_dropout = nn.Dropout(0.0)
        self.blocks = nn.Sequential(*(Block(depth, dropout) for _ in range(depth)))
        self.norm = nn.LayerNorm(_WIDTH)
        self.head = nn.Linear(_WIDTH, num_classes)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """Map images `float [n, C, H, W]` to tokens `float [n, 1 + patches, 256]`, the class token first."""
        patches = F.pixel_unshuffle(x, self._patch).flatten(2).transpose(1, 2)
        tokens = self.embed(patches)
        tokens = torch.cat([self.class_token.expand(len(x), 1, -1), tokens], dim=1) + self.positions  # Eq. 1
        encoded: torch.Tensor = self.norm(self.blocks(self.embedding_dropout(tokens)))
        return encoded

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """Map tokens to logits, or with `pre_logits` to the class token `float [n, 256]` (Eq. 4)."""
        features = x[:, 0]
        if pre_logits:
            return features
        logits: torch.Tensor = self.head(features)
        return logits


class Block(nn.Module):
    """Self-attention and MLP, each normalised before and added to its input (Eq. 2 and 3)."""

    def __init__(self, heads: int, dropout: float) -> None:
        super().__init__()
        self._heads, self._dropout = heads, dropout
        inner = heads * _HEAD_WIDTH
        self.norm = nn.LayerNorm(_WIDTH)
        self.queries_keys_values = nn.Linear(_WIDTH, 3 * inner, bias=False)
        self.project = nn.Sequential(nn.Linear(inner, _WIDTH), nn.Dropout(dropout))
        self.mlp = nn.Sequential(
            nn.LayerNorm(_WIDTH),
            nn.Linear(_WIDTH, _MLP_WIDTH),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(_MLP_WIDTH, _WIDTH),
            nn.Dropout(dropout),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map tokens `float [n, t, 256]` to tokens."""
        x = x + self._attend(self.norm(x))
        mixed: torch.Tensor = x + self.mlp(x)
        return mixed

    def _attend(self, x: torch.Tensor) -> torch.Tensor:
        split = self.queries_keys_values(x).unflatten(2, (3, self._heads, _HEAD_WIDTH))
        queries, keys, values = split.permute(2, 0, 3, 1, 4)
        found = F.scaled_dot_product_attention(
            queries, keys, values, dropout_p=self._dropout if self.training else 0.0
        )
        attended: torch.Tensor = self.project(found.transpose(1, 2).flatten(2))
        return attended
