"""The end of a sweep: the table and pictures in its folder and in MLflow, and the best trial in words."""

import tempfile
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs
from mlflow import MlflowClient

from datasets import storage
from datasets.sample import one_line
from pipelines import refusals, tracking
from pipelines.evaluation import resolution
from pipelines.scoring import Protocol
from pipelines.settings import Recipe
from pipelines.terminal import say
from pipelines.validation import domains_of
from tuning import plots, results
from tuning.sweep import Sweep


def conclude(sweep: Sweep) -> dict[str, Any]:
    """Writes `results.json`, `results.csv` and pictures, and returns what `tune` returns of them.

    Raises:
        ValueError: no trial came to a validation, or the sweep's folder takes no files.
    """
    table = results.rows(sweep)
    best = table[0]
    if best["score"] is None:
        raise ValueError(f"tune: no trial came to a validation: {best['error'] or 'see the log'}")
    say(results.to_text(table, sweep.metric))
    objective = describe(sweep)  # opens shards, and the table is seen though their store be away
    say(f"best by {sweep.metric} ({objective['words']}; {objective['tested']}): {best['checkpoint']}")
    if why := results.not_the_best(best):
        say(f"warning: {why}")
    if lost := sweep.lost():
        say(f"warning: {lost}: --resume {sweep.folder} tries them again")
    found = {"best": best, "trials": table, "objective": objective}
    found |= {f"pareto_{cost}": [row["run_dir"] for row in results.pareto(table, cost)] for cost in results.COSTS}
    pictures = _write(sweep, found)
    return found | {"sweep_dir": sweep.folder, "mlflow_run_id": sweep.mlflow_run_id, "pictures": pictures}


def describe(sweep: Sweep) -> dict[str, Any]:
    """What trials were compared by; that it was on target domains is said."""
    data, on = sweep.recipe.data, sweep.recipe.tune.objective
    words = "held-out samples of the source" if on == "source" else "TARGET domains: no test of generalisation any more"
    shards = data.source_val if on == "source" else data.val
    return {"metric": sweep.metric, "on": on, "shards": shards, "words": words, "tested": _tested(sweep.recipe, shards)}


def _tested(recipe: Recipe, uris: list[str]) -> str:
    """How many samples of each domain gave the scores, and at what size."""
    protocol = Protocol(test_cfg=recipe.model_section().get("test_cfg"))
    return "; ".join(
        f"{domain.name}: {len(domain.indices)}, {resolution(domain, protocol)}" for domain in domains_of(recipe, uris)
    )


def _write(sweep: Sweep, found: dict[str, Any]) -> list[str]:
    """All files, in the sweep's folder and then in MLflow. Returns the pictures' paths or URIs."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "results.json").write_bytes(storage.to_json(found))
        (folder / "results.csv").write_text(results.to_csv(found["trials"]))
        pictures = plots.draw(found["trials"], sweep.metric, folder)
        _copy(folder, sweep.folder)
        with refusals.tolerated(f"the table is above, and not there: --resume {sweep.folder} logs it"):
            _log(sweep, found, folder)
    return [storage.join(sweep.folder, picture.name) for picture in pictures]


def _copy(folder: Path, uri: str) -> None:
    files, path = storage.filesystem(uri)
    try:
        for file in sorted(folder.iterdir()):
            pafs.copy_files(str(file), f"{path}/{file.name}", destination_filesystem=files, use_threads=False)
    except OSError as error:
        reason = f"{uri}: table and pictures can't be written ({one_line(error)})"
        raise ValueError(f"{reason}: free space or mend the store, then --resume {uri}") from error


def _log(sweep: Sweep, found: dict[str, Any], folder: Path) -> None:
    with refusals.at_once():
        tracking.log_metrics(sweep.mlflow_run_id, {f"best/{sweep.metric}": found["best"]["score"]})
        MlflowClient().set_tag(sweep.mlflow_run_id, "tune.objective", found["objective"]["words"])
        MlflowClient().log_artifacts(sweep.mlflow_run_id, str(folder), "sweep")
