"""The average by hand, and that swapping and reloading lose nothing."""

import torch
from torch import nn

from rein_core.ema import Ema


def model_with_a_frozen_part() -> nn.Sequential:
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False))
    model[0].requires_grad_(False)
    return model


def test_the_average_by_hand():
    model = model_with_a_frozen_part()
    model[1].weight.data.fill_(1.0)
    ema = Ema(model, decay=0.9)
    assert list(ema.average) == ["1.weight"]
    for value in (2.0, 3.0):
        model[1].weight.data.fill_(value)
        ema.update()
    expected = 0.9 * (0.9 * 1 + 0.1 * 2) + 0.1 * 3
    with ema.swapped():
        torch.testing.assert_close(model[1].weight.data, torch.tensor([[expected]]))
        assert ema.weights()["1.weight"] == 3.0
    assert model[1].weight == 3.0


def test_until_it_begins_the_average_is_the_weights():
    model = model_with_a_frozen_part()
    ema = Ema(model, decay=0.5)
    for value, begun, expected in ((2.0, False, 2.0), (4.0, True, 3.0)):
        model[1].weight.data.fill_(value)
        ema.update(begun)
        assert ema.average["1.weight"] == expected and model[1].weight == value


def test_a_reloaded_average_goes_on_as_if_never_stopped():
    model = model_with_a_frozen_part()
    ema = Ema(model, decay=0.5)
    model[1].weight.data.fill_(4.0)
    ema.update()
    with ema.swapped():
        saved, own = (
            {k: v.clone() for k, v in model.state_dict().items()},
            {k: v.clone() for k, v in ema.weights().items()},
        )
    resumed = model_with_a_frozen_part()
    resumed.load_state_dict(saved)
    again = Ema(resumed, decay=0.5)
    again.load(own)
    assert torch.equal(resumed[1].weight, model[1].weight)
    assert torch.equal(again.average["1.weight"], ema.average["1.weight"])
