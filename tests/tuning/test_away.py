"""What a sweep has found is not lost where MLflow is away, or a disk full, when it ends."""

import argparse
import json
import time
from pathlib import Path

import pytest
from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_MAX_RETRIES

from datasets import storage
from pipelines import refusals, tracking
from pipelines.recipe import load_recipe
from tuning import outcome, search, winner
from tuning.space import Space
from tuning.sweep import FINISHED, SWEEP_FILE, Sweep

NOTHING_MORE = argparse.Namespace(retrain=False, retrain_set=[], register=None, alias=None)


def swept(folder: Path, shards: str) -> Sweep:
    """A sweep of one trial, which is finished."""
    changes = [f"tracking.storage={folder}", f"data.source_val={shards}", "tune.token_length=[5]", "tune.rank=[2]"]
    recipe = load_recipe("tune_token_rank_smoke", changes)
    (folder / "sweep" / "trials").mkdir(parents=True)
    storage.write_json(str(folder / "sweep"), SWEEP_FILE, {"recipe": recipe.model_dump(mode="json")})
    sweep = Sweep(f"{folder}/sweep", recipe, "0" * 32, {})
    (draw,) = Space(recipe).grid()
    record = sweep.record(draw)
    record.status, record.history = FINISHED, [{"step": 6, "source_mIoU": 12.5}]
    return sweep


@pytest.fixture
def away(free_port, monkeypatch) -> str:
    """The address of an MLflow that does not answer, and is not asked for long."""
    monkeypatch.setitem(refusals._PATIENCE, MLFLOW_HTTP_REQUEST_MAX_RETRIES, 0)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    tracking._point_at(tracking.named_store())
    return refusals.where()


def test_what_was_found_is_told_and_kept(streets, tmp_path, away, capsys):
    sweep, started = swept(tmp_path, streets.game), time.monotonic()
    found = search._run(NOTHING_MORE, sweep)
    assert time.monotonic() - started < 60, "MLflow's usual patience is four minutes a call"
    assert found["best"]["score"] == 12.5
    folder, said = Path(sweep.folder), capsys.readouterr().err
    assert "12.50" in said and "best by source_mIoU (held-out samples of the source" in said
    assert json.loads((folder / "results.json").read_text())["best"]["rank"] == 2
    assert "12.5" in (folder / "results.csv").read_text() and all(Path(each).is_file() for each in found["pictures"])
    for mend in ("runs of its trials may be open there: --resume {} ends", "and not there: --resume {} logs it"):
        assert any(f"warning: MLflow at {away}" in line and mend.format(folder) in line for line in said.splitlines())


def test_a_full_disk_at_the_end_names_resume(streets, small_disk, fill, away):
    disk = small_disk(2)
    sweep = swept(disk, streets.game)
    fill(disk)
    words = (
        rf"^{disk}/sweep: table and pictures can't be written \(.*No space left.*\): .*, then --resume {disk}/sweep$"
    )
    with pytest.raises(ValueError, match=words):
        outcome.conclude(sweep)


def test_a_best_whose_checkpoint_was_cut_is_said_and_not_registered(streets, tmp_path, away, capsys):
    """The trial was killed while it wrote that."""
    sweep = swept(tmp_path, streets.game)
    best = outcome.conclude(sweep)["best"]
    why = f"{tmp_path}/sweep-rein-m5-r2 lacks its best checkpoint, of step 6: it was killed in writing it, and has no"
    assert f"warning: {why}" in capsys.readouterr().err
    asked = argparse.Namespace(**vars(NOTHING_MORE) | {"register": "model"})
    last = best | {"checkpoint": f"{tmp_path}/sweep-rein-m5-r2/step_000004"}
    with pytest.raises(ValueError, match="step_000004 is its last one: add --retrain, or register what there is by ha"):
        winner.use(asked, sweep, last)
