"""Masks as products: what a query is looking for, times what a pixel shows. Full maps are made only where needed."""

from typing import NamedTuple

import torch
from torch import Tensor


class MaskProducts(NamedTuple):
    """Mask logits Σ_c embed · feature + offset, of l layers, b images, q queries.

    Args:
        embed: [l, b, q, c].
        offset: [l, b, q].
        features: of the pixels, [b, c, h, w].
    """

    embed: Tensor
    offset: Tensor
    features: Tensor

    def float(self) -> "MaskProducts":
        """The same in float32."""
        return MaskProducts(*(part.float() for part in self))

    def full(self, layer: int) -> Tensor:
        """Whole maps of one layer, [b, q, h, w]."""
        maps = torch.baddbmm(self.offset[layer][..., None], self.embed[layer], self.features.flatten(2))
        return maps.unflatten(-1, self.features.shape[2:])

    def of_pairs(self, layer: Tensor, image: Tensor, query: Tensor, per_image: list[int]) -> Tensor:
        """Whole maps [m, h, w] of chosen queries, sorted by image: so many `per_image`.

        Images are taken from pixels × channels, so that their gradient is put together in a CPU's channels-last memory.
        """
        embeds = self.embed[layer, image, query].split(per_image)
        offsets = self.offset[layer, image, query][:, None].split(per_image)
        images = zip(offsets, embeds, self.features.flatten(2).mT, strict=True)
        maps = [torch.addmm(offset, embed, pixels.mT) for offset, embed, pixels in images]
        return torch.cat(maps).unflatten(-1, self.features.shape[2:])
