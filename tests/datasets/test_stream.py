"""The stream: every sample once an epoch, the same sequence for any number of ranks and after any resume."""

import os
import time
from collections.abc import Callable

import numpy as np
import psutil

from datasets import stream
from datasets.augment import Augment
from datasets.plan import Plan
from datasets.shards import Shards
from datasets.stream import Loader, batches

AUGMENT = Augment([64, 96], (48, 64))


def feed(streets, seed: int = 5) -> tuple[list[Shards], Plan, Augment]:
    sources = [Shards(streets.game), Shards(streets.camera)]
    return sources, Plan.of([len(source) for source in sources], batch_size=4, seed=seed), AUGMENT


def test_ray_delivers_the_plan_in_order(streets):
    """Through real Ray Data: positions, pixels and labels are those of a plain loop, from the start and from a step."""
    plain = Loader(*feed(streets), 0, 0, 1)
    streamed = list(batches(*feed(streets), range(0, 6)))
    assert [batch["position"].tolist() for batch in streamed] == [list(range(4 * i, 4 * i + 4)) for i in range(6)]
    for batch in streamed[:2]:
        for image, label, position in zip(batch["image"], batch["label"], batch["position"], strict=True):
            expected = plain.load(int(position))
            assert np.array_equal(image, expected[0]) and np.array_equal(label, expected[1])
    resumed = list(batches(*feed(streets), range(3, 6), rank=1, world_size=2))
    for late, whole in zip(resumed, streamed[3:], strict=True):
        assert np.array_equal(late["image"], whole["image"][2:])


def test_data_sets_follow_one_another_unnoticed(streets, monkeypatch):
    """A run that is longer than one of Ray's data sets."""
    whole = list(batches(*feed(streets), range(3, 60)))
    monkeypatch.setattr(stream, "_TASKS_PER_DATASET", 4)  # of 4 steps each
    cut = list(batches(*feed(streets), range(3, 60)))
    assert [b["position"].tolist() for b in cut] == [list(range(4 * step, 4 * step + 4)) for step in range(3, 60)]
    for one, other in zip(whole, cut, strict=True):
        assert np.array_equal(one["image"], other["image"]) and np.array_equal(one["label"], other["label"])


def test_the_first_batch_of_a_long_run_comes_as_soon_as_of_a_short_one(streets):
    seconds = {}
    for steps in (8, 8, 1_000_000):  # the first one starts Ray's workers
        started = time.perf_counter()
        late = batches(*feed(streets), range(77_000, 77_000 + steps))
        assert next(late)["position"][0] == 4 * 77_000
        late.close()
        seconds[steps] = time.perf_counter() - started
    assert seconds[1_000_000] < seconds[8] + 5


def test_killed_data_workers_lose_and_repeat_nothing(streets, data_workers):
    """SIGKILL to the processes that decode, several times: the same batches as undisturbed."""
    sources, plan, _ = feed(streets)
    slow = Augment([512], (256, 256))
    expected = list(batches(sources, plan, slow, range(120)))
    killed, got = set(), []
    for batch in batches(sources, plan, slow, range(120)):
        got.append(batch)
        if len(got) in (5, 30, 60):
            killed |= kill(data_workers)
    assert len(killed) >= 2
    for one, other in zip(expected, got, strict=True):
        assert np.array_equal(one["position"], other["position"]) and np.array_equal(one["image"], other["image"])


def kill(working: Callable[[int], list[psutil.Process]]) -> set[int]:
    """SIGKILL to those of this process's own Ray that run the stream's tasks, as soon as some do."""
    deadline = time.monotonic() + 20
    while not (found := working(os.getpid())) and time.monotonic() < deadline:
        time.sleep(0.02)
    for process in found:
        process.kill()
    return {process.pid for process in found}


def test_a_full_buffer_takes_no_core_from_the_trainer(streets):
    """While a consumer works, Ray Data's loop in the same process rests."""
    sources, plan, _ = feed(streets)
    fed = batches(sources, plan, Augment([512], (512, 512)), range(400))
    for _ in range(5):
        next(fed)
        spent = time.process_time()
        time.sleep(2)
        share = (time.process_time() - spent) / 2
    assert share < 0.35
