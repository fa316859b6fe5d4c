"""Mask2Former's pixel decoder: deformable attention over three levels, and a fine map for the masks.

Cheng et al., "Masked-attention Mask Transformer for Universal Image Segmentation", CVPR 2022, section 3.2.3.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rein_core.mask2former.deformable import MultiScaleDeformableAttention, reference_points
from rein_core.mask2former.layers import ConvNorm, FeedForward, xavier
from rein_core.mask2former.positional import sine_positions

_NUM_LEVELS = 3
LEVEL_SCALES = (4.0, 2.0, 1.0, 0.5)
"""From a plain ViT's maps to the four levels, fine to coarse (Wei et al., CVPR 2024, section 4.1)."""


class EncoderLayer(nn.Module):
    """Deformable self-attention and feed-forward, each normalised after its residual."""

    def __init__(self, embed_dims: int, num_heads: int, ffn_channels: int):
        super().__init__()
        self.self_attn = MultiScaleDeformableAttention(embed_dims, num_heads, _NUM_LEVELS)
        self.ffn = FeedForward(embed_dims, ffn_channels)
        self.norms = nn.ModuleList(nn.LayerNorm(embed_dims) for _ in range(2))

    def forward(self, x: Tensor, positions: Tensor, reference: Tensor, shapes: list[tuple[int, int]]) -> Tensor:
        """Features of all levels [b, n, c] → the same."""
        x = self.norms[0](x + self.self_attn(x + positions, x, reference, shapes))
        return self.norms[1](self.ffn(x))


class Encoder(nn.Module):
    """Layers, one after the other."""

    def __init__(self, num_layers: int, embed_dims: int, num_heads: int, ffn_channels: int):
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(embed_dims, num_heads, ffn_channels) for _ in range(num_layers))


class PixelDecoder(nn.Module):
    """Four backbone levels → three levels of memory, coarse to fine, and the mask features.

    Args:
        in_channels: of the backbone's levels, fine to coarse.
        channels: of everything after the input convolutions.
        num_layers, num_heads, ffn_channels: of the encoder.
    """

    def __init__(self, in_channels: list[int], channels: int, num_layers: int, num_heads: int, ffn_channels: int):
        super().__init__()
        self.input_convs = nn.ModuleList(ConvNorm(c, channels, 1, bias=True) for c in in_channels[:0:-1])
        self.level_encoding = nn.Embedding(_NUM_LEVELS, channels)
        self.encoder = Encoder(num_layers, channels, num_heads, ffn_channels)
        self.lateral_convs = nn.ModuleList([ConvNorm(in_channels[0], channels, 1, bias=False)])
        self.output_convs = nn.ModuleList([ConvNorm(channels, channels, 3, bias=False, relu=True)])
        self.mask_feature = nn.Conv2d(channels, channels, 1)
        self._init_weights()

    def _init_weights(self) -> None:
        xavier(self.encoder)
        for module in self.modules():
            if isinstance(module, MultiScaleDeformableAttention):
                module.init_weights()
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, a=1)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, features: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Levels fine to coarse → features [b, c, h, w] of the finest, and memory [b, c, ·, ·] coarse to fine.

        The head applies `mask_feature` to the first, together with the queries' mask embeddings.

        Four levels of one size are a plain ViT's own maps: each is brought to its size here, after its 1×1 convolution.
        Resizing and such a convolution may change places, and there are fewer channels then, and fewer pixels before.
        """
        scales = LEVEL_SCALES if len({level.shape[2:] for level in features}) == 1 else (1.0,) * len(features)
        coarse_to_fine = zip(self.input_convs, features[:0:-1], scales[:0:-1], strict=True)
        projected = [conv(level, scale) for conv, level, scale in coarse_to_fine]
        shapes = [tuple(level.shape[2:]) for level in projected]
        x = torch.cat([level.flatten(2).transpose(1, 2) for level in projected], dim=1)
        positions = self._positions(shapes, x)
        reference = reference_points(shapes, x.device)
        for layer in self.encoder.layers:
            x = layer(x, positions, reference, shapes)
        parts = x.transpose(1, 2).split([h * w for h, w in shapes], dim=-1)
        memory = [part.unflatten(-1, shape) for part, shape in zip(parts, shapes, strict=True)]
        fine = self.lateral_convs[0](features[0], scales[0])
        fine = fine + F.interpolate(memory[-1], size=fine.shape[2:], mode="bilinear", align_corners=False)
        return self.output_convs[0](fine), memory

    def _positions(self, shapes: list[tuple[int, int]], x: Tensor) -> Tensor:
        """Sine encoding plus the level's own vector, [n, c]."""
        levels = [
            sine_positions(*shape, x.shape[-1], x.device).flatten(1).T + vector
            for shape, vector in zip(shapes, self.level_encoding.weight, strict=True)
        ]
        return torch.cat(levels).to(x.dtype)
