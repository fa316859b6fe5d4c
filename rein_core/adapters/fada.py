"""FADA: Rein's tokens for low and for high frequencies apart, so that style is told from content.

Bi et al., "Learning Frequency-Adapted Vision Foundation Model for Domain Generalized Semantic Segmentation",
NeurIPS 2024.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rein_core.adapter import Adapter
from rein_core.rein import Rein


class Fada(Adapter):
    """f + H⁻¹(Δ_low(LL), Δ_high(IN(LH)), Δ_high(IN(HL)), Δ_high(IN(HH))), with H the Haar transform of the feature map.

    LL is the scene's content, and is refined as Rein refines f. The other three bands hold the style: instance
    normalisation takes each image's own mean and variance out of every channel before the tokens see them. Queries come
    from the low tokens. That the three high bands share one set of tokens and MLPs is our reading of the paper's
    figure 2, and keeps the adapter at twice Rein's size.

    Args:
        num_layers, embed_dims, token_length, rank, query_dims, patch_size, link_queries, scale_init: as in `Rein`.
    """

    def __init__(
        self,
        num_layers: int,
        embed_dims: int,
        token_length: int = 100,
        rank: int | None = 16,
        query_dims: int = 256,
        patch_size: int = 16,
        link_queries: bool = True,
        scale_init: float = 0.001,
    ):
        super().__init__()
        shared = {"token_length": token_length, "rank": rank, "patch_size": patch_size, "scale_init": scale_init}
        self.low = Rein(num_layers, embed_dims, query_dims=query_dims, link_queries=link_queries, **shared)
        self.high = Rein(num_layers, embed_dims, link_queries=False, **shared)
        self.grid = (0, 0)

    def attach(self, vfm: nn.Module) -> None:
        """Notes how many patches high and wide each batch is; frequencies are of the map, not of the sequence."""
        if not hasattr(vfm, "patch_embed"):
            raise ValueError(f"model.adapter: fada needs a ViT, not a {type(vfm).__name__}")
        vfm.patch_embed.register_forward_pre_hook(self._note_grid)

    def _note_grid(self, embed: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        height, width = inputs[0].shape[2:]
        self.grid = (height // embed.patch_size[0], width // embed.patch_size[1])

    def refine(self, feat_bnc: Tensor, layer: int) -> Tensor:
        """Refined patch features of one block, [b, n, c]."""
        bands_kbnc = haar(feat_bnc, self.grid)
        low = self.low.delta(bands_kbnc[0], layer)
        high = self.high.delta(instance_norm(bands_kbnc[1:], self.grid).flatten(0, 1), layer)
        deltas = torch.cat([low[None], high.unflatten(0, (3, -1))])
        return feat_bnc + inverse_haar(deltas, self.grid)

    @contextmanager
    def folded(self) -> Iterator[None]:
        """As `Rein.folded`."""
        with self.low.folded(), self.high.folded():
            yield

    def queries(self) -> Tensor | None:
        """As `Rein.queries`."""
        return self.low.queries()


def haar(feat_bnc: Tensor, grid: tuple[int, int]) -> Tensor:
    """One level of the orthonormal Haar transform of maps [b, h·w, c] → bands LL, LH, HL, HH [4, b, ⌈h/2⌉·⌈w/2⌉, c].

    An odd last row or column counts twice.
    """
    maps_bhwc = feat_bnc.unflatten(1, grid)
    for dim in (1, 2):
        if maps_bhwc.shape[dim] % 2:
            maps_bhwc = torch.cat([maps_bhwc, maps_bhwc.narrow(dim, -1, 1)], dim=dim)
    cells = maps_bhwc.unflatten(2, (-1, 2)).unflatten(1, (-1, 2))
    return _butterfly(*(cells[:, :, y, :, x].flatten(1, 2) for y in range(2) for x in range(2)))


def inverse_haar(bands_kbnc: Tensor, grid: tuple[int, int]) -> Tensor:
    """Bands LL, LH, HL, HH → maps [b, h·w, c]."""
    height, width = (-(-side // 2) for side in grid)
    pixels_kbhwc = _butterfly(*bands_kbnc).unflatten(2, (height, width))
    cells = pixels_kbhwc.unflatten(0, (2, 2)).permute(2, 3, 0, 4, 1, 5)
    maps_bhwc = cells.flatten(3, 4).flatten(1, 2)
    return maps_bhwc[:, : grid[0], : grid[1]].flatten(1, 2)


def _butterfly(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """Half of all sums and differences of four; its own inverse."""
    return torch.stack([a + b + c + d, a - b + c - d, a + b - c - d, a - b - c + d]) / 2


def instance_norm(bands_kbnc: Tensor, grid: tuple[int, int]) -> Tensor:
    """Zero mean and unit variance over the places of each band, image and channel.

    Of maps and not of sequences: what autograd keeps then has the grid's shape, so that torch refuses to recompute a
    block after a forward pass with another grid.
    """
    half = [-(-side // 2) for side in grid]
    maps = bands_kbnc.flatten(0, 1).transpose(1, 2).unflatten(2, half)
    return F.instance_norm(maps).flatten(2).transpose(1, 2).unflatten(0, bands_kbnc.shape[:2])
