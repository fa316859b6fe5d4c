"""Samplers give each draw once, learn, and go on from what is known."""

import pytest

from pipelines.recipe import load_recipe
from tuning.samplers import LOWEST, Suggest, build_sampler
from tuning.space import Space, label


def recipe(**tune):
    return load_recipe("demo", [f"tune.{name}={value!r}" for name, value in tune.items()])


def everything(sampler, score=lambda draw: 1.0) -> list[dict]:
    draws = []
    while draw := sampler.next():
        draws.append(draw)
        sampler.tell(draw, score(draw))
    return draws


@pytest.mark.parametrize("sampler", ["grid", "random", "tpe"])
def test_no_draw_comes_twice(sampler):
    asked = recipe(sampler=sampler, num_trials=50, adapter=["rein", "lora", "none"], token_length=[5, 6], rank=[2, 4])
    draws = everything(build_sampler(asked, []))
    assert len({label(draw) for draw in draws}) == len(draws) == len(Space(asked).grid()) == 7


@pytest.mark.parametrize("sampler", ["grid", "random", "tpe"])
def test_a_sweep_that_goes_on_gets_the_rest(sampler):
    asked = recipe(sampler=sampler, num_trials=6, token_length=[5, 6], rank=[2, 4, 8])
    first = build_sampler(asked, [])
    known = [first.next() for _ in range(4)]
    second = build_sampler(asked, known)
    for draw in known:
        second.tell(draw, 1.0)
    assert second.remaining() == 2
    rest = everything(second)
    assert {label(draw) for draw in known + rest} == {label(draw) for draw in Space(asked).grid()}


def test_tpe_draws_more_of_what_is_good():
    asked = recipe(sampler="tpe", num_trials=40, lr_range=(1e-5, 1e-1), token_length=list(range(1, 30)))
    draws = everything(build_sampler(asked, []), score=lambda draw: draw["token_length"])
    first, last = ([draw["token_length"] for draw in part] for part in (draws[:10], draws[-10:]))
    assert sum(last) > 1.3 * sum(first)


def test_a_failed_draw_is_no_reason_to_stop():
    sampler = build_sampler(recipe(sampler="tpe", num_trials=4), [])
    assert len(everything(sampler, score=lambda draw: None)) == 4


def test_tpe_keeps_away_from_what_diverged():
    """Where the loss is no number at high rates; that a draw failed for another reason teaches nothing."""
    asked = recipe(sampler="tpe", num_trials=40, lr_range=(1e-5, 1e-1))

    def high(score_of_high: float | None) -> int:
        draws = everything(build_sampler(asked, []), lambda draw: score_of_high if draw["lr"] > 1e-3 else 30.0)
        return sum(draw["lr"] > 1e-3 for draw in draws[10:])

    assert high(LOWEST) < 0.5 * high(None)


def test_tune_gets_the_interrupted_first_and_the_best_score_counts():
    told = []
    sampler = build_sampler(recipe(sampler="grid", token_length=[5], rank=[2, 4]), [])
    sampler.tell = lambda draw, score: told.append((draw["rank"], score))
    suggest = Suggest(sampler, [{"adapter": "rein", "token_length": 5, "rank": 64}], "source_mIoU")
    assert [suggest.suggest(str(i))["draw"]["rank"] for i in range(3)] == [64, 2, 4]
    assert suggest.suggest("3") == Suggest.FINISHED
    for step, score in ((1, 10.0), (2, 30.0), (3, 20.0)):
        suggest.on_trial_result("1", {"step": step, "source_mIoU": score})
    suggest.on_trial_complete("1", {"step": 3, "source_mIoU": 20.0})
    suggest.on_trial_complete("2", error=True)
    suggest.on_trial_complete("0", {"step": 0, "source_mIoU": float("-inf"), "error": "why"})
    assert told == [(2, 30.0), (4, None), (64, None)]
    suggest.on_trial_complete("1", {"step": 0, "source_mIoU": float("-inf"), "error": "why", "diverged": True})
    assert told[-1] == (2, LOWEST)
