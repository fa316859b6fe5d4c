"""MODEL on the command line: all who score it score the same checkpoint, and have all that it brings along."""

from pathlib import Path

import pyarrow.fs as pafs
import pytest
from mlflow import MlflowClient

from datasets import storage
from pipelines import cluster, models, runs, scoring
from rein_core.checkpoint import VFM


@pytest.fixture
def bucket(bucket_of) -> str:
    return bucket_of("models")


@pytest.mark.parametrize("brings", [True, False])
def test_a_vfm_that_a_checkpoint_brings_along_comes_from_the_store_too(bucket, small_checkpoint, tmp_path, brings):
    folder = small_checkpoint(tmp_path / "checkpoint", 0)
    if brings:
        (folder / VFM).write_bytes(b"weights")
    uri = bucket.format(f"checkpoint-{brings}")
    files, path = storage.filesystem(uri)
    files.create_dir(path)
    pafs.copy_files(str(folder), path, destination_filesystem=files, use_threads=False)
    copy = models.resolve(uri)
    assert {file.name: file.read_bytes() for file in copy.iterdir()} == {
        file.name: file.read_bytes() for file in folder.iterdir()
    }


def test_a_run_that_trains_on_is_the_checkpoint_that_it_was(tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    monkeypatch.setattr(runs, "last_checkpoint", lambda run: f"{run}/step_000002")
    pinned = models.pin(str(tmp_path / "run"))
    assert pinned == f"{tmp_path}/run/step_000002"
    monkeypatch.setattr(runs, "last_checkpoint", lambda run: f"{run}/step_000004")
    (tmp_path / "run" / "step_000002").mkdir()
    (tmp_path / "run" / "step_000002" / "recipe.json").write_text("{}")
    assert str(models.resolve(pinned)) == pinned


def test_a_relative_folder_is_found_from_elsewhere(small_checkpoint, tmp_path, monkeypatch):
    folder = small_checkpoint(tmp_path / "checkpoint", 0)
    monkeypatch.chdir(tmp_path)
    assert models.pin("checkpoint") == str(folder)


@pytest.mark.parametrize("command", ["evaluate", "compare"])
def test_actors_score_the_model_that_was_asked_for(
    streets, small_checkpoint, run_command, tmp_path, monkeypatch, command
):
    """The alias moves while they start. Only Ray is left out: the actors' own class scores, in this process."""
    folders = [small_checkpoint(tmp_path / f"checkpoint-{seed}", seed) for seed in (0, 1)]
    for folder in folders:
        run_command("register", folder, "street", "--storage", tmp_path)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    client = MlflowClient(uri)
    client.set_registered_model_alias("street", "live", "1")
    used = []

    def here(model, vfm_weights, domains, protocol, workers):
        client.set_registered_model_alias("street", "live", "2")
        used.append(model)
        scorer = scoring.Scorer(model, vfm_weights, domains, protocol, uri, threads=1)
        yield from scoring.score_here(scorer.segmentor, domains, protocol)

    monkeypatch.setattr(cluster, "connect", lambda: None)
    monkeypatch.setattr(scoring, "score_by_actors", here)
    options = ["--limit", 2, "--workers", 1, "--storage", tmp_path]
    if command == "evaluate":
        found = run_command("evaluate", "models:/street@live", streets.camera, *options, "--pictures", 0)
        scores = found["domains"]["camera"]["IoU"]
    else:
        found = run_command("compare", "models:/street@live", folders[1], "--on", streets.camera, *options)
        scores = {label: each[0] for label, each in found["domains"]["camera"]["IoU"].items()}
    assert used[0] == "models:/street/1"
    wanted = run_command("evaluate", folders[0], streets.camera, *options[:2], *options[4:], "--pictures", 0)
    assert scores == wanted["domains"]["camera"]["IoU"]


def test_an_alias_that_nobody_has_is_named(small_checkpoint, run_command, tmp_path):
    run_command("register", small_checkpoint(Path(tmp_path / "checkpoint"), 0), "street", "--storage", tmp_path)
    with pytest.raises(ValueError, match="^model models:/street@gone: .*gone.*; registered in .*: models:/street/1"):
        models.pin("models:/street@gone")
