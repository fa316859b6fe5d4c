"""The training stream: a plan says which sample comes when, and Ray Data fetches, decodes and augments just these.

The plan is a pure function of seed and position, so a run resumes at any step in constant time, every rank finds its
part without asking the others, and samples and augmentation draws are the same for any number of workers.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import ray.data
from ray.data._internal.execution.execution_callback import ExecutionCallback

from datasets.augment import Augment
from datasets.shards import Shards

_BATCHES_PER_TASK = 4
_BLOCK_BYTES = 16 << 20
_STORE_BYTES_PER_RANK = 400 << 20
_PAUSE_SECONDS = 0.02


@lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, num_samples: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(num_samples)


@dataclass(frozen=True)
class Plan:
    """Which sample stands at which position of the endless stream: a new permutation every epoch.

    Args:
        num_samples: samples in an epoch.
        batch_size: samples a step, over all ranks.
        seed: of the permutations and of the augmentation.
    """

    num_samples: int
    batch_size: int
    seed: int

    def sample(self, position: int) -> int:
        """Index of the sample at this position."""
        epoch, offset = divmod(position, self.num_samples)
        return int(_permutation(self.seed, epoch, self.num_samples)[offset])

    def rng(self, position: int) -> np.random.Generator:
        """The generator of this position's augmentation."""
        return np.random.default_rng((self.seed, 1, position))

    def positions(self, step: int, rank: int, world_size: int) -> range:
        """The positions that a rank takes at a step: a contiguous part of the step's batch."""
        share = self.batch_size // world_size
        start = step * self.batch_size + rank * share
        return range(start, start + share)


class Loader:
    """Runs in Ray Data's tasks: rows of (step offset) → decoded, augmented samples.

    Args:
        sources: shard folders, read as one.
        plan, augment: what comes when, and how it is changed.
        first_step, rank, world_size: the part of the plan that is this rank's.
    """

    def __init__(
        self, sources: Sequence[Shards], plan: Plan, augment: Augment, first_step: int, rank: int, world_size: int
    ):
        self.sources, self.plan, self.augment = sources, plan, augment
        self.first_step, self.rank, self.world_size = first_step, rank, world_size
        self.starts = np.cumsum([0] + [len(source) for source in sources])

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        cv2.setNumThreads(1)
        rows = [self.load(self.position(int(row))) for row in batch["id"]]
        images, labels, positions = zip(*rows, strict=True)
        return {"image": np.stack(images), "label": np.stack(labels), "position": np.array(positions)}

    def position(self, row: int) -> int:
        """Position in the plan of this rank's row-th sample since `first_step`."""
        step, offset = divmod(row, self.plan.batch_size // self.world_size)
        return self.plan.positions(self.first_step + step, self.rank, self.world_size)[offset]

    def load(self, position: int) -> tuple[np.ndarray, np.ndarray, int]:
        """BGR uint8 [h, w, 3], train ids uint8 [h, w] and the position."""
        index = self.plan.sample(position)
        source = int(np.searchsorted(self.starts, index, side="right")) - 1
        sample = self.sources[source].read(index - int(self.starts[source]))
        return *self.augment(sample.columns, sample.label_ids(), self.plan.rng(position)), position


def batches(
    sources: Sequence[Shards],
    plan: Plan,
    augment: Augment,
    steps: range,
    rank: int = 0,
    world_size: int = 1,
    num_cpus: float = 1.0,
) -> Iterator[dict[str, np.ndarray]]:
    """One rank's batches for these steps, in order.

    Args:
        steps: first and last step to feed; a resumed run starts at the step it had reached.
        num_cpus: CPUs that this rank's decoding may hold at a time.

    Yields:
        `image` BGR uint8 [b, h, w, 3], `label` train ids uint8 [b, h, w], `position` int64 [b]; b is the rank's share.
    """
    share = plan.batch_size // world_size
    loader = Loader(sources, plan, augment, steps.start, rank, world_size)
    _limit(num_cpus)
    num_tasks = -(-len(steps) // _BATCHES_PER_TASK)
    rows = ray.data.range(len(steps) * share, override_num_blocks=num_tasks)
    samples = rows.map_batches(loader, batch_size=share, num_cpus=min(0.5, num_cpus))
    yield from samples.iter_batches(batch_size=share, prefetch_batches=2, batch_format="numpy")


class Pause(ExecutionCallback):
    """Rests between Ray Data's scheduling steps.

    While its buffer is full, Ray 2.60's loop spins: finished tasks are ready, but may not be read. In the trainer's
    own process it then takes a core and the interpreter lock from the training step, which becomes twice as slow.
    """

    def on_execution_step(self, executor: object) -> None:
        """Ray Data calls this after every scheduling step."""
        time.sleep(_PAUSE_SECONDS)


def _limit(num_cpus: float) -> None:
    context = ray.data.DataContext.get_current()
    context.custom_execution_callback_classes = [Pause]
    context.enable_progress_bars = False
    context.target_max_block_size = _BLOCK_BYTES
    context.execution_options.preserve_order = True
    context.execution_options.resource_limits = ray.data.ExecutionResources.for_limits(
        cpu=num_cpus, object_store_memory=_STORE_BYTES_PER_RANK
    )
