"""Rein against the paper's parameter counts, a literal loop over its equations, and the authors' recorded numbers."""

import pytest
import torch

from rein_core import Rein


@pytest.mark.parametrize(("rank", "expected"), [(16, 2_990_081), (None, 5_016_065)])
def test_parameters_of_the_paper(rank, expected):
    rein = Rein(num_layers=24, embed_dims=1024, token_length=100, rank=rank)
    assert sum(p.numel() for p in rein.parameters()) == expected


def literal_refine(rein: Rein, feat: torch.Tensor, layer: int) -> torch.Tensor:
    """Eqs. 1 to 4, patch by patch."""
    tokens = rein.tokens()[layer]
    values = torch.stack([rein.mlp_token2feat(token) for token in tokens])
    refined = torch.empty_like(feat)
    for b in range(feat.shape[0]):
        for n in range(feat.shape[1]):
            logits = torch.stack([feat[b, n] @ token for token in tokens]) / feat.shape[-1] ** 0.5
            weights = logits.exp() / logits.exp().sum()
            delta = sum(weights[m] * values[m] for m in range(1, len(tokens)))
            refined[b, n] = feat[b, n] + rein.scale * rein.mlp_delta_f(delta + feat[b, n])
    return refined


@pytest.mark.parametrize("rank", [2, None])
def test_refine_is_the_equations(rank):
    torch.manual_seed(0)
    rein = Rein(3, 8, token_length=5, rank=rank, query_dims=6, scale_init=0.7)
    feat = torch.randn(2, 4, 8)
    torch.testing.assert_close(rein.refine(feat, 1), literal_refine(rein, feat, 1))


def test_queries_are_max_mean_and_last():
    torch.manual_seed(0)
    rein = Rein(3, 8, token_length=5, rank=2, query_dims=6)
    per_layer = torch.stack([rein.transform(tokens) for tokens in rein.tokens()])
    three = per_layer.max(0).values, per_layer.sum(0) / 3, per_layer[2]
    weight = rein.merge.weight.unflatten(1, (6, 3))
    expected = sum(part @ weight[..., i].T for i, part in enumerate(three)) + rein.merge.bias
    torch.testing.assert_close(rein.queries(), expected)
    assert Rein(3, 8, link_queries=False).queries() is None


def test_zero_init_changes_nothing_at_first():
    rein = Rein(2, 8, token_length=5, rank=2, zero_init=True)
    feat = torch.randn(1, 4, 8)
    assert torch.equal(rein.refine(feat, 0), feat)
    assert rein.scale == 1


def test_the_first_token_adds_nothing_itself():
    rein = Rein(1, 8, token_length=2, rank=None, use_softmax=False, scale_init=1.0)
    feat = torch.randn(1, 4, 8)
    before = rein.refine(feat, 0)
    rein.learnable_tokens.data[0, 0] += 1
    assert torch.equal(rein.refine(feat, 0), before)
