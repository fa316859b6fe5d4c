"""What the person at the terminal sees: our own lines of progress on stderr, and of the libraries only what matters."""

import json
import logging
import math
import os
import sys
import warnings
from typing import Any


def say(text: str) -> None:
    """A line of progress."""
    sys.stderr.write(f"{text}\n")  # not print: Ray Train shows a worker's prints twice
    sys.stderr.flush()


def duration(seconds: float) -> str:
    """`95` → `1 min 35 s`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def to_json(values: Any, **how: Any) -> str:
    """JSON as every reader takes it: a number that is none (NaN) is null.

    Args:
        how: arguments of `json.dumps`.
    """
    return json.dumps(_without_nan(values), allow_nan=False, **how)


def _without_nan(values: Any) -> Any:
    if isinstance(values, dict):
        return {key: _without_nan(value) for key, value in values.items()}
    if isinstance(values, (list, tuple)):
        return [_without_nan(value) for value in values]
    return None if isinstance(values, float) and not math.isfinite(values) else values


def quiet() -> None:
    """Leaves the terminal to our own lines, and to errors."""
    by_file = [name for name in logging.root.manager.loggerDict if "/ray/" in name]  # so Ray names some of them
    for name in ("ray.data", "ray.train", "mlflow", *by_file):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # Ray's are not; nobody writes into them
    warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step")  # float16's scaler may skip first steps
    warnings.filterwarnings("ignore", module="PIL")  # on odd or large images, which are named where they are read
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # stdout is for the JSON line
