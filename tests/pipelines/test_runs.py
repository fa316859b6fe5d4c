"""The best checkpoint of a run, on a disk and in a real S3 server."""

import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

import pytest
from pyarrow.fs import LocalFileSystem

from datasets import storage
from pipelines import runs, tracking
from pipelines.cluster import ROOT
from pipelines.recipe import parse_recipe


@pytest.fixture(params=["disk", "store"])
def folder(request, tmp_path, bucket_of) -> str:
    return str(tmp_path / "run") if request.param == "disk" else bucket_of("runs").format("a")


def checkpoint(folder: Path, score: float | None) -> Path:
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(f"weights {score}".encode())
    provenance = {} if score is None else {"mIoU": score}
    (folder / "recipe.json").write_text(json.dumps({"recipe": {}, "provenance": provenance}))
    return folder


def test_the_best_is_replaced_whole(folder, tmp_path):
    assert runs.best_score(folder, 5) == -1
    for score, better in ((10.0, True), (20.5, True), (20.5, False), (None, False), (15.0, False)):
        given = checkpoint(tmp_path / f"{score}-{better}", score)
        assert runs.keep_best(folder, given, 5) == better
    assert runs.best_score(folder, 5) == 20.5
    best = storage.join(folder, runs.BEST)
    assert set(storage.listing(best)) - {""} == {"model.safetensors", "recipe.json"}
    files, path = storage.filesystem(best)
    assert files.open_input_stream(f"{path}/model.safetensors").read() == b"weights 20.5"


def test_a_best_score_that_is_no_number_is_none(tmp_path):
    """As an earlier version of this project may have kept one."""
    checkpoint(tmp_path / runs.BEST, float("nan"))
    assert runs.best_score(str(tmp_path), 5) == -1


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"backbone": {"type": "ResNet", "frozen_stages": 1}}, ["model"]),
        ({"auxiliary_head": {"type": "FCNHead"}}, ["model"]),
        ({"decode_head": {"type": "FCNHead", "channels": 8}}, ["model", "model.decode_head"]),
        ({}, []),
    ],
)
def test_a_change_in_a_model_of_mmsegs_own_is_named(change, named):
    model = {"type": "EncoderDecoder", "backbone": {"type": "ResNet"}, "decode_head": {"type": "FCNHead"}}
    before, after = (parse_recipe({"model": values}) for values in (model, model | change))
    assert runs.changed_settings(before, after, runs.MAY_CHANGE) == named


def test_a_change_in_a_model_of_ours_is_named_by_its_parts():
    before, after, mmsegs = (
        parse_recipe({"model": model})
        for model in ({}, {"vfm": {"patch_size": 14}}, {"type": "EncoderDecoder", "backbone": {}})
    )
    assert runs.changed_settings(before, after, ()) == ["model.vfm.patch_size"]
    for pair in ((before, mmsegs), (mmsegs, before)):
        assert any(key.startswith("model") for key in runs.changed_settings(*pair, ()))


def test_how_often_a_run_saves_may_change_when_it_goes_on():
    now = {"checkpoint_every": 7, "keep_checkpoints": 5, "pictures": 0}
    before, after, validates = (
        parse_recipe({"model": {}, "train": train}) for train in ({}, now, now | {"validate_every": 7})
    )
    assert runs.changed_settings(before, after, runs.MAY_CHANGE) == []
    assert runs.changed_settings(before, validates, runs.MAY_CHANGE) == ["train.validate_every"]


def test_a_name_is_no_path():
    with pytest.raises(ValueError, match=r"--name 'a/b': give a folder's name"):
        runs.Run.find("a/b", None)


def test_a_run_that_mlflow_refuses_leaves_no_folder(tmp_path, monkeypatch):
    """Unless it was there before."""
    recipe = parse_recipe({"tracking": {"storage": str(tmp_path)}})
    (tmp_path / "mine").mkdir()
    monkeypatch.setattr(tracking, "create_run", mock.Mock(side_effect=ValueError("MLflow: no")))
    for name in ("streets", "mine"):
        with pytest.raises(ValueError, match="^MLflow: no$"):
            runs.Run.create(recipe, name=name)
    assert [folder.name for folder in tmp_path.iterdir()] == ["mine"]


def test_a_node_that_does_not_see_the_run_is_told_so(folder):
    """Ray Train itself finds out at the first checkpoint."""
    with pytest.raises(ValueError, match="tracking.storage: .* has no run.json on this worker's node: name a folder"):
        runs.check_seen(folder)
    files, path = storage.filesystem(folder)
    files.create_dir(path)
    storage.write_json(folder, runs.RUN_FILE, {})
    runs.check_seen(folder)


def test_the_last_checkpoint_waits_for_a_store_that_is_away(tmp_path, monkeypatch, capsys):
    away = mock.Mock(wraps=LocalFileSystem(), type_name="local")
    away.get_file_info.side_effect = [OSError("503"), *[LocalFileSystem().get_file_info([str(tmp_path / "run")])] * 9]
    monkeypatch.setattr(storage, "filesystem", lambda folder: (away, folder))
    assert runs.last_checkpoint(str(tmp_path / "run"), 5) is None
    assert away.get_file_info.call_count >= 2 and "run: the store answers again" in capsys.readouterr().err


def test_one_process_at_a_time(tmp_path):
    """Another process trains in the folder; when that was killed the folder is free."""
    waits = "from pipelines.runs import alone\nwith alone(sys.argv[1]):\n    print(flush=True)\n    input()"
    argv = [sys.executable, "-W", "ignore", "-c", f"import sys\n{waits}", str(tmp_path)]
    other = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)
    try:
        other.stdout.readline()
        with pytest.raises(ValueError, match="another process: wait for its end or stop it"), runs.alone(str(tmp_path)):
            pass
    finally:
        other.kill()
        other.wait()
    with runs.alone(str(tmp_path)), runs.alone("s3://bucket/run"):
        pass


def test_a_name_becomes_one_run(tmp_path, monkeypatch):
    """Of two commands at once, the first is in the midst of its MLflow run when the second looks."""
    recipe, create_run = parse_recipe({"tracking": {"storage": str(tmp_path)}}), tracking.create_run
    inside, looked = threading.Event(), threading.Event()

    def slow(*arguments) -> str:
        inside.set()
        looked.wait(timeout=60)
        return create_run(*arguments)

    monkeypatch.setattr(tracking, "create_run", slow)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(runs.Run.create, recipe, name="streets")
        inside.wait(timeout=60)
        try:
            with pytest.raises(ValueError, match=f"^{tmp_path}/streets is being worked on by another process: wait"):
                runs.Run.create(recipe, name="streets")
        finally:
            looked.set()
        made = first.result()
    with pytest.raises(ValueError, match="streets is another run's: the same --name goes on with it"):
        runs.Run.create(recipe, name="streets")
    assert runs.Run.find("streets", recipe).mlflow_run_id == made.mlflow_run_id
