"""What Tune is told of a trial's training: scores, and seconds a step.

Ray Train's controller imports this module, and starts sooner for what it does not import.
"""

from typing import Any

from ray.tune.integration.ray_train import TuneReportCallback

from pipelines.settings import Recipe

METRICS = {"source": "source_mIoU", "target": "mIoU"}
"""What trials are compared by, by `tune.objective`."""
_NOT_TRAINING = ("validation", "checkpoint")


def scores(metrics: dict[str, Any]) -> dict[str, Any]:
    """What Tune is told of a training worker's report."""
    return {name: metrics[name] for name in ("step", *METRICS.values()) if name in metrics}


class Pace:
    """Seconds a step of training, from what workers report.

    A worker that was restarted goes on from a checkpoint with its clock at 0: the time between the last report before
    and the first one after is not known, and these steps are left out.

    Args:
        is_new: whether the run starts at step 0.
    """

    def __init__(self, is_new: bool):
        self._last: tuple[int, dict[str, float]] | None = (0, {}) if is_new else None
        self._steps, self._seconds = 0, 0.0

    def note(self, step: int, seconds: dict[str, float]) -> None:
        """A report: its step, and the worker's seconds in each phase."""
        if self._last and step > self._last[0] and not _less(seconds, self._last[1]):
            self._steps += step - self._last[0]
            self._seconds += _training(seconds) - _training(self._last[1])
        self._last = (step, dict(seconds))

    def restart(self) -> None:
        """Workers were lost."""
        self._last = None

    def take(self) -> float | None:
        """Since this was last called; None if nothing is known."""
        pace = self._seconds / self._steps if self._steps else None
        self._steps, self._seconds = 0, 0.0
        return pace


def _less(seconds: dict[str, float], before: dict[str, float]) -> bool:
    return any(seconds.get(phase, 0.0) < taken for phase, taken in before.items())


def _training(seconds: dict[str, float]) -> float:
    return sum(taken for phase, taken in seconds.items() if phase not in _NOT_TRAINING)


class Tell(TuneReportCallback):
    """Tells Tune of validations.

    Args:
        recipe: the trial's.
        is_new: whether it starts at step 0.
    """

    def __init__(self, recipe: Recipe, is_new: bool):
        super().__init__()
        self.recipe, self.pace = recipe, Pace(is_new)

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        """In Train's controller, which then restarts the workers."""
        self.pace.restart()

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
        """In Train's controller, after each checkpoint."""
        values = metrics[0]
        self.pace.note(values["step"], values["seconds"])
        if not (values.get("done", True) and self.recipe.validates_after(values["step"])):
            return  # a checkpoint between validations, or before one, repeats the last one's scores
        result, pace = scores(values), self.pace.take()
        result |= {} if pace is None else {"step_seconds": pace}
        super().after_report(run_context, [result], checkpoint)
