"""What a run tells of its steps: skipped samples, speed, and a loss that is no number."""

import json
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import torch
import torch.distributed as dist

from pipelines import tracking
from pipelines.clock import Clock
from pipelines.cluster import ROOT
from pipelines.journal import Journal
from pipelines.recipe import parse_recipe
from pipelines.tracker import Tracker

TRAIN = {"steps": 20, "log_every": 10, "batch_size": 4}
NAN = float("nan")


def test_skipped_samples_are_counted_each_time_and_said_once(capsys):
    journal = Journal(parse_recipe({"data": {"skip_damaged": True}}), None, first_step=3, skipped=5)
    journal.skip(["", "sample a: bad", "sample b: bad", "sample a: bad"])
    journal.skip(["sample b: bad", "", "", "sample c: bad"])
    assert journal.all_skipped(torch.device("cpu")) == 10
    assert capsys.readouterr().err.splitlines() == [f"skipped: sample {name}: bad" for name in "abc"]


def test_validation_and_checkpoints_are_no_part_of_the_speed(tmp_path, capsys):
    """All that they took is told once a step, at the last step after they were."""
    recipe = parse_recipe({"train": TRAIN, "tracking": {"storage": str(tmp_path)}})
    tracker = Tracker(**tracking.worker_arguments(recipe, tracking.create_run("speed", recipe)))
    journal, clock = Journal(recipe, tracker, first_step=0), Clock()
    for step in (10, 20):
        clock.recent |= {"data": 1.0, "forward": 4.0, "validation": 30.0}
        journal.write(step, [{"loss": torch.tensor(1.0)}], clock, {"lr": 1e-4})
    clock.recent |= {"validation": clock.recent["validation"] + 5.0, "checkpoint": 15.0}
    for _ in range(2):
        journal.finish(clock)
    tracker.finish()
    logged = {
        name: [(metric.step, metric.value) for metric in tracker.client.get_metric_history(tracker.run_id, name)]
        for name in ("images_per_second", "time/forward", "time/validation", "time/checkpoint")
    }
    assert logged == {
        "images_per_second": [(10, 9 * 4 / 5), (20, 10 * 4 / 5)],  # the first step warms up
        "time/forward": [(10, 4.0), (20, 4.0)],
        "time/validation": [(10, 30.0), (20, 35.0)],
        "time/checkpoint": [(20, 15.0)],
    }
    assert "7.20 images/s  waiting for data 20%  left 5 s" in capsys.readouterr().err


def look(losses: list[float], rank: int = 0) -> str:
    """What a rank says of its losses from step 1; "" if nothing. Samples are named by rank and step."""
    journal = Journal(parse_recipe({}), None, first_step=0)
    for step, loss in enumerate(losses, start=1):
        journal.note(step, torch.tensor(loss), [f"rank{rank}-step{step}"])
    try:
        journal.check()
    except ValueError as error:
        return str(error)
    assert not journal.unseen
    return ""


def test_the_first_loss_that_is_no_number_is_named():
    assert look([2.0, 1.0]) == look([]) == ""
    assert look([2.0, float("inf"), NAN]).startswith("the loss is inf at step 2, samples rank0-step2: lower optimizer")


OF_BOTH_RANKS = [
    ([[2.0, 1.0, NAN], [2.0, NAN, NAN]], "the loss is nan at step 2, samples rank1-step2: lower"),
    ([[2.0, NAN], [2.0, NAN]], "the loss is nan at step 2, samples rank0-step2, rank1-step2: lower"),
    ([[2.0, 1.0], [2.0, 1.0]], ""),
]
"""Losses by rank, of which one has it first, both have it at once, or none; and what is said."""


def tell(rank: int) -> None:
    """A step's line. The second rank waits for data, and the first one for the second."""
    journal, clock = Journal(parse_recipe({"train": TRAIN}), None if rank else Mock(), first_step=0), Clock()
    clock.recent |= {"data": 6.0, "backward": 4.0} if rank else {"data": 1.0, "backward": 9.0}
    journal.write(10, [{"loss": torch.tensor(1.0)}], clock, {"lr": 1e-4})


def look_as(rank: int, folder: str) -> list[str]:
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    try:
        tell(rank)
        return [look(losses[rank], rank) for losses, _ in OF_BOTH_RANKS]
    finally:
        dist.destroy_process_group()


def test_ranks_agree_on_the_step_and_the_samples(tmp_path, capsys):
    """Two processes: gradients that are no number reach the other rank a step later. The line has the longest wait."""
    code = f"import sys, json; sys.path.insert(0, {str(Path(__file__).parent)!r}); import test_journal as test"
    argv = [sys.executable, "-W", "ignore", "-c", f"{code}; print(json.dumps(test.look_as(1, {str(tmp_path)!r})))"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=ROOT) as second:
        said = look_as(0, str(tmp_path))
        assert json.loads(second.communicate()[0].splitlines()[-1]) == said
    assert "waiting for data 60%" in capsys.readouterr().err
    for each, (_, words) in zip(said, OF_BOTH_RANKS, strict=True):
        assert each.startswith(words) and bool(each) == bool(words)
