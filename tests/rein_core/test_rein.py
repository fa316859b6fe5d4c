"""Rein against the paper's parameter counts, a literal loop over its equations, and the authors' recorded numbers."""

from contextlib import nullcontext

import pytest
import torch

from rein_core import Rein


@pytest.mark.parametrize(("rank", "expected"), [(16, 2_990_081), (None, 5_016_065)])
def test_parameters_of_the_paper(rank, expected):
    rein = Rein(num_layers=24, embed_dims=1024, token_length=100, rank=rank)
    assert sum(p.numel() for p in rein.parameters()) == expected


@pytest.mark.parametrize(
    ("switches", "millions"),
    [
        ({"link_queries": False, "share_mlps": False, "rank": None}, 52.84),
        ({"share_mlps": False, "rank": None}, 59.33),
        ({"rank": None}, 5.02),
        ({}, 2.99),
    ],
)
def test_the_papers_ladder(switches, millions):
    """Wei et al., CVPR 2024, table 4: parameters as the parts come together, on a ViT-L."""
    with torch.device("meta"):
        rein = Rein(num_layers=24, embed_dims=1024, **switches)
    assert round(sum(p.numel() for p in rein.parameters()) / 1e6, 2) == millions


def literal_refine(rein: Rein, feat: torch.Tensor, layer: int) -> torch.Tensor:
    """Eqs. 1 to 4, patch by patch."""
    tokens = rein.tokens()[layer]
    token2feat, delta_f = (m if rein.share_mlps else m[layer] for m in (rein.mlp_token2feat, rein.mlp_delta_f))
    values = torch.stack([token2feat(token) for token in tokens])
    refined = torch.empty_like(feat)
    for b in range(feat.shape[0]):
        for n in range(feat.shape[1]):
            weights = torch.stack([feat[b, n] @ token for token in tokens])
            if rein.use_softmax:
                weights = (weights / feat.shape[-1] ** 0.5).exp()
                weights = weights / weights.sum()
            delta = sum(weights[m] * values[m] for m in range(1, len(tokens)))
            refined[b, n] = feat[b, n] + rein.scale * delta_f(delta + feat[b, n])
    return refined


@pytest.mark.parametrize("rank", [2, None])
@pytest.mark.parametrize("share_mlps", [True, False])
@pytest.mark.parametrize("use_softmax", [True, False])
def test_refine_is_the_equations(rank, share_mlps, use_softmax):
    torch.manual_seed(0)
    switches = {"rank": rank, "share_mlps": share_mlps, "use_softmax": use_softmax}
    rein = Rein(3, 8, token_length=5, query_dims=6, scale_init=0.7, **switches)
    feat = torch.randn(2, 4, 8)
    torch.testing.assert_close(rein.refine(feat, 1), literal_refine(rein, feat, 1))


@pytest.mark.parametrize("switches", [{}, {"rank": None}, {"share_mlps": False}, {"layers": [0, 2]}])
def test_layers_folded_together_are_those_folded_alone(switches):
    """In values and gradients; afterwards nothing is kept, so that changed parameters count."""
    torch.manual_seed(0)
    rein = Rein(3, 8, **{"token_length": 5, "rank": 2, "link_queries": False, "scale_init": 0.7} | switches)
    feat, found = torch.randn(2, 4, 8), []
    for around in (nullcontext, rein.folded):
        with around():
            refined = torch.stack([rein.refine(feat, layer) for layer in range(3)])
        found.append([refined, *torch.autograd.grad(refined.square().sum(), list(rein.parameters()))])
    torch.testing.assert_close(found[1], found[0])
    with torch.no_grad():
        rein.scale += 1
    assert not torch.equal(rein.refine(feat, 0), found[0][0][0])


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


def test_only_the_named_layers_are_refined():
    torch.manual_seed(0)
    rein = Rein(4, 8, token_length=5, rank=2, layers=[1, 3], scale_init=1.0)
    feat = torch.randn(1, 4, 8)
    assert [torch.equal(rein.refine(feat, layer), feat) for layer in range(4)] == [True, False, True, False]
    assert len(rein.tokens()) == 2


@pytest.mark.parametrize("layers", [[], [4], [-1], [2, 1], [1, 1]])
def test_layers_that_are_not_there(layers):
    with pytest.raises(ValueError, match="model.adapter.layers"):
        Rein(4, 8, layers=layers)


def test_unshared_queries_come_from_each_layers_own_transform():
    rein = Rein(3, 8, token_length=5, rank=2, query_dims=6, share_mlps=False)
    before = rein.queries()
    rein.transform[0].bias.data += 100
    assert not torch.equal(rein.queries(), before)
