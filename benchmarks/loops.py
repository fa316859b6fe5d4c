"""The loops that `benchmarks.overhead` compares: torch alone, and the pipeline's own in a Ray Train worker."""

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mlflow import MlflowClient

from benchmarks import common
from datasets.stream import Loader
from pipelines.clock import Clock
from pipelines.feed import build_feed
from pipelines.recipe import parse_recipe
from pipelines.settings import Recipe
from pipelines.terminal import quiet
from pipelines.train import train
from pipelines.trainer_state import TrainerState
from pipelines.worker import Loop, Step, build_for_training, to_mmseg
from rein_core.precision import autocast

_FILE = "measured.json"
Batches = Iterable[dict[str, np.ndarray]]


class Marks:
    """When each batch was asked for: from one mark to the next is a step, with all that the loop does beside it.

    On CUDA a mark does not wait for the device. The steps' own waits (matching, losses) keep the two together.
    """

    def __init__(self) -> None:
        self.wall: list[float] = []
        self.cpu: list[float] = []
        self.waiting: list[float] = []

    def on(self, stream: Batches) -> Iterator[dict[str, np.ndarray]]:
        """The same batches; there is a mark after the last step too."""
        stream = iter(stream)
        while True:
            self.wall.append(time.perf_counter())
            self.cpu.append(time.process_time())
            batch = next(stream, None)
            if batch is None:
                return
            self.waiting.append(time.perf_counter() - self.wall[-1])
            yield batch

    def steps(self) -> dict[str, list[float]]:
        """Seconds of each step, CPU seconds of this process in each, and seconds that it waited for its batch."""
        seconds, cpu = np.diff(self.wall), np.diff(self.cpu)
        return {"seconds": seconds.tolist(), "cpu_seconds": cpu.tolist(), "waiting_seconds": self.waiting}


def ready(feed: tuple, steps: range, rank: int = 0, world_size: int = 1) -> list[dict[str, np.ndarray]]:
    """The stream's batches, decoded and augmented in advance, in memory."""
    loader = Loader(*feed, steps.start, rank, world_size)
    return [loader({"id": np.array([i])}) for i in range(len(steps))]


def bare(recipe: Recipe, threads: int, niceness: int) -> dict[str, Any]:
    """No Ray, no MLflow, no journal: forward, loss, backward and update, with the seeds of the pipeline's loop.

    Args:
        threads, niceness: those of the training worker that this is compared with.
    """
    os.nice(niceness - os.nice(0))
    torch.set_num_threads(threads)
    on, steps = common.device(), range(recipe.train.steps)
    torch.manual_seed(recipe.seed)
    segmentor = build_for_training(recipe).to(on).train()
    state, model = TrainerState(segmentor, recipe, on), Step(segmentor)
    batches, marks, clock = ready(build_feed(recipe), steps), Marks(), Clock()
    for step, batch in zip(steps, marks.on(batches), strict=True):
        torch.manual_seed(hash((recipe.seed, step, 0)))
        with autocast(on, recipe.train.precision):
            losses = model(to_mmseg(batch, recipe.seed), clock)
        loss, _ = segmentor.parse_losses(losses)
        state.backward(loss)
        state.update()
    return marks.steps() | _process() | {"loss": loss.item()}


def _process() -> dict[str, int]:
    return {"threads": torch.get_num_threads(), "niceness": os.nice(0)}


class Streamed(Loop):
    """The pipeline's loop as it is. It leaves in the run's folder when its steps and its checkpoints were."""

    def __init__(self, recipe: Recipe, config: dict[str, Any]):
        super().__init__(recipe, config)
        self.marks, self.reports, self.ends = Marks(), [], []

    def run(self) -> dict[str, float]:
        """As `Loop.run`."""
        metrics = super().run()
        beside = np.subtract(self.marks.wall[1:], self.ends).tolist()
        measured = self.marks.steps() | _process() | {"reports": self.reports, "beside_seconds": beside}
        (Path(self.config["run_dir"]) / _FILE).write_text(json.dumps(measured))
        return metrics

    def _stream(self, steps: range) -> Iterator[dict[str, np.ndarray]]:
        return self.marks.on(super()._stream(steps))

    def _step(self, step: int, batch: dict[str, np.ndarray]) -> list[dict[str, torch.Tensor]]:
        losses = super()._step(step, batch)
        self.ends.append(time.perf_counter())
        return losses

    def _checkpoint(self, step: int, now: bool = False, unscored: bool = False) -> None:
        before = self.clock.total["checkpoint"]
        super()._checkpoint(step, now, unscored)
        waited = self.clock.total["checkpoint"] - before
        if waited:
            self.reports.append({"step": step, "waited": waited, "at": time.time()})


class Ready(Streamed):
    """The same, with batches that are ready."""

    def _stream(self, steps: range) -> Iterator[dict[str, np.ndarray]]:
        return self.marks.on(ready(self.feed, steps, self.rank, self.world_size))


def stream_worker(config: dict[str, Any]) -> None:
    """As `train_worker`."""
    _work(Streamed, config)


def ready_worker(config: dict[str, Any]) -> None:
    """As `train_worker`."""
    _work(Ready, config)


def _work(loop: type[Loop], config: dict[str, Any]) -> None:
    quiet()
    torch.set_num_threads(config["threads"])
    loop(parse_recipe(config["recipe"]), config).run()


def through_ray(recipe: Recipe, worker: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """`train` with this worker: what it measured, its last loss in MLflow, and its checkpoints.

    Returns:
        As `bare`, and `beside_seconds`: from each step's end to the next one's mark; `reports`: of each checkpoint its
        `step`, seconds `waited`, and seconds from then until its last byte was stored (`upload`; None if it is no
        longer kept); `mib` of the last one; the clock's `phases`.
    """
    result = train(recipe, worker=worker)
    folder = Path(result["run_dir"])
    measured = json.loads((folder / _FILE).read_text())
    for report in measured["reports"]:
        stored = _last_change(folder / f"step_{report['step']:06d}")
        report["upload"] = max(stored - report.pop("at"), 0.0) if stored else None
    files = [file for file in Path(result["checkpoint"]).rglob("*") if file.is_file()]
    loss = MlflowClient().get_run(result["mlflow_run_id"]).data.metrics["loss"]
    mib = sum(file.stat().st_size for file in files) / 2**20
    return measured | {"loss": loss, "mib": mib, "phases": result["phases"]}


def _last_change(folder: Path) -> float | None:
    return max((file.stat().st_mtime for file in folder.rglob("*") if file.is_file()), default=None)
