"""A registered model is the one that was given, and with its VFM it serves where the VFM's file is not."""

import base64
import io
import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import cv2
import mlflow
import numpy as np
import pandas as pd
import pytest
import timm
import torch
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from PIL import Image

from datasets.labels import CLASSES, PALETTE
from pipelines import models, tracking
from pipelines.cluster import ROOT
from pipelines.recipe import load_recipe
from pipelines.register import check_alias, check_name, log_model, register
from rein_core import build_segmentor, predict_labels
from rein_core.checkpoint import WEIGHTS, save_checkpoint
from tuning import winner

IMAGE = np.random.default_rng(0).integers(0, 256, (48, 80, 3), dtype=np.uint8)


def test_with_its_vfm(run_command, tmp_path):
    file = tmp_path / "vit.pth"
    torch.save(timm.create_model("vit_tiny_patch16_224", num_classes=0).state_dict(), file)
    recipe = load_recipe("demo", ["model.decode_head.type=linear", "test.short_edge=64", f"model.vfm.weights={file}"])
    torch.manual_seed(0)
    segmentor = build_segmentor(recipe.model_section()).eval()
    save_checkpoint(tmp_path / "checkpoint", segmentor, recipe.model_dump(mode="json"), {"commit": "c0ffee"})
    (tmp_path / "checkpoint" / "trainer.pt").write_bytes(b"what only training needs stays behind")
    registered = run_command("register", tmp_path / "checkpoint", "whole", "--with-vfm", "--storage", tmp_path)
    file.unlink()
    model = mlflow.pyfunc.load_model(registered["uri"])
    answer = model.predict(pd.DataFrame({"image": [cv2.imencode(".png", IMAGE)[1].tobytes()]}))
    labels = np.array(Image.open(io.BytesIO(base64.b64decode(answer["labels"][0]))))
    assert np.array_equal(labels, predict_labels(segmentor, IMAGE, 64))
    again = model.predict(pd.DataFrame({"pixels": [IMAGE[..., ::-1].tolist()]}), params={"probabilities": True})
    assert again["labels"][0] == answer["labels"][0]
    probabilities = np.load(io.BytesIO(base64.b64decode(again["probabilities"][0])))
    chosen = np.take_along_axis(probabilities, labels[None].astype(np.int64), axis=0)[0]
    assert probabilities.shape == (19, 48, 80) and np.allclose(chosen, probabilities.max(axis=0), atol=1e-3)
    assert registered["uri"] == "models:/whole/1" and registered["lineage"]["vfm"]["name"] == "vit_tiny"
    assert_temporary(registered["uri"], tmp_path)
    assert_described(registered)
    held = {path.name for path in Path(mlflow.artifacts.download_artifacts(registered["uri"])).rglob("checkpoint/*")}
    assert held == {"model.safetensors", "recipe.json", "vfm.safetensors"}


def assert_described(registered: dict) -> None:
    """What a model says of itself before it is loaded."""
    info = mlflow.models.get_model_info(registered["uri"])
    assert info.metadata["classes"] == list(CLASSES) and info.metadata["colours"] == PALETTE.tolist()
    assert info.metadata["vfm_included"] and info.metadata["lineage"]["vfm"] == registered["lineage"]["vfm"]
    assert info.metadata["lineage"]["vfm"]["digest"]
    assert info.signature.inputs.input_names() == ["image", "pixels"] and info.saved_input_example_info
    assert info.signature.outputs.input_names()[:3] == ["labels", "height", "width"]
    tags = MlflowClient().get_model_version(registered["name"], str(registered["version"])).tags
    assert "vit_tiny" in tags["vfm"] and tags["commit"] == info.metadata["lineage"]["commit"] == "c0ffee"


def assert_temporary(uri: str, storage: Path) -> None:
    """A process copies the model out of MLflow, and has removed it when it ends."""
    code = (
        f"from pipelines import models, tracking; tracking.configure({str(storage)!r}); print(models.resolve({uri!r}))"
    )
    (temporary := storage / "tmp").mkdir()
    env = os.environ | {"TMPDIR": str(temporary)}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, timeout=200)
    assert done.stdout.startswith(str(temporary)) and not list(temporary.iterdir()), done.stderr


def test_offline_is_the_file_whatever_the_environment_says(small_checkpoint, tmp_path, monkeypatch):
    """Nobody answers there."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    checkpoint = small_checkpoint(tmp_path / "checkpoint", 0)
    done = register(str(checkpoint), "kept-here", storage=str(tmp_path), offline=True)
    version = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db").get_model_version("kept-here", "1")
    assert version.run_id == done["lineage"]["run_id"]


@pytest.mark.parametrize("name", ["", ".", "..", "-", "a/b", "a:b", "a b"])
def test_a_name_that_no_uri_can_hold_is_refused(name):
    with pytest.raises(ValueError, match="register: NAME .* use letters, digits, and dots, dashes and underscores am"):
        check_name("NAME", name)
    check_name("NAME", "street-model_1.0")


def test_an_alias_that_mlflow_refuses_is_named_before_anything_is_done(run_command, tmp_path):
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    for alias in ("a.b", "latest", "Latest", "v1", "V02", "", "a" * 256):
        with pytest.raises(MlflowException):
            client.set_registered_model_alias("m", alias, "1")
        with pytest.raises(ValueError, match=r"register: --alias '.*': "):
            run_command("register", "nowhere", "m", "--alias", alias, "--storage", tmp_path / "runs")
        with pytest.raises(ValueError, match=r"register: --to '.*': "):
            run_command("promote", "m", "nowhere", "--to", alias, "--storage", tmp_path / "runs")
        with pytest.raises(ValueError, match=r"register: --alias '.*': "):
            winner.check(Namespace(retrain_set=[], register="m", alias=alias), load_recipe("demo", []))
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("alias", ["champion", "v1-b", "latest_one", "2026-11"])
def test_other_aliases_are_taken(alias):
    check_alias("--alias", alias)


@pytest.fixture
def trained(tmp_path) -> Namespace:
    """A run's id, its checkpoints after steps 3 and 6, and its model, which is the later."""
    recipe, steps = load_recipe("demo", ["model.decode_head.type=linear", "test.short_edge=64"]), {}
    run_id = tracking.create_run("trained", recipe, storage=str(tmp_path))
    for step in (3, 6):
        torch.manual_seed(step)
        steps[step], provenance = tmp_path / f"step_{step}", {"mlflow_run_id": run_id, "step": step}
        segmentor = build_segmentor(recipe.model_section())
        save_checkpoint(steps[step], segmentor, recipe.model_dump(mode="json"), provenance)
    return Namespace(run_id=run_id, steps=steps, model=log_model(run_id, steps[6]))


def weights(model: str | Path) -> bytes:
    return (models.resolve(str(model)) / WEIGHTS).read_bytes()


def test_of_a_run_with_several_models_it_is_the_one_that_was_given(trained, run_command, tmp_path):
    """One of them is what a killed command left, before it was an output of the run."""
    run = MlflowClient().get_run(trained.run_id)
    for name in ("model", "registered"):
        MlflowClient().create_logged_model(run.info.experiment_id, name, trained.run_id)
    for version, step in enumerate((3, 6), 1):
        registered = run_command("register", trained.steps[step], "street", "--alias", "a", "--storage", tmp_path)
        assert weights(registered["uri"]) == weights(trained.steps[step]) and registered["version"] == version
        assert MlflowClient().get_model_version("street", str(version)).run_id == trained.run_id
    assert weights("models:/street/1") != weights("models:/street/2")


def test_the_model_of_a_run_stays_the_one_that_it_ended_with(trained, run_command, tmp_path):
    assert trained.model == f"runs:/{trained.run_id}/model"
    run_command("register", trained.steps[3], "street", "--storage", tmp_path)
    assert weights(trained.model) == weights(trained.steps[6])


@pytest.mark.parametrize("error", [MlflowException("no space left"), KeyboardInterrupt()])
def test_half_a_model_is_not_the_run_s(trained, monkeypatch, error):
    def cut_short(self: MlflowClient, model_id: str, folder: str) -> None:
        self.log_model_artifact(model_id, str(Path(folder) / "MLmodel"))
        raise error

    monkeypatch.setattr(MlflowClient, "log_model_artifacts", cut_short)
    with pytest.raises(type(error)):
        log_model(trained.run_id, trained.steps[3])
    assert weights(trained.model) == weights(trained.steps[6])


def test_half_a_model_of_a_process_that_was_killed_is_not_the_run_s_either(trained, tmp_path):
    """Nobody could delete it then. The next one that is logged does."""
    code = (
        "import os\nfrom mlflow import MlflowClient\nfrom pipelines import tracking\n"
        "from pipelines.register import log_model\n"
        f"tracking.configure({str(tmp_path)!r})\n"
        "MlflowClient.log_model_artifacts = lambda client, model_id, folder: (\n"
        "    client.log_model_artifact(model_id, f'{folder}/MLmodel'), os._exit(9))\n"
        f"log_model({trained.run_id!r}, {str(trained.steps[3])!r})\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert done.returncode == 9, done.stderr
    half, whole = models.logged(trained.run_id, "model")
    assert (half.status, whole.status) == ("PENDING", "READY")
    assert models.pin(trained.model) == f"models:/{whole.model_id}"
    assert weights(trained.model) == weights(trained.steps[6])
    assert log_model(trained.run_id, trained.steps[3]) == trained.model
    (latest, _) = models.logged(trained.run_id, "model")
    assert latest.status == "READY" and models.pin(trained.model) == f"models:/{latest.model_id}"
    assert weights(trained.model) == weights(trained.steps[3])
