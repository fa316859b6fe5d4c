"""Rein as it is written, which ours is timed against: the same numbers, and no more work than that takes."""

import pytest
import torch

from benchmarks.peers import UnfusedRein
from rein_core import Rein

LAYERS, CHANNELS = 3, 16


def both(**settings) -> tuple[Rein, UnfusedRein]:
    """Ours and the peer, with the same parameters."""
    made = [kind(LAYERS, CHANNELS, token_length=5, scale_init=0.5, **settings) for kind in (Rein, UnfusedRein)]
    made[1].load_state_dict(made[0].state_dict())
    return made[0].double(), made[1].double()


def refined(rein: Rein, feat_bnc: torch.Tensor) -> torch.Tensor:
    """Features after all layers, as in one pass through a VFM."""
    with rein.folded():
        for layer in range(LAYERS):
            feat_bnc = rein.refine(feat_bnc, layer)
    return feat_bnc


@pytest.mark.parametrize("settings", [{"rank": 4}, {"rank": None}, {"rank": 4, "use_softmax": False}])
def test_values_and_gradients_are_those_of_ours(settings):
    torch.manual_seed(0)
    feat_bnc = torch.randn(2, 7, CHANNELS, dtype=torch.float64)
    features, gradients = [], []
    for rein in both(**settings):
        given = feat_bnc.clone().requires_grad_()
        features.append(refined(rein, given))
        (features[-1].square().sum() + rein.queries().square().sum()).backward()
        gradients.append({"features": given.grad} | {name: each.grad for name, each in rein.named_parameters()})
    torch.testing.assert_close(features[1], features[0])
    torch.testing.assert_close(gradients[1], gradients[0])
    assert all(each.any() for each in gradients[1].values())


def test_each_layer_makes_its_own_tokens_only(monkeypatch):
    """And what ours makes once for all layers is not made beside them."""
    _, peer = both(rank=4)
    made = []

    def tokens(layers: slice = slice(None)) -> torch.Tensor:
        made.append(Rein.tokens(peer, layers))
        return made[-1]

    monkeypatch.setattr(peer, "tokens", tokens)
    with peer.folded():
        assert not made and peer._folded is None
    refined(peer, torch.randn(1, 7, CHANNELS, dtype=torch.float64))
    assert [len(each) for each in made] == [1] * LAYERS
