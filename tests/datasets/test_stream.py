"""The stream: every sample once an epoch, the same sequence for any number of ranks and after any resume."""

import time

import numpy as np
import pytest

from datasets.augment import Augment
from datasets.shards import Shards
from datasets.stream import Loader, Plan, batches

AUGMENT = Augment([64, 96], (48, 64))


def test_every_epoch_is_a_permutation():
    plan = Plan(num_samples=7, batch_size=2, seed=3)
    epochs = [[plan.sample(position) for position in range(epoch * 7, epoch * 7 + 7)] for epoch in range(3)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_ranks_share_each_batch(world_size):
    plan = Plan(num_samples=50, batch_size=4, seed=0)
    for step in range(3):
        taken = [p for rank in range(world_size) for p in plan.positions(step, rank, world_size)]
        assert taken == list(range(4 * step, 4 * step + 4))


def test_a_resumed_loader_goes_on_in_the_plan():
    plan = Plan(num_samples=50, batch_size=4, seed=0)
    whole = Loader([], plan, AUGMENT, first_step=0, rank=1, world_size=2)
    resumed = Loader([], plan, AUGMENT, first_step=5, rank=1, world_size=2)
    assert [resumed.position(row) for row in range(6)] == [whole.position(10 + row) for row in range(6)]


def test_ray_delivers_the_plan_in_order(streets):
    """Through real Ray Data: positions, pixels and labels are those of a plain loop, from the start and from a step."""
    sources = [Shards(streets.game), Shards(streets.camera)]
    plan = Plan(sum(map(len, sources)), batch_size=4, seed=5)
    plain = Loader(sources, plan, AUGMENT, 0, 0, 1)
    streamed = list(batches(sources, plan, AUGMENT, range(0, 6)))
    assert [batch["position"].tolist() for batch in streamed] == [list(range(4 * i, 4 * i + 4)) for i in range(6)]
    for batch in streamed[:2]:
        for image, label, position in zip(batch["image"], batch["label"], batch["position"], strict=True):
            expected = plain.load(int(position))
            assert np.array_equal(image, expected[0]) and np.array_equal(label, expected[1])
    resumed = list(batches(sources, plan, AUGMENT, range(3, 6), rank=1, world_size=2))
    for late, whole in zip(resumed, streamed[3:], strict=True):
        assert np.array_equal(late["image"], whole["image"][2:])


def test_a_full_buffer_takes_no_core_from_the_trainer(streets):
    """While a consumer works, Ray Data's loop in the same process rests."""
    sources = [Shards(streets.game)]
    augment = Augment([512], (512, 512))
    stream = batches(sources, Plan(len(sources[0]), batch_size=4, seed=0), augment, range(400))
    for _ in range(5):
        next(stream)
        spent = time.process_time()
        time.sleep(2)
        share = (time.process_time() - spent) / 2
    assert share < 0.35
