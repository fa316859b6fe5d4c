"""Rein, whole: learnable tokens that refine the feature map of every block and become the queries of the head.

Wei et al., "Stronger, Fewer, & Superior: Harnessing Vision Foundation Models for Domain Generalized Semantic
Segmentation", CVPR 2024, section 3. Shapes: b images, n patches, c channels, m tokens, r rank, l layers.
"""

import math

import torch
from torch import Tensor, nn


class Rein(nn.Module):
    """Tokens, shared MLPs and the link to queries.

    Args:
        num_layers: blocks of the VFM, l.
        embed_dims: channels of its features, c.
        token_length: tokens a layer, m.
        rank: r of the low-rank tokens T = A B (eq. 6 of the paper); None: full tokens.
        query_dims: channels of the head's queries.
        patch_size: of the VFM; sets the range that tokens are drawn from.
        link_queries: whether the tokens also become queries (eq. 5).
        use_softmax: whether the similarity map is scaled by 1/√c and normalised over the tokens (eq. 2).
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
        zero_init: bool = False,
        scale_init: float = 0.001,
    ):
        super().__init__()
        self.rank, self.use_softmax, self.link_queries = rank, use_softmax, link_queries
        if rank is None:
            self.learnable_tokens = nn.Parameter(torch.empty(num_layers, token_length, embed_dims))
        else:
            self.learnable_tokens_a = nn.Parameter(torch.empty(num_layers, token_length, rank))
            self.learnable_tokens_b = nn.Parameter(torch.empty(num_layers, rank, embed_dims))
        self.scale = nn.Parameter(torch.tensor(1.0 if zero_init else scale_init))
        self.mlp_token2feat = nn.Linear(embed_dims, embed_dims)
        self.mlp_delta_f = nn.Linear(embed_dims, embed_dims)
        if link_queries:
            self.transform = nn.Linear(embed_dims, query_dims)
            self.merge = nn.Linear(3 * query_dims, query_dims)
        self._init_weights(patch_size, embed_dims, zero_init)

    def _init_weights(self, patch_size: int, embed_dims: int, zero_init: bool) -> None:
        for name, parameter in self.named_parameters():
            if name.startswith("learnable_tokens"):
                width = embed_dims if self.rank is None else math.sqrt(embed_dims * self.rank)
                bound = math.sqrt(6 / (3 * patch_size**2 + width))
                nn.init.uniform_(parameter, -bound, bound)
        if zero_init:
            nn.init.zeros_(self.mlp_delta_f.weight)
            nn.init.zeros_(self.mlp_delta_f.bias)

    def tokens(self) -> Tensor:
        """T [l, m, c], all layers."""
        if self.rank is None:
            return self.learnable_tokens
        return self.learnable_tokens_a @ self.learnable_tokens_b

    def refine(self, feat_bnc: Tensor, layer: int) -> Tensor:
        """f + scale · Δf for the patch features f of one block (eqs. 1 to 4).

        S = softmax(f Tᵀ / √c),  Δf̄ = S[:, 1:] (T[1:] W_T + b_T),  Δf = (Δf̄ + f) W_f + b_f.
        The first token takes what no other should: it has a similarity but adds nothing.
        """
        tokens_mc = self._layer_tokens(layer)
        similarity_bnm = feat_bnc @ tokens_mc.T
        if self.use_softmax:
            similarity_bnm = (similarity_bnm * feat_bnc.shape[-1] ** -0.5).softmax(dim=-1)
        delta_bnc = similarity_bnm[..., 1:] @ self.mlp_token2feat(tokens_mc[1:])
        return feat_bnc + self.scale * self.mlp_delta_f(delta_bnc + feat_bnc)

    def _layer_tokens(self, layer: int) -> Tensor:
        if self.rank is None:
            return self.learnable_tokens[layer]
        return self.learnable_tokens_a[layer] @ self.learnable_tokens_b[layer]

    def queries(self) -> Tensor | None:
        """Q [m, query_dims] = [max, mean, last over layers of T W_Q + b_Q] W + b (eq. 5); None where not linked.

        The three summaries lie side by side for each channel, as in the authors' checkpoints.
        """
        if not self.link_queries:
            return None
        queries_lmd = self.transform(self.tokens())
        summary = [queries_lmd.amax(dim=0), queries_lmd.mean(dim=0), queries_lmd[-1]]
        return self.merge(torch.stack(summary, dim=-1).flatten(-2))
