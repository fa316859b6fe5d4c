"""What a run has beside the weights, and needs to go on where it was: optimizer, schedule, loss scale and averages.

There is no random state in it: the stream's draws and the losses' points are functions of seed and step.
"""

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from torch import Tensor, nn

from pipelines.mistakes import Diverged
from pipelines.optimizer import anneal_decay, build_optimizer
from pipelines.settings import Recipe
from pipelines.tracker import Numbers
from rein_core.checkpoint import TRAINER, load_trained
from rein_core.ema import Ema
from rein_core.precision import grad_scaler

_SMALLEST_SCALE = 2.0**-16


class TrainerState:
    """Turns losses into steps of the optimizer.

    Args:
        segmentor: what is trained, on its device.
    """

    def __init__(self, segmentor: nn.Module, recipe: Recipe, device: torch.device):
        self.segmentor, self.settings, self.train = segmentor, recipe.optimizer, recipe.train
        self.optimizer, self.schedule = build_optimizer(segmentor, recipe.optimizer, recipe.train.steps)
        self.grad_norm: Tensor | None = None
        self.skipped = 0  # damaged samples that were replaced before the loaded checkpoint, over all ranks
        self.unsent: list[Numbers] = []  # what MLflow had not yet at the loaded checkpoint
        self.scaler = grad_scaler(device, recipe.train.precision)
        self.ema = Ema(segmentor, recipe.train.ema_decay) if recipe.train.ema_decay else None

    def backward(self, loss: Tensor) -> None:
        """Adds the gradients of a loss; float16's are scaled."""
        self.scaler.scale(loss).backward()

    def update(self, measure: bool = False) -> None:
        """One step, after which gradients are zero again. The scaler leaves it out where one overflowed; the schedule
        goes on even then.

        Args:
            measure: whether `metrics` will tell the gradient's norm.
        """
        if self.settings.clip_grad or measure:
            self.scaler.unscale_(self.optimizer)
            largest = self.settings.clip_grad or math.inf
            self.grad_norm = nn.utils.clip_grad_norm_(self.segmentor.parameters(), largest)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.schedule.step()
        steps = self.schedule.last_epoch
        anneal_decay(self.optimizer, self.settings, steps / self.train.steps)
        if self.ema:
            self.ema.update(begun=steps > self.train.ema_begin)

    def metrics(self) -> dict[str, float]:
        """Learning rates, a falling weight decay, the norm of the last measured gradient, and float16's loss scale.

        Raises:
            ValueError: the scaler has left out all steps for long.
        """
        numbers = self._rates()
        if self.settings.weight_decay_end is not None:
            numbers["weight_decay"] = max(group["weight_decay"] for group in self.optimizer.param_groups)
        if self.grad_norm is not None:
            numbers["grad_norm"] = self.grad_norm.item()
        if not self.scaler.is_enabled():
            return numbers
        scale = self.scaler.get_scale()
        if scale < _SMALLEST_SCALE:
            raise ValueError(
                f"float16's gradients overflow even with a loss scale of {scale:.0e}: set train.precision=bf16 or fp32"
            )
        return numbers | {"loss_scale": scale}

    def _rates(self) -> dict[str, float]:
        """`lr`, and `lr_backbone` and `lr_adapter` where the VFM's own parameters or the adapter's have another."""
        factors = {"lr_adapter": self.settings.adapter_lr_factor, "lr_backbone": self.settings.backbone_lr_factor}
        names = {self.settings.lr * factor: name for name, factor in (factors | {"lr": 1.0}).items()}
        return {names[group["initial_lr"]]: group["lr"] for group in self.optimizer.param_groups}

    def check(self, step: int) -> None:
        """Looks at what a checkpoint of this step would keep; waits for the device.

        Raises:
            Diverged: a trained parameter is no number. A gradient can be none where the loss was one.
        """
        trained = {name: p for name, p in self.segmentor.named_parameters() if p.requires_grad}
        finite = torch.stack([p.detach().isfinite().all() for p in trained.values()]).tolist()
        if not all(finite):
            raise Diverged(
                f"{list(trained)[finite.index(False)]} is no number after step {step}, though the losses were: lower "
                "optimizer.lr or set train.precision=fp32; earlier checkpoints are kept"
            )

    def averaged(self) -> AbstractContextManager:
        """The segmentor has the moving averages inside of this, if there are any."""
        return self.ema.swapped() if self.ema else nullcontext()

    def save(self, folder: Path, step: int, skipped: int = 0, unsent: Sequence[Numbers] = ()) -> None:
        """Writes `folder`/trainer.pt, tensors and plain numbers only, with the averages swapped in (`averaged`).

        Args:
            step: of finished steps; it is the stream's position too.
            skipped: damaged samples that were replaced until then, over all ranks.
            unsent: what MLflow has not yet.
        """
        state = {
            "step": step,
            "skipped": skipped,
            "unsent": list(unsent),
            "optimizer": self.optimizer.state_dict(),
            "schedule": _plain(self.schedule.state_dict()),
            "scaler": self.scaler.state_dict(),
        }
        torch.save(state | ({"weights": self.ema.weights()} if self.ema else {}), folder / TRAINER)

    def load(self, folder: Path) -> int:
        """Loads trained weights and all of the state in place, and returns the number of finished steps.

        Raises:
            ValueError: the weights or the optimizer's groups are of another model.
        """
        load_trained(self.segmentor, folder)
        state = torch.load(folder / TRAINER, map_location="cpu", weights_only=True)
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        if state.get("scaler"):
            self.scaler.load_state_dict(state["scaler"])
        if self.ema:
            self.ema.load(state["weights"])
        self.skipped, self.unsent = state.get("skipped", 0), state.get("unsent", [])
        return state["step"]


def _plain(state: dict) -> dict:
    """Schedulers keep nested schedulers' states in lists; all of it must load with weights_only."""
    return {key: value for key, value in state.items() if not callable(value)}
