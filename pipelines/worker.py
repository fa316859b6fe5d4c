"""The training loop that every Ray Train worker runs."""

import math
import shutil
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import ray.train
import ray.train.torch
import torch
from ray.train import Checkpoint, CheckpointConsistencyMode, CheckpointUploadMode
from safetensors import SafetensorError

from datasets.sample import one_line
from datasets.stream import batches, warm_up
from pipelines import preemption, runs, scratch
from pipelines.batch import ids_of, split, to_mmseg
from pipelines.clock import Clock
from pipelines.feed import build_feed
from pipelines.journal import Journal
from pipelines.preemption import Bell
from pipelines.recipe import parse_recipe
from pipelines.settings import Recipe
from pipelines.terminal import quiet, say
from pipelines.tracker import Tracker
from pipelines.trainer_state import TrainerState
from pipelines.validation import validate
from rein_core import build_segmentor
from rein_core.backbone import VFMBackbone
from rein_core.checkpoint import read_checkpoint, save_checkpoint
from rein_core.precision import autocast
from rein_core.ranks import any_over_ranks
from rein_core.segmentor import start_training

_FLUSH_SECONDS = 5
PHASES = ("data", "forward", "loss", "backward", "optimizer", "validation", "checkpoint")


def train_worker(config: dict[str, Any]) -> dict[str, float]:
    """Trains from the last committed checkpoint, or from the start, to the recipe's last step.

    Args:
        config: `recipe` (dict), `tracking` (arguments of `Tracker`), `provenance` (dict), `threads`,
            `data_cpus`, `run_dir`.

    Returns:
        The last validation's metrics.

    Raises:
        ValueError: training came to an end to which it would come again.
        RuntimeError: this worker can't begin.
    """
    quiet()
    warm_up(process=True)
    torch.set_num_threads(config["threads"])
    try:
        loop = Loop(parse_recipe(config["recipe"]), config)
    except ValueError as error:  # the driver could: another try may, such as to fetch weights on this node
        raise RuntimeError(f"a worker can't begin: {one_line(error)}") from error
    return loop.run()


class Loop:
    """One worker: its segmentor, what that is trained with, and where in the run it is."""

    def __init__(self, recipe: Recipe, config: dict[str, Any]):
        context = ray.train.get_context()
        self.recipe, self.config = recipe, config
        runs.check_seen(config["run_dir"])
        self.rank, self.world_size = context.get_world_rank(), context.get_world_size()
        self.storage, self.device = context.get_storage(), ray.train.torch.get_device()
        torch.manual_seed(recipe.seed)
        self.segmentor = build_for_training(recipe).to(self.device)
        self.state = TrainerState(self.segmentor, recipe, self.device)
        self.tracker = Tracker(**config["tracking"]) if self.rank == 0 else None
        if self.tracker:
            scratch.clear(self.tracker.run_id)
        self._describe_vfm()
        self.first_step, self.unscored = self._resume()
        self.feed = build_feed(recipe)
        self.bell = Bell(config["run_dir"])
        self.journal = Journal(recipe, self.tracker, self.first_step, self.state.skipped if self.rank == 0 else 0)
        self.model = ray.train.torch.prepare_model(Step(self.segmentor), move_to_device=False)
        self.clock, self.metrics, self.scored = Clock(), {}, None
        self.placing = Lock()

    def run(self) -> dict[str, float]:
        """Every step of the run that is left."""
        steps = range(self.first_step, self.recipe.train.steps)
        if self.tracker and not self.first_step:
            self.tracker.ask_once(self.config["run_dir"])
        stream = self._stream(steps)
        self.clock = Clock()
        if self.unscored:
            self._close(self.first_step)
        for step, batch in zip(steps, stream, strict=True):
            self.clock.lap("data")
            parts = self._step(step, batch)
            self._tell(step + 1, parts, batch)
            self._close(step + 1)
        self.journal.finish(self.clock)
        if self.tracker:
            self.tracker.finish()
        return self.metrics

    def _stream(self, steps: range) -> Iterator[dict[str, np.ndarray]]:
        return batches(*self.feed, steps, self.rank, self.world_size, self.config["data_cpus"])

    def _describe_vfm(self) -> None:
        report = getattr(self.segmentor.backbone, "load_report", None)
        if report and self.tracker:
            say(f"VFM {report}")
            self.tracker.tags({"vfm": str(report), "vfm.digest": report.digest})

    def _step(self, step: int, batch: dict[str, np.ndarray]) -> list[dict[str, torch.Tensor]]:
        """One step of the optimizer. Returns the losses of its parts: one, or more if gradients are accumulated."""
        torch.manual_seed(hash((self.recipe.seed, step, self.rank)))  # dropout goes on alike in a resumed run
        self.segmentor.train()
        parts = split(batch, self.recipe.train.accumulate)
        ids = ids_of(batch) if len(parts) > 1 else None
        parts = [to_mmseg(part, self.recipe.seed, ids) for part in parts]
        logged = [self._accumulate(part, len(parts), last=part is parts[-1]) for part in parts]
        self.state.update(measure=self.journal.due(step + 1))
        self.clock.lap("optimizer")
        return logged

    def _accumulate(self, part: dict[str, list], parts: int, last: bool) -> dict[str, torch.Tensor]:
        waits = nullcontext() if last or self.world_size == 1 else self.model.no_sync()
        with waits:
            with autocast(self.device, self.recipe.train.precision):
                losses = self.model(part, self.clock)
            loss, logged = self.segmentor.parse_losses(losses)
            self.clock.lap("loss")
            self.state.backward(loss / parts)
            self.clock.lap("backward")
        return {name: value.detach() for name, value in logged.items()}

    def _tell(self, step: int, parts: list[dict[str, torch.Tensor]], batch: dict[str, np.ndarray]) -> None:
        self.journal.skip(batch["damage"].tolist())
        self.journal.note(step, torch.stack([losses["loss"] for losses in parts]).mean(), batch["name"].tolist())
        if self.journal.due(step):
            self.journal.write(step, parts, self.clock, self.state.metrics())

    def _close(self, step: int) -> None:
        """What is due after a step: a checkpoint before and after a validation, and the end if someone asks for it."""
        if self.recipe.validates_after(step) and not (self.unscored and step == self.first_step):
            self._checkpoint(step, unscored=True)
        scored = self._validate(step)
        stopping = not scored or self._asked_to_stop(step)
        if scored:
            self._checkpoint(step, stopping)
        if stopping:
            self._stop(step)

    def _validate(self, step: int) -> bool:
        """Returns whether it is done: it is not where the run should stop meanwhile."""
        if not self.recipe.validates_after(step):
            return True
        self._check(step)
        with self.state.averaged():
            metrics = validate(
                self.segmentor, self.recipe, self.rank, self.world_size, step, self.tracker, self.bell.rings
            )
        self.clock.lap("validation")
        if metrics is None:
            return False
        self.metrics, self.scored = metrics, step
        return True

    def _score(self, step: int) -> dict[str, float | str]:
        """What chooses the best checkpoint, if it was measured at this step.

        A score of shards without any labelled pixel is no number, and nothing is better or worse than that.
        """
        chosen_on = self.recipe.train.keep_best
        score = self.metrics.get("source_mIoU" if chosen_on == "source" else "mIoU")
        if score is None or not math.isfinite(score) or self.scored != step:
            return {}
        return {"chosen_on": chosen_on, "mIoU": score}

    def _upload(self, checkpoint: Checkpoint, name: str) -> Checkpoint:
        """Beside training, in Ray's thread. The best one becomes that first, so a run that goes on from it has it."""
        with self.placing:  # the last one is uploaded by the training thread
            if runs.keep_best(self.config["run_dir"], Path(checkpoint.path), self.recipe.tracking.patience_seconds):
                _, provenance = read_checkpoint(checkpoint.path)
                self.tracker.tags({f"best.{key}": str(provenance[key]) for key in ("step", "chosen_on")})
        return self.storage.persist_current_checkpoint(checkpoint, name)

    def _asked_to_stop(self, step: int) -> bool:
        """The same answer on every rank, so several ranks only ask when they wait for one another anyway: on CPUs they
        always do."""
        free = self.world_size > 1 and self.device.type != "cpu"
        if step == self.recipe.train.steps or (free and not self.journal.due(step)):
            return False
        return any_over_ranks(self.bell.rings(), self.device)

    def _stop(self, step: int) -> None:
        ray.train.get_all_reported_checkpoints(consistency_mode=CheckpointConsistencyMode.COMMITTED)
        if self.tracker:
            self.tracker.pictures.flush(_FLUSH_SECONDS)  # the numbers were, before the checkpoint
        preemption.saved(self.config["run_dir"], step)
        if self.tracker:
            self.tracker.finish()  # where MLflow is away the driver tries as long to end the run
        preemption.wait_for_the_end()

    def _checkpoint(self, step: int, now: bool = False, unscored: bool = False) -> None:
        train = self.recipe.train
        due = step == train.steps or step % train.checkpoint_every == 0 or self.recipe.validates_after(step)
        if not (now or due):
            return
        self._check(step)
        skipped = self.journal.all_skipped(self.device)
        if self.tracker:
            self.tracker.catch_up(_FLUSH_SECONDS)  # what waits longer is in the checkpoint
        metrics = self.metrics | {"step": step, "seconds": dict(self.clock.total), "done": not unscored}
        at_once = step == train.steps and not unscored
        ray.train.report(
            metrics,
            checkpoint=self._save(step, skipped) if self.rank == 0 else None,
            checkpoint_dir_name=runs.step_name(step) + (runs.UNSCORED if unscored else ""),
            checkpoint_upload_mode=CheckpointUploadMode.SYNC if at_once else CheckpointUploadMode.ASYNC,
            delete_local_checkpoint_after_upload=True,
            checkpoint_upload_fn=self._upload,
        )
        self.clock.lap("checkpoint")

    def _check(self, step: int) -> None:
        self.journal.check()
        self.state.check(step)

    def _save(self, step: int, skipped: int) -> Checkpoint:
        folder = scratch.new_folder(self.config["provenance"]["mlflow_run_id"])
        provenance = self.config["provenance"] | {"step": step} | self._score(step)
        try:
            with self.state.averaged():
                save_checkpoint(folder, self.segmentor, self.recipe.model_dump(mode="json"), provenance)
                self.state.save(folder, step, skipped, self.tracker.unsent())
        except (OSError, RuntimeError, SafetensorError) as error:  # torch and safetensors have errors of their own
            shutil.rmtree(folder, ignore_errors=True)  # the half that is there would keep the disk full
            raise OSError(
                f"the checkpoint of step {step} can't be written to {folder} ({one_line(error)}): free "
                "space there or set TMPDIR to another folder; the checkpoints before are whole"
            ) from error
        return Checkpoint.from_directory(str(folder))

    def _resume(self) -> tuple[int, bool]:
        """The step it goes on after, and whether that one's validation is still due."""
        checkpoint = ray.train.get_checkpoint()
        if checkpoint is None:
            return 0, False
        with checkpoint.as_directory() as folder:
            step = self.state.load(Path(folder))
        if self.rank == 0:
            say(f"resuming after step {step} on {self.world_size} worker{'s' * (self.world_size > 1)}")
            for numbers in self.state.unsent:
                self.tracker.metrics(*numbers)
        return step, checkpoint.path.endswith(runs.UNSCORED)


def build_for_training(recipe: Recipe) -> torch.nn.Module:
    """The segmentor with the start its section asks for, its VFM's blocks recomputed or compiled if the recipe says so.

    Raises:
        ValueError: the recipe says so, but the model has no VFM, or not one that allows it; or as `build_segmentor` and
            `start_training`.
        FileNotFoundError: as `build_segmentor`.
    """
    section = recipe.model_section()
    segmentor = build_segmentor(section)
    start_training(segmentor, section)
    wanted = {
        "activation_checkpointing": VFMBackbone.recompute_blocks,
        "compile": VFMBackbone.compile_vfm,
    }
    for setting, prepare in wanted.items():
        if getattr(recipe.train, setting):
            if not isinstance(segmentor.backbone, VFMBackbone):
                raise ValueError(f"train.{setting}: this model of mmseg's own has no VFM: leave it at False")
            prepare(segmentor.backbone)
    return segmentor


class Step(torch.nn.Module):
    """Images and labels → losses, as one forward pass that DistributedDataParallel can wrap."""

    def __init__(self, segmentor: torch.nn.Module):
        super().__init__()
        self.segmentor = segmentor

    def forward(self, batch: dict[str, list], clock: Clock) -> dict[str, torch.Tensor]:
        """`batch` as mmseg's dataloaders give it: uint8 `inputs` and `data_samples`."""
        data = self.segmentor.data_preprocessor(batch, training=True)
        after_backbone = self.segmentor.backbone.register_forward_hook(lambda *_: clock.lap("forward"))
        with after_backbone:
            return self.segmentor.loss(data["inputs"], data["data_samples"])
