"""The training stream: a plan says which sample comes when, and Ray Data fetches, decodes and augments just these."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import chain, zip_longest
from typing import Protocol

import cv2
import numpy as np
import pyarrow as pa
import ray.data
from ray.data._internal.execution.execution_callback import ExecutionCallback
from ray.data._internal.stats import get_or_create_stats_actor
from ray.exceptions import RayTaskError

from datasets.ahead import ahead
from datasets.augment import Pixels
from datasets.plan import Pick, Plan
from datasets.sample import OR_SKIP, Damaged, Sample
from datasets.shards import Shards

SAMPLES_PER_TASK = 64
"""The most: of 16 Ray's own cost is 2.5 to 3 ms a sample, of 64 it is 1 to 1.5."""
_TASKS_PER_DATASET = 256  # and some small ones
_STEPS_AHEAD = 8
_TASK_BYTES = 64 << 20
"""The most that a task makes: 64 samples of 512×512, 16 of 1024×1024."""
_LEAST_STORE_BYTES = 400 << 20
_PAUSE_SECONDS = 0.05
_SUBSTITUTES = 50  # were nine samples of ten damaged, one draw in 200 would find none
_READS_AT_ONCE = 8  # as many as Arrow's own threads that read from a store


Augmentation = Callable[
    [Pixels, np.ndarray, np.random.Generator, int | None],
    tuple[np.ndarray, np.ndarray],
]
"""(what decodes the image, label, generator, class that the crop should show) → image and label of one size."""
Augmented = tuple[np.ndarray, np.ndarray]


class Mixing(Protocol):
    """An augmentation that puts others of its source into each sample.

    Attributes:
        others: how many.
    """

    others: int

    def alone(self, image: Pixels, label: np.ndarray, rng: np.random.Generator, wanted: int | None) -> Augmented:
        """What is done to the sample, and to each of the others, before they are mixed."""

    def mix(
        self, image: np.ndarray, label: np.ndarray, rng: np.random.Generator, others: Sequence[Augmented]
    ) -> Augmented:
        """The sample with the others in it."""


class Loader:
    """Runs in Ray Data's tasks: rows of steps → decoded, augmented samples.

    Args:
        sources: shard folders.
        plan, augment: what comes when, and how it is changed.
        first_step, rank, world_size: the part of the plan that is this rank's.
    """

    def __init__(
        self,
        sources: Sequence[Shards],
        plan: Plan,
        augment: Augmentation | Mixing,
        first_step: int,
        rank: int,
        world_size: int,
    ):
        self.sources, self.plan, self.augment = sources, plan, augment
        self.others = getattr(augment, "others", 0)
        self.first_step, self.rank, self.world_size = first_step, rank, world_size

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """`id`, steps since `first_step` [s] → those steps' samples of this rank, one after the other."""
        cv2.setNumThreads(1)
        steps = batch["id"] + self.first_step
        positions = np.concatenate([self.plan.positions(int(step), self.rank, self.world_size) for step in steps])
        rows = (self._row(position, *found) for position, found in self._read(positions.tolist()))
        return _stacked(rows, len(positions)) | {"position": positions}

    def _read(self, positions: list[int]) -> Iterator[tuple[int, tuple[Pick, list[Sample | Damaged]]]]:
        """Each position and what `_found` has for it: from a store while the CPU works on those before it."""
        if any(source.remote for source in self.sources):
            return ahead(self._found, positions, _READS_AT_ONCE)
        return ((position, self._found(position)) for position in positions)

    def _found(self, position: int) -> tuple[Pick, list[Sample | Damaged]]:
        """What the plan has there, and what is stored of that sample and of the others that are mixed into it."""
        pick = self.plan.pick(position)
        source = self.sources[pick.source]
        others = self.plan.others(position, len(source), self.others) if self.others else []
        return pick, [_attempt(source, index) for index in [pick.index, *others]]

    def load(self, position: int) -> dict[str, np.ndarray | str]:
        """One row of a batch; a sample that is damaged is replaced by another of its source, if that skips such.

        Returns:
            `image` BGR uint8 [h, w, 3], `label` train ids uint8 [h, w], the sample's `name`, and `damage`: what is
            wrong with the one that the plan has there, or with others that are mixed into it, or "".

        Raises:
            Damaged: the sample is, and its source doesn't skip such; or all of many substitutes are, too.
        """
        return self._row(position, *self._found(position))

    def _row(self, position: int, pick: Pick, found: list[Sample | Damaged]) -> dict[str, np.ndarray | str]:
        made = [self._part(position, part, pick, each) for part, each in enumerate(found)]
        row, *others = (row for row, _ in made)
        if others:
            mixed = [(other["image"], other["label"]) for other in others]
            rng = self.plan.rng(position, len(made))
            row["image"], row["label"] = self.augment.mix(row["image"], row["label"], rng, mixed)
        return row | {"damage": "; ".join(damage for _, damage in made if damage)}

    def _part(
        self, position: int, part: int, pick: Pick, found: Sample | Damaged
    ) -> tuple[dict[str, np.ndarray | str], str]:
        """The sample itself (part 0) or one of the others, or a substitute and what is wrong with it."""
        try:
            return self._augmented(position, part, found, None if part else pick.wanted), ""
        except Damaged as error:
            if not self.sources[pick.source].skip_damaged:
                raise Damaged(f"{error}; {OR_SKIP}") from error
            return self._substitute(position, part, self.sources[pick.source]), str(error)

    def _augmented(
        self, position: int, part: int, found: Sample | Damaged, wanted: int | None = None
    ) -> dict[str, np.ndarray | str]:
        if isinstance(found, Damaged):
            raise found
        augment = self.augment.alone if self.others else self.augment
        image, label = augment(found.pixels, found.label_ids(), self.plan.rng(position, part), wanted)
        return {"image": image, "label": label, "name": found.name}

    def _substitute(self, position: int, part: int, source: Shards) -> dict[str, np.ndarray | str]:
        for index in self.plan.substitutes(position, len(source), _SUBSTITUTES, part):
            with suppress(Damaged):
                return self._augmented(position, part, source.read(index))
        raise Damaged(
            f"shards {source.uri}: {_SUBSTITUTES} samples in a row are damaged, so hardly any can be read: "
            "ingest the data set again with --overwrite"
        )


def _attempt(source: Shards, index: int) -> Sample | Damaged:
    try:
        return source.read(index)
    except Damaged as error:
        return error


def _stacked(rows: Iterable[dict[str, np.ndarray | str]], count: int) -> dict[str, np.ndarray]:
    """Rows of `Loader.load`, each put in its place as it comes: to keep all until the last would take twice as much."""
    pixels: dict[str, np.ndarray] = {}
    words: dict[str, list[str]] = {"name": [], "damage": []}
    for place, row in enumerate(rows):
        for part in ("image", "label"):
            if part not in pixels:
                pixels[part] = np.empty((count, *row[part].shape), row[part].dtype)
            if row[part].shape != pixels[part].shape[1:]:
                sizes = sorted({row[part].shape[:2], pixels[part].shape[1:3]})
                raise ValueError(f"samples of sizes {sizes} in a batch: end with a crop and padding to one size")
            pixels[part][place] = row[part]
        for part, values in words.items():
            values.append(row[part])
    return pixels | {part: np.array(values) for part, values in words.items()}


def warm_up(process: bool = False) -> None:
    """Begins to start what a cluster's first stream waits for, and returns at once.

    Args:
        process: not only Ray Data's own actor, but one for the tasks, with all that they import. It serves who calls
            this from where the stream will be, soon: Ray ends one that is idle for more than a second.
    """
    get_or_create_stats_actor()
    if process:
        ray.remote(num_cpus=0)(_import_all).remote()


def _import_all() -> None:
    from datasets import stream  # noqa: F401  (in the process of the task)


def batches(
    sources: Sequence[Shards],
    plan: Plan,
    augment: Augmentation | Mixing,
    steps: range,
    rank: int = 0,
    world_size: int = 1,
    num_cpus: float = 1.0,
) -> Iterator[dict[str, np.ndarray]]:
    """One rank's batches for these steps, in order.

    Ray Data prepares all tasks of a data set before it runs the first: 20 s for the 40,000 steps of a usual run. So the
    steps are cut into data sets that follow one another, each begun while the last batches of the one before are taken.

    Args:
        steps: first and last step to feed; a resumed run starts at the step it had reached.
        num_cpus: CPUs that this rank's decoding may hold at a time.

    Yields:
        `image` BGR uint8 [b, h, w, 3], `label` train ids uint8 [b, h, w], `position` int64 [b],
        `name` of each sample and `damage`, str [b], as in `Loader.load`; b is the rank's share.

    Raises:
        ValueError: what `Loader` raises.
    """
    share = len(plan.positions(0, rank, world_size))
    sample_bytes = _bytes_of_first(Loader(sources, plan, augment, steps.start, rank, world_size)) if steps else 1
    per_task = max(1, min(SAMPLES_PER_TASK, _TASK_BYTES // sample_bytes) // share)
    _limit(num_cpus, per_task * share * sample_bytes)

    def begin(part: range) -> Iterator[dict[str, np.ndarray]]:
        loader = Loader(sources, plan, augment, part.start, rank, world_size)
        blocks = [pa.table({"id": ids}) for ids in _tasks(len(part), per_task)]
        # neither `ray.data.range` nor `from_arrow`, which have tasks of their own, each of a whole CPU
        samples = ray.data.from_blocks(blocks).map_batches(loader, batch_size=None, num_cpus=min(1.0, num_cpus))
        stream = iter(samples.iter_batches(batch_size=share, prefetch_batches=2, batch_format="numpy"))
        return chain([next(stream)], stream)

    length = _TASKS_PER_DATASET * per_task
    parts = [steps[start : start + length] for start in range(0, len(steps), length)]
    with _plain_errors(), ThreadPoolExecutor(1) as thread:
        begun = thread.submit(begin, steps[:length]) if steps else None
        for part, following in zip_longest(parts, parts[1:]):
            begin_next = max(part.start, part.stop - _STEPS_AHEAD)
            for step, batch in zip(part, begun.result(), strict=True):
                if following and step == begin_next:
                    begun = thread.submit(begin, following)
                yield batch


def _tasks(steps: int, most: int) -> Iterator[range]:
    """Steps 0 … in tasks of 1, 1, 2, 4 … `most` of them: the first batch waits for no other to be decoded."""
    start = 0
    while start < steps:
        length = min(max(start, 1), most, steps - start)
        yield range(start, start + length)
        start += length


def _bytes_of_first(loader: Loader) -> int:
    """Of the rank's first sample, and so of every one: a batch has one size."""
    row = loader.load(int(loader.plan.positions(loader.first_step, loader.rank, loader.world_size)[0]))
    return row["image"].nbytes + row["label"].nbytes


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Ray adds lines of its own, about retries, to a task's error: this leaves the first one, which is the task's."""
    try:
        yield
    except RayTaskError as error:
        if isinstance(error.cause, ValueError):
            raise ValueError(str(error.cause).splitlines()[0]) from error
        raise


class Pause(ExecutionCallback):
    """Rests between Ray Data's scheduling steps.

    While its buffer is full, Ray 2.60's loop spins: finished tasks are ready, but may not be read. In the trainer's
    own process it then takes a core and the interpreter lock from the training step, which becomes twice as slow.
    """

    def on_execution_step(self, executor: object) -> None:
        """Ray Data calls this after every scheduling step."""
        time.sleep(_PAUSE_SECONDS)


def _limit(num_cpus: float, task_bytes: int) -> None:
    """Room in the store for what so many CPUs make, and two tasks more; Ray keeps a quarter of it for finished ones."""
    room = max(_LEAST_STORE_BYTES, int((num_cpus + 2) * task_bytes * 4 / 3))
    context = ray.data.DataContext.get_current()
    context.custom_execution_callback_classes = [Pause]
    context.enable_progress_bars = False
    context.raise_original_map_exception = True  # else Ray leaves the reason out
    context.target_max_block_size = _TASK_BYTES
    context.execution_options.preserve_order = True
    context.execution_options.resource_limits = ray.data.ExecutionResources.for_limits(
        cpu=num_cpus, object_store_memory=room
    )
