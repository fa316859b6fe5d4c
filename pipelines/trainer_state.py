"""trainer.pt: what a run needs beside the weights to go on where it was. Tensors and plain numbers, no pickled code.

There is no random state in it: the stream's draws and the losses' points are functions of seed and step.
"""

from pathlib import Path

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from rein_core.checkpoint import load_trained
from rein_core.ema import Ema

FILE = "trainer.pt"


def save_trainer(folder: Path, optimizer: Optimizer, schedule: LRScheduler, step: int, ema: Ema | None = None) -> None:
    """Writes `folder`/trainer.pt: `step` counts finished steps, and is the stream's position too.

    Args:
        ema: with its averages swapped in, as they are what the checkpoint's weights are.
    """
    state = {"step": step, "optimizer": optimizer.state_dict(), "schedule": _plain(schedule.state_dict())}
    torch.save(state | ({"weights": ema.weights()} if ema else {}), folder / FILE)


def load_trainer(
    folder: Path, segmentor: nn.Module, optimizer: Optimizer, schedule: LRScheduler, ema: Ema | None = None
) -> int:
    """Loads trained weights, optimizer and schedule in place, and returns the number of finished steps.

    Raises:
        ValueError: the weights or the optimizer's groups are of another model.
    """
    load_trained(segmentor, folder)
    state = torch.load(folder / FILE, map_location="cpu", weights_only=True)
    optimizer.load_state_dict(state["optimizer"])
    schedule.load_state_dict(state["schedule"])
    if ema:
        ema.load(state["weights"])
    return state["step"]


def _plain(state: dict) -> dict:
    """Schedulers keep nested schedulers' states in lists; all of it must load with weights_only."""
    return {key: value for key, value in state.items() if not callable(value)}
