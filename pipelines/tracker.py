"""Logging into an MLflow run that never stops a training."""

import time
from collections import deque
from collections.abc import Callable
from functools import partial
from itertools import count

import numpy as np
from mlflow import MlflowClient
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException
from mlflow.utils.time import get_current_time_millis

from datasets import storage
from datasets.sample import one_line
from pipelines.mistakes import Mistake
from pipelines.refusals import UNKNOWN, at_once, refusal, without_password
from pipelines.sender import Sender
from pipelines.terminal import say

_ANSWERED = "mlflow-answered.json"
_LAST_WAIT = 60
_DOUBTFUL, _TRIES = "BAD_REQUEST", 3
"""A refusal, or what MLflow's database says while it fails over: tried again so often."""
_HOPELESS = (*UNKNOWN, _DOUBTFUL)

Numbers = tuple[dict[str, float], int, int]
"""Values, their step, and when they were measured."""


class Tracker:
    """Logs into an existing run from the first training worker, in the background and in order.

    While the server is away what is logged waits for it. A step that the run has already, from before it was killed
    and resumed, is not logged twice. What waits when it is killed is in its checkpoint, as `unsent`.
    """

    def __init__(self, uri: str, run_id: str):
        self.client, self.run_id, self.address = MlflowClient(uri), run_id, without_password(uri)
        self.numbers = Sender(f"MLflow at {self.address}")
        self.pictures = Sender(f"MLflow's artifact store at {self.address}")
        self._last: dict[str, int] = {}
        self._unsent: deque[Numbers] = deque()

    def ask_once(self, folder: str) -> None:
        """Asks the server for the run, if none in the run's folder had an answer: later it may be away for a while.

        Raises:
            Mistake: it does not answer here, or does not know the run.
        """
        if storage.size(folder, _ANSWERED) is None:
            self._ask()
            storage.write_json(folder, _ANSWERED, {})

    def _ask(self) -> None:
        try:
            with at_once():
                self.client.get_run(self.run_id)
        except MlflowException as error:
            raise Mistake(
                f"MLflow at {self.address}, which this command reaches, can't be used on a worker's node "
                f"({refusal(error, self.address) or one_line(error)}): set MLFLOW_TRACKING_URI to a host that all "
                "nodes reach, or train --offline into storage that all nodes see"
            ) from error

    def metrics(self, values: dict[str, float], step: int, now: int | None = None) -> None:
        """Numbers at a step, and in milliseconds since 1970 when they were measured."""
        numbers = {name: float(value) for name, value in values.items()}, step, now or get_current_time_millis()
        self._unsent.append(numbers)
        self._send(self.numbers, partial(self._log, *numbers))
        self.numbers.send(self._unsent.popleft)

    def unsent(self) -> list[Numbers]:
        """What `metrics` was given and MLflow may not have yet."""
        return list(self._unsent)

    def _log(self, values: dict[str, float], step: int, now: int) -> None:
        new = [Metric(name, value, now, step) for name, value in values.items() if step > self._logged(name)]
        try:
            self._log_batch(new)
        except MlflowException as error:
            if error.error_code not in _HOPELESS or len(new) == 1:
                raise
            self._log_singly(new)

    def _log_batch(self, metrics: list[Metric]) -> None:
        if metrics:
            self.client.log_batch(self.run_id, metrics=metrics)
            self._last |= {metric.key: metric.step for metric in metrics}

    def _log_singly(self, metrics: list[Metric]) -> None:
        """One that is refused, such as for its name, has the whole batch refused: the others arrive without it."""
        refused = {}
        for metric in metrics:
            try:
                self._log_batch([metric])
            except MlflowException as error:
                if error.error_code not in _HOPELESS:
                    raise
                refused[metric.key] = error
        if len(refused) == len(metrics):
            raise next(iter(refused.values()))
        if refused:
            say(f"warning: MLflow refuses a result, {', '.join(refused)}: {next(iter(refused.values()))}")

    def _logged(self, name: str) -> int:
        """The last step at which the run has this number; -1 if there is none."""
        if name not in self._last:
            history = self.client.get_metric_history(self.run_id, name)
            self._last[name] = max((metric.step for metric in history), default=-1)
        return self._last[name]

    def next_step(self, name: str) -> int:
        """The step after the last one that the run has of this number, so that it is logged again; 0 at first."""
        return self._logged(name) + 1

    def tags(self, values: dict[str, str]) -> None:
        """Words about the run."""
        for name, value in values.items():
            self._send(self.numbers, partial(self.client.set_tag, self.run_id, name, value))

    def picture(self, image: np.ndarray, path: str) -> None:
        """An RGB image, uint8 [h, w, 3], as a PNG artifact. Where artifacts can't be stored, numbers still arrive."""
        self._send(self.pictures, partial(self.client.log_image, self.run_id, image, artifact_file=path))

    def text(self, text: str, path: str) -> None:
        """Text, such as a page, as an artifact."""
        self._send(self.pictures, partial(self.client.log_text, self.run_id, text, path))

    def flush(self, seconds: float) -> bool:
        """Waits until all numbers are sent, but not longer than this. Returns whether they are."""
        return self.numbers.flush(seconds)

    def catch_up(self, seconds: float) -> None:
        """As `flush`, but at once where MLflow is away: every checkpoint would wait so long for nothing."""
        if not self.numbers.in_vain:
            self.flush(seconds)

    def finish(self, mend: str = "but numbers that train --resume sends") -> None:
        """The last wait, for pictures too. The run stays open: who started it ends it.

        Args:
            mend: what is said of results that MLflow does not take by then.
        """
        deadline = time.monotonic() + _LAST_WAIT
        if not all([sender.flush(deadline - time.monotonic()) for sender in (self.numbers, self.pictures)]):
            say(f"warning: MLflow did not answer for {_LAST_WAIT} s: the last results are lost, {mend}")

    def _send(self, sender: Sender, call: Callable[[], object]) -> None:
        doubts = count(1)

        def attempt() -> None:
            try:
                call()
            except MlflowException as error:
                doubted = error.error_code == _DOUBTFUL and next(doubts) < _TRIES
                if doubted or error.error_code not in _HOPELESS:
                    raise ConnectionError(refusal(error, self.address) or str(error)) from error
                say(f"warning: MLflow refuses a result: {error}")

        sender.send(attempt)
