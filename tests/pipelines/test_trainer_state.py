"""Steps of the optimizer: clipped, left out where float16 overflows, and gone on with where a run was killed."""

import pytest
import torch

from pipelines.recipe import parse_recipe
from pipelines.settings import Recipe
from pipelines.trainer_state import TrainerState
from rein_core import build_segmentor
from rein_core.checkpoint import save_checkpoint

CPU = torch.device("cpu")


def state_of(
    precision: str, ema: float | None = None, clip: float | None = None, warmup: int = 0
) -> tuple[TrainerState, Recipe]:
    model = {
        "vfm": {"name": "vit_tiny", "img_size": 64},
        "adapter": {"type": "none"},
        "decode_head": {"type": "linear"},
    }
    train = {"precision": precision, "steps": 10, "ema_decay": ema, "ema_begin": 4}
    optimizer = {"clip_grad": clip, "warmup_steps": warmup, "weight_decay_end": 0.01}
    recipe = parse_recipe({"model": model, "train": train, "optimizer": optimizer})
    torch.manual_seed(0)
    return TrainerState(build_segmentor(recipe.model_section()), recipe, CPU), recipe


def weights(state: TrainerState) -> torch.Tensor:
    return state.segmentor.decode_head.conv_seg.weight


def step(state: TrainerState, factor: float) -> torch.Tensor | None:
    """On a loss whose gradient is `factor` everywhere; returns the gradient that the optimizer saw."""
    seen = []
    handle = state.optimizer.register_step_pre_hook(lambda *_: seen.append(weights(state).grad.clone()))
    state.backward(factor * weights(state).sum())
    state.update()
    handle.remove()
    return seen[-1] if seen else None


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_gradients_are_clipped_at_their_own_size(precision):
    state, _ = state_of(precision, clip=2.0)
    assert step(state, 5.0).norm() == pytest.approx(2.0, rel=1e-4)
    assert torch.all(step(state, 1e-3) == 1e-3)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_parts_of_a_batch_add_up_and_the_norm_is_measured(precision):
    """Two halves of a loss are one loss; the norm told is of the unclipped, unscaled gradient."""
    state, _ = state_of(precision, clip=2.0)
    size = weights(state).numel()
    for _ in range(2):
        state.backward(0.5 * 5.0 * weights(state).sum())
    state.update(measure=True)
    assert state.metrics()["grad_norm"] == pytest.approx(5.0 * size**0.5, rel=1e-3)
    assert weights(state).grad is None


def test_an_overflow_leaves_weights_alone_and_the_schedule_goes_on():
    state, _ = state_of("fp16")
    before, rate = weights(state).detach().clone(), state.metrics()
    assert rate == {"lr": 1e-4, "weight_decay": 0.05, "loss_scale": 2.0**16}
    step(state, float("inf"))
    assert torch.equal(weights(state), before)
    assert state.metrics()["loss_scale"] == 2.0**15 and state.metrics()["lr"] < 1e-4
    step(state, 1.0)
    assert not torch.equal(weights(state), before)


@pytest.mark.parametrize("factor", [0.1, 1.0, 3.0])
def test_the_rate_of_the_backbone_is_told_where_it_is_another(factor):
    model = {
        "vfm": {"name": "vit_tiny", "img_size": 64},
        "adapter": {"type": "full"},
        "decode_head": {"type": "linear"},
    }
    optimizer = {"lr": 1e-3, "warmup_steps": 4, "backbone_lr_factor": factor}
    recipe = parse_recipe({"model": model, "train": {"precision": "fp32", "steps": 10}, "optimizer": optimizer})
    state = TrainerState(build_segmentor(recipe.model_section()), recipe, CPU)
    for _ in range(4):
        step(state, 1.0)
    rates = {"lr": 1e-3} if factor == 1 else {"lr": 1e-3, "lr_backbone": 1e-3 * factor}
    assert state.metrics() == pytest.approx(rates, rel=1e-4)


def test_the_rate_of_the_adapter_is_told_where_it_is_another():
    model = {
        "vfm": {"name": "vit_tiny", "img_size": 64},
        "adapter": {"type": "soma", "rank": 2},
        "decode_head": {"type": "linear"},
    }
    recipe = parse_recipe({"model": model, "optimizer": {"lr": 1e-3, "adapter_lr_factor": 0.5}})
    state = TrainerState(build_segmentor(recipe.model_section()), recipe, CPU)
    assert state.metrics() == {"lr": 1e-3, "lr_adapter": 5e-4}


def test_a_run_that_only_overflows_ends():
    state, _ = state_of("fp16")
    for _ in range(33):
        step(state, float("nan"))
    with pytest.raises(ValueError, match="gradients overflow .* set train.precision=bf16 or fp32"):
        state.metrics()


def test_weights_that_are_no_number_are_not_kept():
    """The loss is 1, and its gradient is none: that of a root at 0."""
    state, _ = state_of("fp32")
    state.check(1)
    loss = 1 + (0 * weights(state).sum()).abs().sqrt()
    assert loss.item() == 1
    state.backward(loss)
    state.update()
    with pytest.raises(ValueError, match=r"^decode_head.conv_seg.weight is no number after step 2, .*kept$"):
        state.check(2)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("ema", [None, 0.5])
@pytest.mark.parametrize("warmup", [0, 4])
def test_a_resumed_run_takes_the_same_steps(tmp_path, precision, ema, warmup):
    """Killed after 3 steps, so in the warm-up; its end is the step after the next, and the average's begin too."""
    state, recipe = state_of(precision, ema, warmup=warmup)
    for factor in (1.0, float("inf") if precision == "fp16" else 2.0, -3.0):
        step(state, factor)
    with state.averaged():
        save_checkpoint(tmp_path / "checkpoint", state.segmentor, recipe.model_dump(mode="json"), {})
        state.save(tmp_path / "checkpoint", 3, skipped=7, unsent=[({"loss": 0.5}, 2, 1700)])
    resumed, _ = state_of(precision, ema, warmup=warmup)
    assert resumed.load(tmp_path / "checkpoint") == 3 and resumed.skipped == 7
    assert resumed.unsent == [({"loss": 0.5}, 2, 1700)]
    assert resumed.metrics() == state.metrics()
    assert resumed.scaler.state_dict() == state.scaler.state_dict()
    if precision == "fp16":
        assert state.scaler.state_dict()["scale"] == 2.0**15 and state.scaler.state_dict()["_growth_tracker"] == 1
    for _ in range(2):
        for each in (state, resumed):
            step(each, 0.5)
        assert torch.equal(weights(resumed), weights(state)) and resumed.metrics() == state.metrics()
    assert 0.03 < state.metrics()["weight_decay"] < 0.05
    if ema:
        own = weights(state).clone()
        with state.averaged(), resumed.averaged():
            assert torch.equal(weights(resumed), weights(state)) and not torch.equal(weights(state), own)
