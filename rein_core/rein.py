"""Rein, whole: learnable tokens that refine the feature map of every block and become the queries of the head.

Wei et al., "Stronger, Fewer, & Superior: Harnessing Vision Foundation Models for Domain Generalized Semantic
Segmentation", CVPR 2024, section 3. Shapes: b images, n patches, c channels, m tokens, r rank, l layers.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rein_core.adapter import Adapter
from rein_core.precision import in_float32


class Rein(Adapter):
    """Tokens, shared MLPs and the link to queries.

    Args:
        num_layers: blocks of the VFM.
        embed_dims: channels of its features, c.
        token_length: tokens a layer, m.
        rank: r of the low-rank tokens T = A B (eq. 6 of the paper); None: full tokens.
        query_dims: channels of the head's queries.
        patch_size: of the VFM; sets the range that tokens are drawn from.
        link_queries: whether the tokens also become queries (eq. 5).
        use_softmax: whether the similarity map is scaled by 1/√c and normalised over the tokens (eq. 2).
        share_mlps: whether all layers have the same MLPs (section 3.3), or each its own.
        layers: blocks that are refined, l of them; None: all.
        zero_init: start with Δf = 0: W_f and b_f are zero and the scale is 1.
        scale_init: first value of the scale of Δf, unless `zero_init`.
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
        use_softmax: bool = True,
        share_mlps: bool = True,
        layers: list[int] | None = None,
        zero_init: bool = False,
        scale_init: float = 0.001,
    ):
        super().__init__()
        self.layers = checked_layers(layers, num_layers)
        self.rank, self.use_softmax, self.link_queries, self.share_mlps = rank, use_softmax, link_queries, share_mlps
        if rank is None:
            self.learnable_tokens = nn.Parameter(torch.empty(len(self.layers), token_length, embed_dims))
        else:
            self.learnable_tokens_a = nn.Parameter(torch.empty(len(self.layers), token_length, rank))
            self.learnable_tokens_b = nn.Parameter(torch.empty(len(self.layers), rank, embed_dims))
        self._folded: list[tuple[Tensor, Tensor, Tensor, Tensor]] | None = None
        self.scale = nn.Parameter(torch.tensor(1.0 if zero_init else float(scale_init)))
        self.mlp_token2feat = self._linear(embed_dims, embed_dims)
        self.mlp_delta_f = self._linear(embed_dims, embed_dims)
        if link_queries:
            self.transform = self._linear(embed_dims, query_dims)
            self.merge = nn.Linear(3 * query_dims, query_dims)
        self._init_weights(patch_size, embed_dims, zero_init)

    def _linear(self, in_dims: int, out_dims: int) -> nn.Module:
        if self.share_mlps:
            return nn.Linear(in_dims, out_dims)
        return nn.ModuleList(nn.Linear(in_dims, out_dims) for _ in self.layers)

    def _init_weights(self, patch_size: int, embed_dims: int, zero_init: bool) -> None:
        width = embed_dims if self.rank is None else math.sqrt(embed_dims * self.rank)
        bound = math.sqrt(6 / (3 * patch_size**2 + width))
        for name, parameter in self.named_parameters():
            if name.startswith("learnable_tokens"):
                nn.init.uniform_(parameter, -bound, bound)
            if zero_init and name.startswith("mlp_delta_f"):
                nn.init.zeros_(parameter)

    def tokens(self, layers: slice = slice(None)) -> Tensor:
        """T [l, m, c] of all layers, or of some."""
        if self.rank is None:
            return self.learnable_tokens[layers]
        return self.learnable_tokens_a[layers] @ self.learnable_tokens_b[layers]

    def refine(self, feat_bnc: Tensor, layer: int) -> Tensor:
        """f + scale · Δf for the patch features f of one block (eq. 1); f itself where `layers` leaves it out."""
        return feat_bnc + self.delta(feat_bnc, layer) if layer in self.layers else feat_bnc

    def delta(self, feat_bnc: Tensor, layer: int) -> Tensor:
        """scale · Δf of one of `layers` (eqs. 2 to 4).

        S = softmax(f Tᵀ / √c),  Δf̄ = S[:, 1:] (T[1:] W_T + b_T),  Δf = (Δf̄ + f) W_f + b_f.
        The first token takes what no other should: it has a similarity but adds nothing.
        Computed as Δf = S[:, 1:] ((T[1:] W_T + b_T) W_f) + f W_f + b_f, with the scale in W_f and b_f, so that what is
        as large as f is touched least.
        """
        i = self.layers.index(layer)
        together = self._folded
        keys_cm, values_mc, weight, bias = together[i] if together else self._fold(slice(i, i + 1))[0]
        feat_bnc = feat_bnc.to(values_mc.dtype)  # what autocast would do for each of the products
        similarity_bnm = feat_bnc @ keys_cm
        if self.use_softmax:
            similarity_bnm = similarity_bnm.softmax(dim=-1)
        return similarity_bnm @ values_mc + F.linear(feat_bnc, weight, bias)

    @contextmanager
    def folded(self) -> Iterator[None]:
        """Within it, the products that have no features in them are computed once, for all layers together."""
        self._folded = self._fold(slice(None))
        try:
            yield
        finally:
            self._folded = None

    def _fold(self, layers: slice) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Of each layer Tᵀ / √c [c, m], (T W_T + b_T) W_f [m, c] with zeros for the first token, W_f and b_f."""
        tokens_lmc = self.tokens(layers)
        if self.share_mlps:
            values_lmc, weight, bias = self._values(tokens_lmc, self.mlp_token2feat, self.mlp_delta_f)
            own = [(values_mc, weight, bias) for values_mc in values_lmc.unbind()]
        else:
            mlps = zip(tokens_lmc, self.mlp_token2feat[layers], self.mlp_delta_f[layers], strict=True)
            own = [self._values(*parts) for parts in mlps]
        keys_lcm = tokens_lmc.mT * tokens_lmc.shape[-1] ** -0.5 if self.use_softmax else tokens_lmc.mT
        return [(keys_cm, *parts) for keys_cm, parts in zip(keys_lcm.unbind(), own, strict=True)]

    def _values(self, tokens: Tensor, token2feat: nn.Linear, delta_f: nn.Linear) -> tuple[Tensor, Tensor, Tensor]:
        """What tokens […, m, c] add to features; W_f and b_f with the scale in them."""
        weight, bias = self.scale * delta_f.weight, self.scale * delta_f.bias
        return F.pad(F.linear(token2feat(tokens[..., 1:, :]), weight), (0, 0, 1, 0)), weight, bias

    @in_float32  # else rounding decides which layer is the largest
    def queries(self) -> Tensor | None:
        """Q [m, query_dims] = [max, mean, last over layers of T W_Q + b_Q] W + b (eq. 5); None where not linked.

        The three summaries lie side by side for each channel, as in the authors' checkpoints.
        """
        if not self.link_queries:
            return None
        tokens_lmc = self.tokens()
        if self.share_mlps:
            queries_lmd = self.transform(tokens_lmc)
        else:
            queries_lmd = torch.stack([own(tokens) for own, tokens in zip(self.transform, tokens_lmc, strict=True)])
        return self.merge(summary(queries_lmd))


def summary(queries_lmd: Tensor) -> Tensor:
    """[max, mean, last] over the layers, side by side for each channel: [m, 3 d]."""
    return torch.stack([queries_lmd.amax(dim=0), queries_lmd.mean(dim=0), queries_lmd[-1]], dim=-1).flatten(-2)


def checked_layers(layers: list[int] | None, num_layers: int) -> list[int]:
    """The blocks to refine; None: all. Raises ValueError where they aren't rising block numbers."""
    layers = list(range(num_layers) if layers is None else layers)
    if not layers or sorted(set(layers)) != layers or not 0 <= layers[0] <= layers[-1] < num_layers:
        raise ValueError(f"model.adapter.layers={layers}: name rising block numbers from 0 to {num_layers - 1}")
    return layers
