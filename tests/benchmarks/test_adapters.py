"""What adapters cost: the memory is measured as in a training."""

import argparse
import gc

import pytest
import torch

from benchmarks import adapters, common


def moments() -> int:
    """Numbers in the states of all living AdamWs, without their counts of steps."""
    living = [each for each in gc.get_objects() if isinstance(each, torch.optim.AdamW)]
    states = [state for optimizer in living for state in optimizer.state.values()]
    return sum(value.numel() for state in states for name, value in state.items() if name != "step")


@pytest.mark.parametrize("kind", ["none", "full"])
def test_the_peak_is_taken_with_the_optimizers_moments_in_memory(monkeypatch, kind):
    """Two of every parameter that has a gradient, of which full fine-tuning has the most."""
    seen, build, built = [], adapters.build_segmentor, []
    monkeypatch.setattr(adapters, "build_segmentor", lambda section: built.append(build(section)) or built[0])
    monkeypatch.setattr(common, "peak_memory", lambda on: seen.append(moments()) or 1.0)
    args = argparse.Namespace(size=64, batch=1, rounds=1, precision="fp32")
    row = adapters.measure("vit_tiny", kind, args)
    trained = sum(p.numel() for p in built[0].parameters() if p.grad is not None)
    assert seen == [0, 2 * trained] and row["memory"] == 1.0
    assert (row["parameters"] > 1) == (kind == "full")
