"""What a run tells of its steps: numbers for MLflow, a line on the terminal, a stop where the loss is no number."""

import resource

import torch
from torch import Tensor

from pipelines.clock import Clock
from pipelines.mistakes import Diverged
from pipelines.settings import Recipe
from pipelines.terminal import duration, say
from pipelines.tracker import Tracker
from rein_core.ranks import from_all_ranks, max_over_ranks, mean_over_ranks, min_over_ranks, sum_over_ranks

_BETWEEN_STEPS = ("validation", "checkpoint")


class Journal:
    """Every rank keeps one, as the numbers are means over all ranks; the first rank's is the one that writes.

    Args:
        first_step: of finished steps when this run, or what is left of it, began.
        skipped: how many damaged samples had been replaced by then, as far as this rank is to count them.
    """

    def __init__(self, recipe: Recipe, tracker: Tracker | None, first_step: int, skipped: int = 0):
        self.settings, self.tracker, self.first_step = recipe.train, tracker, first_step
        self.skips, self.skipped = recipe.data.skip_damaged, skipped
        self.told: set[str] = set()
        self.unseen: list[tuple[int, Tensor, list[str]]] = []

    def due(self, step: int) -> bool:
        """Whether this step is told of. Only then the device is waited for."""
        return step % self.settings.log_every == 0 or step in (self.settings.steps, self.first_step + 1)

    def skip(self, damage: list[str]) -> None:
        """Counts the samples of a batch that were replaced, and says what was wrong with each the first time.

        Args:
            damage: of each sample; "" where it was not replaced.
        """
        reasons = list(filter(None, damage))
        self.skipped += len(reasons)
        for reason in dict.fromkeys(reasons):
            if reason not in self.told:
                say(f"skipped: {reason}")
        self.told.update(reasons)

    def all_skipped(self, device: torch.device) -> int:
        """How many samples of the run were replaced, over all ranks, which must all call this."""
        return int(sum_over_ranks(torch.tensor(self.skipped, device=device))) if self.skips else self.skipped

    def note(self, step: int, loss: Tensor, names: list[str]) -> None:
        """Keeps what `check` looks at.

        Args:
            names: of the step's samples.
        """
        self.unseen.append((step, loss.detach(), names))

    def check(self) -> None:
        """Looks at all losses since the last look. All ranks must call this after the same step, and come to the same.

        Raises:
            Diverged: one is no number; it is named with its step and samples, whichever rank has them.
        """
        if not self.unseen:
            return
        finite = torch.stack([loss for _, loss, _ in self.unseen]).isfinite()
        places = torch.arange(len(finite), device=finite.device)
        first = int(min_over_ranks(torch.where(finite, len(finite), places).min()))
        if first < len(self.unseen):
            self._refuse(*self.unseen[first])
        self.unseen.clear()

    @staticmethod
    def _refuse(step: int, loss: Tensor, names: list[str]) -> None:
        """A step later the gradients' mean has made the loss of every rank no number: this is the step before."""
        found = [each for each in from_all_ranks(None if loss.isfinite() else (loss.item(), names)) if each]
        samples = ", ".join(name for _, names in found for name in names)
        raise Diverged(
            f"the loss is {found[0][0]} at step {step}, samples {samples}: lower "
            "optimizer.lr, set optimizer.clip_grad or train.precision=fp32; earlier checkpoints are kept"
        )

    def write(self, step: int, parts: list[dict[str, Tensor]], clock: Clock, state: dict[str, float]) -> None:
        """Numbers of a step that is due.

        Args:
            parts: losses of this rank's parts of the batch.
            state: what the trainer's state tells.
        """
        self.check()
        losses = torch.stack([torch.stack(list(part.values())) for part in parts]).mean(dim=0)
        means = mean_over_ranks(losses).tolist()
        skipped = {"skipped_samples": self.all_skipped(losses.device)} if self.skips else {}
        recent = clock.take_recent(but=_BETWEEN_STEPS if step == self.settings.steps else ())
        in_steps = max(sum(seconds for phase, seconds in recent.items() if phase not in _BETWEEN_STEPS), 1e-9)
        waited = float(max_over_ranks(torch.tensor(recent.get("data", 0.0) / in_steps, device=losses.device)))
        if not self.tracker:
            return
        values = {name: mean for name, mean in zip(parts[0], means, strict=True) if not _of_a_layer(name)}
        speed = self.settings.batch_size * self._steps_since_last(step) / in_steps
        numbers = {"images_per_second": speed, "memory_gib": _peak_memory()}
        self.tracker.metrics(values | _times(recent) | state | numbers | skipped, step)
        left = (self.settings.steps - step) * self.settings.batch_size / speed
        say(
            f"step {step}/{self.settings.steps}  loss {values['loss']:.2f}  lr {state['lr']:.1e}  "
            f"{speed:.2f} images/s  waiting for data {waited:.0%}  left {duration(left)}"
        )

    def finish(self, clock: Clock) -> None:
        """What the last step's validation and checkpoint took, as that step was told of before them."""
        times = _times(clock.take_recent())
        if self.tracker and times:
            self.tracker.metrics(times, self.settings.steps)

    def _steps_since_last(self, step: int) -> int:
        previous = (step - 1) // self.settings.log_every * self.settings.log_every
        return step - max(previous, self.first_step + (step > self.first_step + 1))


def _times(seconds: dict[str, float]) -> dict[str, float]:
    return {f"time/{phase}": each for phase, each in seconds.items()}


def _of_a_layer(loss: str) -> bool:
    """Losses of a decoder's earlier layers, `decode.d0.loss_mask`, are too many to log; `aux.loss_ce` is not one."""
    return loss.count(".") > 1


def _peak_memory() -> float:
    """GiB: tensors on CUDA, else all of the process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
