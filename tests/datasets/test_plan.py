"""The plan: every sample once an epoch, shares by weight, classes by rarity, and the same from any place on."""

from collections import Counter

import numpy as np
import pytest

from datasets.plan import Pick, Plan
from datasets.rare_classes import RareClasses


def picks(plan: Plan, start: int, end: int) -> list[Pick]:
    return [plan.pick(position) for position in range(start, end)]


def test_every_epoch_is_a_permutation():
    plan = Plan.of([3, 4], batch_size=2, seed=3)
    epochs = [picks(plan, 7 * epoch, 7 * epoch + 7) for epoch in range(300)]
    every = {Pick(0, i) for i in range(3)} | {Pick(1, i) for i in range(4)}
    assert all(set(epoch) == every for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_ranks_share_each_batch(world_size):
    plan = Plan.of([50], batch_size=4, seed=0)
    for step in range(3):
        taken = [p for rank in range(world_size) for p in plan.positions(step, rank, world_size)]
        assert taken == list(range(4 * step, 4 * step + 4))


def test_weights_are_kept_and_each_source_has_its_own_epochs():
    plan = Plan.of([40, 700, 30], batch_size=4, seed=1, weights=[0.5, 0.25, 0.25])
    drawn = picks(plan, 0, 3000)
    assert Counter(pick.source for pick in drawn) == {0: 1500, 1: 750, 2: 750}
    for source, size in enumerate([40, 700, 30]):
        indices = [pick.index for pick in drawn if pick.source == source]
        assert all(
            sorted(indices[i : i + size]) == list(range(size)) for i in range(0, len(indices) // size * size, size)
        )
    early = Counter(pick.source for pick in drawn[:100])
    assert 30 < early[0] < 70, "sources are interleaved, not one after the other"


def test_weights_that_do_not_divide_a_thousand_still_add_up():
    plan = Plan.of([9, 9, 9], batch_size=1, seed=0, weights=[1, 1, 1])
    assert sum(plan.quotas) == 1000 and set(plan.quotas) == {333, 334}
    with pytest.raises(ValueError, match="weight 0.0001 is less than a thousandth"):
        Plan.of([9, 9], batch_size=1, seed=0, weights=[1, 0.0001])


def test_seeds_differ_and_repeat():
    for weights in (None, [1, 3]):
        one, same, other = (Plan.of([50, 50], batch_size=4, seed=seed, weights=weights) for seed in (0, 0, 1))
        assert picks(one, 0, 50) == picks(same, 0, 50) != picks(other, 0, 50)


def test_draws_of_a_position_are_apart():
    """Of what is mixed into it, of its substitutes and of theirs; those of the sample itself are as ever."""
    plan = Plan.of([1000], batch_size=4, seed=7)
    drawn = [
        plan.others(9, 1000, 8),
        *(plan.substitutes(9, 1000, 8, part) for part in range(3)),
        plan.others(8, 1000, 8),
    ]
    assert len({tuple(draws) for draws in drawn}) == 5
    assert plan.others(9, 1000, 3) == drawn[0][:3] and plan.substitutes(9, 1000, 8) == drawn[1]
    values = [plan.rng(9, part).random() for part in range(3)]
    assert len(set(values)) == 3 and values[0] == np.random.default_rng((7, 1, 9)).random()


def test_rare_classes_are_drawn_as_often_as_daformer_says():
    """P(c) by hand for frequencies 0.9, 0.09, 0.01 and T = 0.5."""
    counts = np.array([[9000, 900, 0], [9000, 0, 100], [9000, 1800, 200]])
    rare = RareClasses(counts, temperature=0.5, min_pixels=50)
    frequency = counts.sum(0) / counts.sum()
    expected = np.exp((1 - frequency) / 0.5) / np.exp((1 - frequency) / 0.5).sum()
    assert np.allclose(rare.probabilities, expected)
    drawn = picks(Plan.of([3], batch_size=1, seed=0, rare=[rare]), 0, 6000)
    shares = np.bincount([pick.wanted for pick in drawn], minlength=3) / 6000
    assert np.allclose(shares, expected, atol=0.02)
    of_last = Counter(pick.index for pick in drawn if pick.wanted == 2)
    assert set(of_last) == {1, 2} and abs(of_last[1] / sum(of_last.values()) - 0.5) < 0.05


def test_a_class_that_no_sample_shows_is_not_drawn():
    rare = RareClasses(np.array([[5000, 10], [5000, 0]]), temperature=0.01)
    assert rare.probabilities.tolist() == [1, 0]
    with pytest.raises(ValueError, match="rare_class_pixels=3000: no sample has more"):
        RareClasses(np.array([[5, 10]]))


def test_rare_classes_of_several_sources():
    """As one where they are shuffled as one; each by its own classes where they are weighted."""
    counts = [[100, 0]] * 4, [[0, 100]] * 2
    rare = [RareClasses(np.array(rows), temperature=1, min_pixels=50) for rows in counts]
    joined = picks(Plan.of([4, 2], batch_size=1, seed=0, rare=rare), 0, 500)
    assert {(pick.source, pick.wanted) for pick in joined} == {(0, 0), (1, 1)}
    weighted = picks(Plan.of([4, 2], batch_size=1, seed=0, weights=[3, 1], rare=rare), 0, 1000)
    assert Counter((pick.source, pick.wanted) for pick in weighted) == {(0, 0): 750, (1, 1): 250}
