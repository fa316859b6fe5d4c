"""Training on shards that are damaged: an error that names the damage, or a run that goes on without."""

import pytest
import torch
from mlflow import MlflowClient

from datasets.shards import Shards
from pipelines.feed import build_feed
from pipelines.recipe import load_recipe
from pipelines.train import check_inputs

RECIPE = "rein_dinov2_s_camvid_smoke"


def test_damage_stops_a_run_or_is_skipped_and_counted(streets, in_files, tmp_path, run_command, spoil):
    """A sample beyond the first batch, then a cut file too; two workers, so the counts are sums over them."""
    changes = {"data.train": f"{in_files},{streets.game}", "data.val": "", "tracking.storage": tmp_path}
    changes |= {"train.checkpoint_every": 100, "train.num_workers": 2}
    argv = [part for key, value in changes.items() for part in ("--set", f"{key}={value}")]
    sources, plan, _ = build_feed(load_recipe(RECIPE, argv[1::2]))
    picks = [plan.pick(position) for position in range(24)]
    index = next(pick.index for pick in picks[16:] if pick.source == 0)
    sample, other = sources[0].read(index), f"part-{1 - index // 5}.parquet"
    spoil(in_files / f"part-{index // 5}.parquet", sample)
    words = f"sample {sample.name}: .* can't be read .*; or train without it: data.skip_damaged=True [(]go on"
    with pytest.raises(ValueError, match=f"^training failed: .*{words} with --resume {tmp_path}"):
        run_command("train", RECIPE, *argv)
    (in_files / other).write_bytes((in_files / other).read_bytes()[:-100])
    (run,) = tmp_path.glob("*/run.json")
    with pytest.raises(ValueError, match=f"{other} has .* data.skip_damaged=True"):
        run_command("train", RECIPE, *argv, "--resume", run.parent)
    argv += ["--set", "data.skip_damaged=True"]
    result = run_command("train", RECIPE, *argv, "--resume", run.parent)
    skipped = [pick.source == 0 and (pick.index == index or pick.index // 5 != index // 5) for pick in picks]
    history = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db").get_metric_history(
        result["mlflow_run_id"], "skipped_samples"
    )
    assert [metric.value for metric in history] == [sum(skipped[: 4 * step]) for step in range(1, 7)]
    assert torch.load(f"{result['checkpoint']}/trainer.pt", weights_only=True)["skipped"] == sum(skipped) > 1


@pytest.mark.parametrize("setting", ["data.val", "data.source_val"])
def test_a_damaged_sample_of_validation_is_found_before_training(
    streets, in_files, tmp_path, run_command, spoil, setting
):
    """Of two that are scored it is the second; the pictures need none."""
    sample = Shards(str(in_files)).read(9)
    spoil(in_files / "part-1.parquet", sample)
    changes = {"data.train": streets.game, setting: in_files, "data.val_samples": 2, "train.pictures": 0}
    changes |= {"data.val": ""} if setting != "data.val" else {}
    changes |= {"tracking.storage": tmp_path / "runs"}
    argv = [part for key, value in changes.items() for part in ("--set", f"{key}={value}")]
    words = f"{setting}: a sample that validation needs is damaged: sample {sample.name}: .*ingest the data set again"
    with pytest.raises(ValueError, match=f"^{words}"):
        run_command("train", RECIPE, *argv)
    assert not list((tmp_path / "runs").glob("*/run.json"))
    assert check_inputs(load_recipe(RECIPE, argv[1::2]), is_new=False), "a run that goes on does not read all of them"
