"""Training for real: Ray Train workers on real shards, killed and resumed, tracked in a real MLflow store."""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import mlflow
import pytest
import torch
from mlflow import MlflowClient
from safetensors.torch import load_file

from pipelines.mistakes import Diverged
from pipelines.models import resolve
from pipelines.recipe import load_recipe
from pipelines.runs import Run, step_name
from pipelines.train import train
from rein_core.checkpoint import load_checkpoint, read_checkpoint

ROOT = Path(__file__).resolve().parents[2]
RECIPE = "rein_dinov2_s_camvid_smoke"
FP32 = {"train.precision": "fp32"}  # "auto" is bf16 on some CPUs


def settings(streets, storage: Path, **changes) -> list[str]:
    values = {"data.train": streets.game, "data.val": streets.camera, "tracking.storage": storage} | changes
    return [part for key, value in values.items() for part in ("--set", f"{key}={value}")]


@pytest.fixture(scope="module")
def trained(streets, tmp_path_factory, run_command) -> dict:
    storage = tmp_path_factory.mktemp("runs")
    return run_command("train", RECIPE, *settings(streets, storage, **FP32)) | {"storage": storage}


def test_a_run_leaves_a_checkpoint_of_trained_parameters_only(trained):
    folder = Path(trained["checkpoint"])
    assert sorted(file.name for file in folder.iterdir()) == ["model.safetensors", "recipe.json", "trainer.pt"]
    names = load_file(folder / "model.safetensors").keys()
    assert "backbone.reins.learnable_tokens_a" in names and "decode_head.cls_embed.weight" in names
    assert not [name for name in names if name.startswith("backbone.vfm")]
    assert torch.load(folder / "trainer.pt", weights_only=True)["step"] == 6
    assert json.loads((folder / "recipe.json").read_text())["provenance"]["vfm"]["digest"] == "random:0"
    assert resolve(trained["run_dir"]) == folder
    others = Path(tempfile.gettempdir()).glob("checkpoint-*/recipe.json")
    assert not [file for file in others if str(trained["storage"]) in file.read_text()]


def test_a_run_is_tracked(trained):
    client = MlflowClient(f"sqlite:///{trained['storage']}/mlflow.db")
    run = client.get_run(trained["mlflow_run_id"])
    assert run.info.status == "FINISHED"
    assert run.data.params["model.adapter.rank"] == "4" and run.data.params["train.steps"] == "6"
    assert run.data.tags["commit"]
    assert run.data.tags["vfm"] == "vit_tiny (random:0)" and run.data.tags["vfm.digest"] == "random:0"
    losses = client.get_metric_history(trained["mlflow_run_id"], "loss")
    assert sorted(metric.step for metric in losses) == [1, 2, 3, 4, 5, 6]
    assert {name for name in run.data.metrics if "loss" in name} == {
        "loss", "decode.loss_cls", "decode.loss_mask", "decode.loss_dice", "time/loss"
    }  # fmt: skip
    for phase, steps in {"validation": [6], "checkpoint": [4, 6]}.items():  # that of step 3 is told a step later
        measured = client.get_metric_history(trained["mlflow_run_id"], f"time/{phase}")
        assert [metric.step for metric in measured] == steps and measured[0].value > 0
    assert run.data.metrics["val/camera/mIoU"] == pytest.approx(trained["metrics"]["val/camera/mIoU"])
    assert [file.path for file in client.list_artifacts(trained["mlflow_run_id"], "val/camera")]


def test_another_adapter_and_head_train_and_their_average_is_saved(streets, tmp_path, run_command):
    changes = {"model.adapter.type": "soma", "model.decode_head.type": "linear", "train.ema_decay": 0.9}
    result = run_command("train", RECIPE, *settings(streets, tmp_path, **changes))
    saved = load_file(f"{result['checkpoint']}/model.safetensors")
    own = torch.load(f"{result['checkpoint']}/trainer.pt", weights_only=True)["weights"]
    assert own.keys() == {name for name in saved if "running" not in name and "num_batches" not in name}
    assert any("lora_A" in name for name in own) and any(not torch.equal(own[name], saved[name]) for name in own)
    scores = run_command("evaluate", result["run_dir"], streets.camera, "--storage", tmp_path, "--limit", 1)
    assert scores["domains"]["camera"]["samples"] == 1


@pytest.mark.parametrize(("precision", "scales"), [("fp16", {2.0**14, 2.0**15, 2.0**16}), ("bf16", {None})])
def test_half_precision_and_recomputed_blocks(streets, tmp_path, trained, run_command, precision, scales):
    """The first loss is that of float32, within rounding, and fp16's loss scale is in the checkpoint."""
    changes = {"train.precision": precision, "train.activation_checkpointing": True, "train.steps": 2}
    result = run_command("train", RECIPE, *settings(streets, tmp_path, **changes))
    assert first_loss(tmp_path, result) == pytest.approx(first_loss(trained["storage"], trained), rel=0.02)
    state = torch.load(f"{result['checkpoint']}/trainer.pt", weights_only=True)
    assert state["scaler"].get("scale") in scales
    assert {value.dtype for value in load_file(f"{result['checkpoint']}/model.safetensors").values()} == {torch.float32}
    assert not torch.load(f"{trained['checkpoint']}/trainer.pt", weights_only=True)["scaler"]


def test_a_model_of_mmsegs_own_logs_all_its_losses(streets, tmp_path, run_command):
    recipe = tmp_path / "own.py"
    recipe.write_text(f"""
head = dict(type="FCNHead", num_convs=1, num_classes=19, norm_cfg=dict(type="BN"), channels=8)
model = dict(
    type="EncoderDecoder",
    data_preprocessor=dict(type="SegDataPreProcessor", size_divisor=32, pad_val=0, seg_pad_val=255),
    backbone=dict(type="ResNetV1c", depth=18, base_channels=8, norm_cfg=dict(type="BN")),
    decode_head=dict(in_channels=64, in_index=3, **head),
    auxiliary_head=dict(in_channels=32, in_index=2, **head),
    test_cfg=dict(mode="whole"),
)
del head
data = dict(train=[{streets.game!r}], augment=dict(short_edges=[64], crop_size=(64, 64)))
train = dict(steps=2, log_every=1, batch_size=2)
tracking = dict(storage={str(tmp_path)!r})
""")
    result = run_command("train", recipe)
    metrics = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db").get_run(result["mlflow_run_id"]).data.metrics
    assert metrics["loss"] == pytest.approx(metrics["decode.loss_ce"] + metrics["aux.loss_ce"])
    names = load_file(f"{result['checkpoint']}/model.safetensors").keys()
    assert "auxiliary_head.conv_seg.weight" in names and "backbone.layer1.0.conv1.weight" in names


def test_compiled(streets, tmp_path, trained, run_command):
    """By torch.compile: the first loss is that of a plain run, and checkpoints have the same names."""
    changes = FP32 | {"train.compile": True, "train.steps": 2}
    result = run_command("train", RECIPE, *settings(streets, tmp_path, **changes))
    assert first_loss(tmp_path, result) == pytest.approx(first_loss(trained["storage"], trained), rel=1e-3)
    names = load_file(f"{result['checkpoint']}/model.safetensors").keys()
    assert names == load_file(f"{trained['checkpoint']}/model.safetensors").keys()


def first_loss(storage: Path, result: dict) -> float:
    return dict(logged(storage, result))[1]


def logged(storage: Path, result: dict, name: str = "loss") -> list[tuple[int, float]]:
    client = MlflowClient(f"sqlite:///{storage}/mlflow.db")
    return [(metric.step, metric.value) for metric in client.get_metric_history(result["mlflow_run_id"], name)]


def test_any_number_of_workers_trains_alike(streets, tmp_path, run_command):
    """One worker with batches of 4, and two with 2 each, in float32: the same losses over 20 steps, up to rounding.

    Rounding grows, as it decides now and then which points and matches are near a tie: at first there is none of that.
    """
    curves = {}
    for workers in (1, 2):
        changes = {"train.num_workers": workers, "train.steps": 20, "optimizer.lr": 5e-4, "data.val": ""}
        changes |= FP32
        result = run_command("train", RECIPE, *settings(streets, tmp_path, **changes))
        curves[workers] = logged(tmp_path, result)
    assert [step for step, _ in curves[1]] == [step for step, _ in curves[2]] == list(range(1, 21))
    for (step, alone), (_, together) in zip(curves[1], curves[2], strict=True):
        assert together == pytest.approx(alone, rel=1e-5 if step <= 10 else 1e-3)
    assert curves[1][-1][1] != pytest.approx(curves[1][0][1], rel=0.05), "it has learnt something meanwhile"


def test_accumulated_parts(streets, tmp_path, run_command):
    """Losses and gradients are those of the whole batch, though its images have unlike numbers of classes."""
    # AdamW makes whole steps of rounding: at 1e-5, with some seeds, they decide which of two points is less certain
    fixed = FP32 | {"train.steps": 3, "data.val": "", "optimizer.lr": 1e-9}
    argv = [settings(streets, tmp_path, **fixed, **{"train.num_workers": n, "train.accumulate": n}) for n in (1, 2)]
    whole, parts = (run_command("train", RECIPE, *each) for each in argv)
    assert [step for step, _ in logged(tmp_path, parts)] == [1, 2, 3]
    for name in ("loss", "grad_norm"):
        expected = [(step, pytest.approx(value, rel=1e-5)) for step, value in logged(tmp_path, whole, name)]
        assert logged(tmp_path, parts, name) == expected, name


@pytest.mark.parametrize("chosen_on", ["source", "target"])
def test_the_best_checkpoint_is_kept_and_says_what_chose_it(streets, tmp_path, run_command, chosen_on, capfd):
    own = {
        "data.source_val": streets.game,
        "train.keep_best": chosen_on,
        "train.validate_every": 2,
        "optimizer.lr": 0.01,
    }
    result = run_command("train", RECIPE, *settings(streets, tmp_path, **own))
    assert f"warning: data.source_val: 10 of 10 samples in {streets.game} are trained on" in capfd.readouterr().err
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    name = "source_mIoU" if chosen_on == "source" else "mIoU"
    history = {m.step: m.value for m in client.get_metric_history(result["mlflow_run_id"], name)}
    assert set(history) == {2, 4, 6} and {"val/game/mIoU", "val/camera/mIoU"} <= result["metrics"].keys()
    _, provenance = read_checkpoint(Path(result["run_dir"]) / "best")
    assert provenance["chosen_on"] == chosen_on and provenance["mIoU"] == max(history.values())
    assert history[provenance["step"]] == max(history.values())
    assert result["best"] == {name: provenance[name] for name in ("step", "chosen_on", "mIoU")}
    pictures = client.list_artifacts(result["mlflow_run_id"], "val/camera")
    assert [len(client.list_artifacts(result["mlflow_run_id"], folder.path)) for folder in pictures] == [3]


@pytest.mark.parametrize("every", [1, 100])
def test_a_loss_that_is_no_number_stops_the_run(streets, tmp_path, run_command, every):
    """Checkpoints before it are kept, and load; where none is due it is found at the next line, and none is saved."""
    changes = {"optimizer.lr": 1e30, "train.log_every": 4, "train.checkpoint_every": every}
    words = r"the loss is (nan|inf) at step [23], samples \d+, \d+, \d+, \d+: lower optimizer.lr"
    with pytest.raises(Diverged, match=words) as stopped:
        run_command("train", RECIPE, *settings(streets, tmp_path, **changes))
    bad = int(re.search(r"at step (\d)", str(stopped.value)).group(1))
    kept = sorted(tmp_path.glob("*/step_*"))
    assert [folder.name for folder in kept] == [step_name(step) for step in range(1, bad) if step % every == 0]
    for folder in kept:
        assert all(value.isfinite().all() for value in load_checkpoint(folder)[0].state_dict().values())


@pytest.mark.parametrize(("error", "starts"), [(ValueError, 1), (OSError, 2)])
def test_only_what_may_be_otherwise_next_time_is_tried_again(streets, tmp_path, error, starts):
    """By workers that leave a mark at each start."""

    def fails(config: dict) -> None:
        with open(tmp_path / "starts", "a") as marks:
            marks.write("started\n")
        raise error("two lines:\nthe reason")

    recipe = load_recipe(RECIPE, settings(streets, tmp_path, **{"train.max_failures": 1})[1::2])
    with pytest.raises(ValueError, match=rf"^training failed: .*the reason \(go on with --resume {tmp_path}"):
        train(recipe, worker=fails)
    assert (tmp_path / "starts").read_text().count("started") == starts


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"data.train": ""}, "data.train is empty"),
        ({"optimizer.warmup_steps": 6}, "optimizer.warmup_steps=6 must be below train.steps=6"),
        ({"data.train": "/nowhere"}, "shards /nowhere"),
        ({"model.vfm.weights": "/nowhere.pth"}, r"no file /nowhere\.pth"),
        ({"model.vfm.weights": "ftpx://nowhere/w.pth"}, r"ftpx://nowhere/w\.pth: nothing reads ftpx://"),
        ({"train.precision": "fp8"}, "train.precision='fp8'"),
        ({"model.vfm.name": "dinov2_smal"}, "did you mean 'dinov2_small'"),
        ({"model.adapter.rnk": 3}, "rein has no setting 'rnk': did you mean 'rank'"),
        ({"model.decode_head.num_querys": 3}, "num_querys"),
        ({"train.num_workers": 100, "train.batch_size": 100}, "too many for"),
        ({"train.min_workers": 3, "train.num_workers": 2}, "train.min_workers=3, train.num_workers=2"),
        (
            {"model.test_cfg.crop_size": "(100,100)"},
            r"model\.test_cfg: crop_size=\(100, 100\): .*: choose multiples of 16",
        ),
        ({"tracking.storage": "s3://me:secret@bucket/runs"}, r"s3://…@bucket: a key in a URI would be in logs"),
        ({"tracking.storage": "s3://bucket/runs"}, "can't lie in an object store: name a server"),
    ],
)
def test_bad_input_is_named_before_training(streets, tmp_path, run_command, change, words):
    with pytest.raises((ValueError, OSError), match=words):
        run_command("train", RECIPE, *settings(streets, tmp_path, **change))


def test_resume_refuses_what_does_not_fit(streets, trained, tmp_path, run_command):
    with pytest.raises(ValueError, match=r"no run\.json"):
        run_command("train", RECIPE, *settings(streets, tmp_path), "--resume", tmp_path)
    changed = settings(streets, trained["storage"], **FP32, **{"optimizer.lr": 0.5})
    with pytest.raises(ValueError, match=r"other values of optimizer\.lr"):
        run_command("train", RECIPE, *changed, "--resume", trained["run_dir"])


def test_a_run_is_found_from_any_folder(streets, trained, monkeypatch):
    """Workers run elsewhere, so a relative path becomes absolute."""
    monkeypatch.chdir(trained["storage"])
    options = settings(streets, trained["storage"], **FP32)[1::2]
    run = Run.reopen(Path(trained["run_dir"]).name, load_recipe(RECIPE, options))
    assert run.folder == trained["run_dir"]
    client = MlflowClient(f"sqlite:///{trained['storage']}/mlflow.db")
    assert client.get_run(run.mlflow_run_id).info.status == "FINISHED"
    run.go_on()
    assert client.get_run(run.mlflow_run_id).info.status == "RUNNING"
    client.set_terminated(run.mlflow_run_id, "FINISHED")


def test_register_evaluate_and_predict(streets, trained, tmp_path, run_command):
    storage = ("--storage", trained["storage"])
    registered = run_command("register", trained["checkpoint"], "street", "--alias", "champion", *storage)
    lineage = registered.pop("lineage")
    assert registered == {"name": "street", "version": 1, "alias": "champion", "uri": "models:/street@champion"}
    assert lineage["run_id"] == trained["mlflow_run_id"] and streets.game in lineage["shards"]
    scores = run_command("evaluate", "models:/street@champion", streets.camera, streets.game, *storage,
                         "--report", tmp_path / "report", "--limit", 4, "--pictures", 1)  # fmt: skip
    assert set(scores) == {"domains", "mean_mIoU"} and set(scores["domains"]) == {"camera", "game"}
    assert 0 <= scores["domains"]["camera"]["mIoU"] <= 100 and scores["domains"]["camera"]["samples"] == 4
    assert json.loads((tmp_path / "report/metrics.json").read_text()) == scores
    assert "camera" in (tmp_path / "report/report.html").read_text()
    images = streets.raw_cityscapes / "leftImg8bit"
    predicted = run_command("predict", registered["uri"], images, tmp_path / "out", *storage)
    assert predicted["images"] == 4
    assert (
        len(list((tmp_path / "out/labels").rglob("*.png")))
        == len(list((tmp_path / "out/overlays").rglob("*.png")))
        == 4
    )
    with pytest.raises(ValueError, match="models:/street@champion"):
        run_command("evaluate", "models:/street@challenger", streets.camera, *storage)


def test_the_registered_model_loads_in_a_clean_process(streets, trained, tmp_path, run_command):
    run_command("register", trained["run_dir"], "served", "--alias", "a", "--storage", trained["storage"])
    image = next(streets.raw_cityscapes.rglob("*_leftImg8bit.png"))
    code = (
        "import mlflow, base64, cv2, numpy as np, pandas as pd;"
        f"mlflow.set_tracking_uri({mlflow.get_tracking_uri()!r});"
        "model = mlflow.pyfunc.load_model('models:/served@a');"
        f"out = model.predict(pd.DataFrame({{'image': [open({str(image)!r}, 'rb').read()]}}));"
        "print(cv2.imdecode(np.frombuffer(base64.b64decode(out['labels'][0]), np.uint8), -1).shape)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=200)
    assert done.stdout.splitlines()[-1:] == ["(64, 128)"], done.stderr[-2000:]
