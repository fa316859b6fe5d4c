"""Exponential moving average of the trained weights: it is validated and saved, while training goes on with its own."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class Ema:
    """The averages of all trained parameters, by name; the frozen VFM has no copy.

    Args:
        model: whose parameters are averaged; they may not be replaced later.
        decay: of the average, a step.
    """

    def __init__(self, model: nn.Module, decay: float):
        self.current = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.average = {name: p.detach().clone() for name, p in self.current.items()}
        self._update = get_ema_multi_avg_fn(decay)

    @torch.no_grad()
    def update(self, begun: bool = True) -> None:
        """After an optimizer's step.

        Args:
            begun: False: the average is what the parameters are now.
        """
        averages, current = list(self.average.values()), list(self.current.values())
        if begun:
            self._update(averages, current, None)
        else:
            torch._foreach_copy_(averages, current)

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """The model has the averages inside of this."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, parameter in self.current.items():
            parameter.data, self.average[name] = self.average[name], parameter.data

    def weights(self) -> dict[str, Tensor]:
        """The training's own weights, while the averages are swapped in."""
        return self.average

    @torch.no_grad()
    def load(self, weights: dict[str, Tensor]) -> None:
        """Goes on from a checkpoint: the model has the averages, and `weights` are the training's own."""
        for name, parameter in self.current.items():
            self.average[name].copy_(parameter)
            parameter.copy_(weights[name])
