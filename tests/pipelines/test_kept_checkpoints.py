"""Which checkpoints a run keeps, by Ray Train's own book-keeping."""

import asyncio
from pathlib import Path

import pytest
from pyarrow.fs import LocalFileSystem
from ray.train import Checkpoint
from ray.train.v2._internal.execution.checkpoint.checkpoint_manager import CheckpointManager
from ray.train.v2._internal.execution.storage import StorageContext
from ray.train.v2._internal.execution.training_report import _TrainingReport

from pipelines import runs
from pipelines.recipe import parse_recipe
from pipelines.train import _run_config


async def report(config, names: list[str]) -> list[list[str]]:
    """What is in the run's folder after each checkpoint."""
    storage = StorageContext(config.storage_path, config.name, config.storage_filesystem)
    manager, folder, there = CheckpointManager(config.checkpoint_config, storage), Path(config.storage_path), []
    for name in names:
        path = folder / config.name / name
        path.mkdir()
        metrics = {} if "old" in name else {"step": int(name.split("_")[1]), "done": not name.endswith(runs.UNSCORED)}
        checkpoint = Checkpoint(str(path), LocalFileSystem())
        manager.register_checkpoint(_TrainingReport(checkpoint=checkpoint, metrics=metrics, validation=False))
        there.append(sorted(each.name for each in path.parent.glob("step_*")))
    return there


@pytest.mark.parametrize(
    ("keep", "names", "kept"),
    [
        (2, ["step_2", "step_4_unscored", "step_4"], [["step_2"], ["step_2", "step_4_unscored"], ["step_2", "step_4"]]),
        (1, ["step_2", "step_4_unscored", "step_4"], [["step_2"], ["step_2", "step_4_unscored"], ["step_4"]]),
        (2, ["step_1", "step_2", "step_3_unscored", "step_3", "step_4"],
         [["step_1"], ["step_1", "step_2"], ["step_1", "step_2", "step_3_unscored"], ["step_2", "step_3"],
          ["step_3", "step_4"]]),
        (1, ["step_2_old", "step_4"], [["step_2_old"], ["step_4"]]),
    ],
)  # fmt: skip
def test_one_from_before_a_validation_takes_no_others_place(tmp_path, keep, names, kept):
    """The last one, which a run goes on from, is always there; an older version's say nothing of it."""
    recipe = parse_recipe({"train": {"keep_checkpoints": keep}, "tracking": {"storage": str(tmp_path)}})
    (tmp_path / "run").mkdir()
    config = _run_config(runs.Run(str(tmp_path / "run"), recipe, "0" * 32), [])
    assert asyncio.run(report(config, names)) == kept
    assert runs.last_checkpoint(str(tmp_path / "run")) == str(tmp_path / "run" / names[-1])
