"""The training loop that every Ray Train worker runs."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import ray.train
import ray.train.torch
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from ray.train import Checkpoint, CheckpointUploadMode

from datasets.stream import batches
from pipelines.clock import Clock
from pipelines.feed import build_feed
from pipelines.recipe import Recipe, parse_recipe
from pipelines.terminal import duration, quiet, say
from pipelines.tracking import Tracker
from pipelines.trainer_state import TrainerState
from pipelines.validation import validate
from rein_core import build_segmentor
from rein_core.backbone import VFMBackbone
from rein_core.checkpoint import save_checkpoint
from rein_core.precision import autocast

PHASES = ("data", "forward", "loss", "backward", "optimizer", "validation", "checkpoint")


def train_worker(config: dict[str, Any]) -> dict[str, float]:
    """Trains from the last committed checkpoint, or from the start, to the recipe's last step.

    Args:
        config: `recipe` (dict), `tracking` (arguments of `Tracker`), `provenance` (dict), `threads`, `data_cpus`.

    Returns:
        The last validation's metrics.
    """
    quiet()
    torch.set_num_threads(config["threads"])
    return Loop(parse_recipe(config["recipe"]), config).run()


class Loop:
    """One worker: its segmentor, what that is trained with, and where in the run it is."""

    def __init__(self, recipe: Recipe, config: dict[str, Any]):
        context = ray.train.get_context()
        self.recipe, self.config = recipe, config
        self.rank, self.world_size = context.get_world_rank(), context.get_world_size()
        self.device = ray.train.torch.get_device()
        torch.manual_seed(recipe.seed)
        self.segmentor = build_for_training(recipe).to(self.device)
        self.state = TrainerState(self.segmentor, recipe, self.device)
        self.tracker = Tracker(**config["tracking"]) if self.rank == 0 else None
        self._describe_vfm()
        self.first_step = self._resume()
        self.model = ray.train.torch.prepare_model(Step(self.segmentor), move_to_device=False)
        self.clock, self.metrics = Clock(), {}

    def run(self) -> dict[str, float]:
        """Every step of the run that is left."""
        steps = range(self.first_step, self.recipe.train.steps)
        self.clock = Clock()
        for step, batch in zip(steps, self._stream(steps), strict=True):
            self.clock.lap("data")
            losses = self._step(step, batch)
            self._log(step + 1, losses)
            self._validate(step + 1)
            self._checkpoint(step + 1)
        if self.tracker:
            self.tracker.finish()
        return self.metrics

    def _describe_vfm(self) -> None:
        report = getattr(self.segmentor.backbone, "load_report", None)
        if report and self.tracker:
            say(f"VFM {report}")
            self.tracker.tags({"vfm": str(report), "vfm.digest": report.digest})

    def _stream(self, steps: range) -> Iterator[dict[str, np.ndarray]]:
        return batches(*build_feed(self.recipe), steps, self.rank, self.world_size, self.config["data_cpus"])

    def _step(self, step: int, batch: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
        torch.manual_seed(hash((self.recipe.seed, step, self.rank)))  # so that a resumed run draws the same points
        self.segmentor.train()
        with autocast(self.device, self.recipe.train.precision):
            losses = self.model(to_mmseg(batch), self.clock)
        loss, logged = self.segmentor.parse_losses(losses)
        self.clock.lap("loss")
        self.state.backward(loss)
        self.clock.lap("backward")
        self.state.update()
        self.clock.lap("optimizer")
        return logged

    def _log(self, step: int, losses: dict[str, torch.Tensor]) -> None:
        train = self.recipe.train
        if not self.tracker or (step % train.log_every and step != train.steps and step != self.first_step + 1):
            return
        values = {name: float(value.detach()) for name, value in losses.items() if not _of_a_layer(name)}
        if not np.isfinite(values["loss"]):
            raise ValueError(
                f"the loss is {values['loss']} at step {step}: lower optimizer.lr or set train.precision=fp32"
            )
        recent = self.clock.take_recent()
        speed = train.batch_size * self._steps_since_log(step) / max(sum(recent.values()), 1e-9)
        times = {f"time/{phase}": seconds for phase, seconds in recent.items()}
        state = self.state.metrics()
        self.tracker.metrics(values | times | state | {"images_per_second": speed}, step)
        left = (train.steps - step) * train.batch_size / speed
        waited = recent.get("data", 0.0) / sum(recent.values())
        say(
            f"step {step}/{train.steps}  loss {values['loss']:.2f}  lr {state['lr']:.1e}  {speed:.2f} images/s  "
            f"waiting for data {waited:.0%}  left {duration(left)}"
        )

    def _steps_since_log(self, step: int) -> int:
        previous = (step - 1) // self.recipe.train.log_every * self.recipe.train.log_every
        return step - max(previous, self.first_step + (step > self.first_step + 1))

    def _validate(self, step: int) -> None:
        every = self.recipe.train.validate_every
        last = step == self.recipe.train.steps
        if not self.recipe.data.val or not (last or (every and step % every == 0)):
            return
        with self.state.averaged():
            self.metrics = validate(self.segmentor, self.recipe, self.rank, self.world_size, step, self.tracker)
        self.clock.lap("validation")

    def _checkpoint(self, step: int) -> None:
        train = self.recipe.train
        validated = self.recipe.data.val and train.validate_every and step % train.validate_every == 0
        if not (step == train.steps or step % train.checkpoint_every == 0 or validated):
            return
        metrics = self.metrics | {"step": step, "seconds": dict(self.clock.total)}
        ray.train.report(
            metrics,
            checkpoint=self._save(step) if self.rank == 0 else None,
            checkpoint_dir_name=f"step_{step:06d}",
            checkpoint_upload_mode=CheckpointUploadMode.ASYNC,
        )
        self.clock.lap("checkpoint")

    def _save(self, step: int) -> Checkpoint:
        folder = Path(tempfile.mkdtemp(prefix="checkpoint-")) / "checkpoint"
        provenance = self.config["provenance"] | {"step": step}
        with self.state.averaged():
            save_checkpoint(folder, self.segmentor, self.recipe.model_dump(mode="json"), provenance)
            self.state.save(folder, step)
        return Checkpoint.from_directory(str(folder))

    def _resume(self) -> int:
        checkpoint = ray.train.get_checkpoint()
        if checkpoint is None:
            return 0
        with checkpoint.as_directory() as folder:
            step = self.state.load(Path(folder))
        if self.rank == 0:
            say(f"resuming after step {step}")
        return step


def build_for_training(recipe: Recipe) -> torch.nn.Module:
    """The segmentor, with its VFM's blocks recomputed or compiled if the recipe says so.

    Raises:
        ValueError: the recipe says so, but the model has no VFM, or not one that allows it; or as `build_segmentor`.
        FileNotFoundError: as `build_segmentor`.
    """
    segmentor = build_segmentor(recipe.model_section())
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


def to_mmseg(batch: dict[str, np.ndarray]) -> dict[str, list]:
    """A stream's batch → `inputs` (BGR uint8 [3, h, w]) and `data_samples` with `gt_sem_seg` [1, h, w]."""
    samples = []
    for label in batch["label"]:
        sample = SegDataSample(metainfo={"img_shape": label.shape, "ori_shape": label.shape, "pad_shape": label.shape})
        sample.gt_sem_seg = PixelData(data=torch.from_numpy(label.astype(np.int64))[None])
        samples.append(sample)
    return {"inputs": list(torch.from_numpy(batch["image"]).permute(0, 3, 1, 2)), "data_samples": samples}


def _of_a_layer(loss: str) -> bool:
    """Losses of a decoder's earlier layers, `decode.d0.loss_mask`, are too many to log; `aux.loss_ce` is not one."""
    return loss.count(".") > 1
