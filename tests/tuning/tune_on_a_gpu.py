"""`python tune_on_a_gpu.py MARKS ARGV…` tunes on the Ray of RAY_ADDRESS, three trials on a GPU that it is only told of.

They train on a CPU. In MARKS the worker of each leaves when it begins and ends and what it holds. The first begins to
train when a second is there, and the second when there is a third. Prints, as JSON, those marks in the order in which
they began, and what is still held once all is done.
"""

import itertools
import json
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import ray.train.torch
import torch
from ray.train.torch import TorchConfig, TorchTrainer

from pipelines import train, worker
from pipelines.__main__ import command
from tuning import search, trial

SECONDS, TRIALS = 120, 3


def main(marks: str, *argv: str) -> None:
    """Tunes, and prints."""
    search.run_trial = partial(run_trial, marks=Path(marks))
    command(["tune", *argv])
    trials = [json.loads(file.read_text()) for file in sorted(Path(marks).iterdir())]
    print(json.dumps({"trials": trials, "held": held_at_the_end()}))


def held_at_the_end() -> dict[str, float]:
    """What is not free once all had the time to end."""
    deadline = time.monotonic() + SECONDS / 4
    while True:
        all_there_is, free = ray.cluster_resources(), ray.available_resources()
        held = {name: all_there_is[name] - free.get(name, 0) for name in ("CPU", "GPU")}
        if not any(held.values()) or time.monotonic() > deadline:
            return held
        time.sleep(0.1)


def run_trial(config: dict[str, Any], plan: dict[str, Any], marks: Path) -> dict[str, Any]:
    """The real one, with NCCL, which wants a real GPU, replaced by gloo."""
    train.TorchTrainer = partial(TorchTrainer, torch_config=TorchConfig(backend="gloo"))
    trial.train = partial(train.train, worker=partial(train_worker, marks))
    return trial.run_trial(config, plan)


def train_worker(marks: Path, config: dict[str, Any]) -> dict[str, float]:
    """The real one, on a CPU, between its marks."""
    ray.train.torch.get_device = lambda: torch.device("cpu")
    here = ray.get_runtime_context()
    held = {"begin": time.time(), "gpus": ray.get_gpu_ids(), "resources": here.get_assigned_resources()}
    order = next(i for i in itertools.count() if begun(marks / str(i)))
    wait_for(min(order + 2, TRIALS), marks)
    metrics = worker.train_worker(config)
    (marks / str(order)).write_text(json.dumps(held | {"end": time.time()}))
    return metrics


def begun(mark: Path) -> bool:
    """Whether this mark is new."""
    try:
        mark.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def wait_for(trials: int, marks: Path) -> None:
    """Until so many have begun."""
    deadline = time.monotonic() + SECONDS
    while (there := len(list(marks.iterdir()))) < trials:
        assert time.monotonic() < deadline, f"{there} of {trials} trials"
        time.sleep(0.1)


if __name__ == "__main__":
    main(*sys.argv[1:])
