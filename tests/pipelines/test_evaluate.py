"""Scores of a real model: by domain and class, by actors as in this process, under corruptions, and side by side."""

import json
import math
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from mlflow import MlflowClient

from datasets.labels import CITYSCAPES, IDD_LITE
from datasets.shards import Shards, decode
from pipelines import compare, evaluation, scoring
from pipelines.evaluate import PAGE
from pipelines.recipe import load_recipe
from rein_core import build_segmentor
from rein_core.checkpoint import save_checkpoint
from rein_core.metrics import ConfusionMeter


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    """Gives checkpoints of the demo's model with random weights of a seed."""
    made = {}

    def make(seed: int) -> Path:
        if seed not in made:
            recipe = load_recipe("demo", ["model.test_cfg={'mode': 'whole'}", "test.short_edge=64"])
            torch.manual_seed(seed)
            made[seed] = tmp_path_factory.mktemp("model") / "checkpoint"
            segmentor = build_segmentor(recipe.model_section())
            save_checkpoint(made[seed], segmentor, recipe.model_dump(mode="json"), {"commit": "abc", "step": seed})
        return made[seed]

    return make


@pytest.fixture(scope="module")
def evaluated(untrained, streets, run_command, tmp_path_factory):
    """An evaluation with everything: its result, its report's folder, and its MLflow store's."""
    folder = tmp_path_factory.mktemp("evaluated")
    result = run_command(
        "evaluate", untrained(0), streets.camera, streets.game, "--report", folder / "report", "--storage", folder,
        "--extras", "--flip", "--scales", 1, 1.5, "--corrupt", "fog:2", "gaussian_noise", "--pictures", 1, "--limit", 4,
    )  # fmt: skip
    return result, folder / "report", folder


def test_predictions_are_collapsed_to_groups():
    train_ids = np.array([[0, 1, 9, 11, 12], [13, 18, 3, 7, 2], [8, 10, 255, 255, 255]], np.uint8)
    groups = [[0, 1, 1, 2, 2], [3, 3, 4, 4, 5], [5, 6, 255, 255, 255]]
    assert IDD_LITE.collapse(train_ids).tolist() == groups
    assert sorted(i for member in IDD_LITE.members for i in member) == list(range(19))


def test_scores_are_those_of_each_image_summed(evaluated, untrained, streets):
    """By hand: the same predictions, counted in one matrix."""
    from pipelines import models
    from rein_core import predict_labels

    result, _, _ = evaluated
    segmentor, _, _ = models.load(str(untrained(0)))
    shards, meter = Shards(streets.camera), ConfusionMeter(19)
    for index in range(len(shards)):
        image, truth = decode(shards.read(index))
        meter.update(predict_labels(segmentor, image, 64, (1.0, 1.5), flip=True), truth)
    scores = result["domains"]["camera"]
    assert {key: scores[key] for key in ("mIoU", "IoU", "aAcc", "Acc")} == {
        key: value
        for key, value in evaluation.summarize(meter, CITYSCAPES).items()
        if key in ("mIoU", "IoU", "aAcc", "Acc")
    }
    assert result["mean_mIoU"] == pytest.approx(
        np.mean([each["mIoU"] for each in result["domains"].values()]), abs=0.01
    )


def test_every_score_says_how_it_was_tested(evaluated, streets):
    result, folder, _ = evaluated
    scores = result["domains"]["camera"]
    assert scores["resolution"] == "short edge 64, 128×64, scales 1 1.5, mirrored too" and scores["samples"] == 4
    assert scores["digest"] == Shards(streets.camera).manifest.digest
    assert "camera (4; short edge 64, 128×64" in evaluation.table(result)
    assert json.loads((folder / evaluation.METRICS).read_text()) == result


def test_extras(evaluated):
    result, _, _ = evaluated
    for scores in result["domains"].values():
        assert 0 < scores["ECE"] < 100 and 0 <= scores["boundary_mIoU"] <= 100
        assert scores["boundary_IoU"].keys() == scores["IoU"].keys()
        assert scores["boundary_mIoU"] == pytest.approx(np.mean(list(scores["boundary_IoU"].values())), abs=0.02)


def test_robustness_is_the_mean_over_kinds_of_the_mean_over_severities(evaluated):
    result, _, _ = evaluated
    found = result["robustness"]["camera"]
    assert found["kinds"]["fog"][0] is None and found["kinds"]["fog"][1] is not None
    means = [found["kinds"]["fog"][1], np.mean(found["kinds"]["gaussian_noise"])]
    assert found["mPC"] == pytest.approx(np.mean(means), abs=0.011)
    half = 0.005  # of the last digit of what is rounded
    least, most = (found["mPC"] - half) / (found["clean"] + half), (found["mPC"] + half) / (found["clean"] - half)
    assert 100 * least <= found["rPC"] <= 100 * most
    tested = f"camera ({result['domains']['camera']['samples']}; {result['domains']['camera']['resolution']})"
    assert found["clean"] == result["domains"]["camera"]["mIoU"]
    assert f"| mIoU in %, {tested} | severity 1 |" in evaluation.table(result)


def test_mlflow_has_scores_page_and_pictures(evaluated):
    result, folder, storage = evaluated
    client = MlflowClient(f"sqlite:///{storage}/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("rein").experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.metrics["evaluate/camera/mIoU"] == result["domains"]["camera"]["mIoU"]
    assert {"evaluate/camera/ECE", "evaluate/game/boundary_mIoU", "evaluate/game/mPC"} <= run.data.metrics.keys()
    paths = {file.path for file in client.list_artifacts(run.info.run_id, "evaluate")}
    assert f"evaluate/{PAGE}" in paths and "evaluate/camera" in paths
    assert len(client.list_artifacts(run.info.run_id, "evaluate/camera")) == 3
    page = (folder / PAGE).read_text()
    assert "camera" in page and "abc" in page


def test_the_last_evaluation_counts(untrained, streets, run_command, tmp_path):
    """A model that is scored again, at another size, has the new figures in its run, and says of what they are."""
    from pipelines.recipe import parse_recipe
    from pipelines.tracking import create_run
    from rein_core.checkpoint import read_checkpoint

    values, _ = read_checkpoint(untrained(0))
    run_id = create_run("a run", parse_recipe(values), storage=str(tmp_path))
    folder = shutil.copytree(untrained(0), tmp_path / "checkpoint")
    description = json.loads((folder / "recipe.json").read_text())
    description["provenance"]["mlflow_run_id"] = run_id
    (folder / "recipe.json").write_text(json.dumps(description))
    argv = ("evaluate", folder, streets.camera, "--storage", tmp_path, "--pictures", 0)
    asked = (("--short-edge", 64, "--limit", 4, "--extras", "--corrupt", "fog:2"), ("--short-edge", 128, "--limit", 1))
    results = [run_command(*argv, *options) for options in asked]
    run = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db").get_run(run_id)
    assert run.data.metrics["evaluate/camera/aAcc"] == results[1]["domains"]["camera"]["aAcc"]
    assert results[0]["domains"]["camera"]["aAcc"] != results[1]["domains"]["camera"]["aAcc"]
    assert run.data.tags["evaluate/camera/resolution"] == "short edge 128, 256×128"
    assert run.data.metrics["evaluate/camera/ECE"] == results[0]["domains"]["camera"]["ECE"]
    for kind in ("extras", "corruptions"):
        assert run.data.tags[f"evaluate/camera/{kind}"].startswith(
            "resolution short edge 64, 128×64, samples 4, digest "
        )


def test_actors_find_the_same(evaluated, untrained, streets, run_command, tmp_path):
    """Ray Data with two actors, to the bit, sample by sample."""
    run_command("evaluate", untrained(1), streets.camera, "--report", tmp_path / "a", "--storage", tmp_path, "--extras",
                "--workers", 2)  # fmt: skip
    run_command("evaluate", untrained(1), streets.camera, "--report", tmp_path / "b", "--storage", tmp_path, "--extras")
    (here, samples), (there, others) = (evaluation.read(tmp_path / name) for name in "ba")
    assert here == there and samples["camera"].keys() == others["camera"].keys()
    assert all(np.array_equal(samples["camera"][name], others["camera"][name]) for name in samples["camera"])


def test_models_side_by_side(evaluated, untrained, streets, run_command, tmp_path):
    """From evaluations on disk and from models alike; a model is no better than itself."""
    argv = ("compare", untrained(0), untrained(1), untrained(0), "--on", streets.camera, "--storage", tmp_path)
    result = run_command(*argv, "--report", tmp_path / "compared")
    camera = result["domains"]["camera"]
    assert camera["difference"][0] is None and camera["difference"][2] == {"difference": 0, "low": 0, "high": 0}
    assert camera["difference"][1]["difference"] == pytest.approx(camera["mIoU"][1] - camera["mIoU"][0], abs=0.02)
    assert camera["difference"][1]["low"] <= camera["difference"][1]["high"]
    assert json.loads((tmp_path / "compared" / "comparison.json").read_text()) == result
    for name in "ab":
        run_command(
            "evaluate", untrained(name == "b"), streets.camera, "--report", tmp_path / name, "--storage", tmp_path
        )
    again = run_command("compare", tmp_path / "a", tmp_path / "b", "--storage", tmp_path)
    assert again["domains"]["camera"]["difference"][1] == camera["difference"][1]
    with pytest.raises(ValueError, match="is scored on camera, and .* on camera, game"):
        run_command("compare", evaluated[1], tmp_path / "a", "--storage", tmp_path)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--corrupt", "fogg"], "did you mean fog"),
        (["--corrupt", "fog:6"], "severities are 1 to 5"),
        (["--short-edge", "kamera=64"], "no domain 'kamera' here: there are camera"),
        (["--short-edge", "8"], "16 or more"),
        (["--window", "64", "65"], r"--window 64 65: stride=\(65, 65\) exceeds crop_size=\(64, 64\)"),
        (["--window", "10", "10"], r"--window 10 10: crop_size=\(10, 10\): .* choose multiples of 16"),
        (["--window", "64", "0"], r"--window 64 0: stride=\(0, 0\): .* 1 or more"),
        (["--scales", "0"], "above 0"),
        (["--scales", "99", "--short-edge", "640"], "--short-edge 640, --scales 99: camera's 128 x 64 then are "),
        (["--workers", "-1"], "0 for none"),
        (["--report", "s3://bucket/report"], "--report s3://bucket/report: .* a folder of this machine"),
        (["--report", __file__], "--report .*: no file can be written there"),
    ],
)
def test_mistakes_are_named(untrained, streets, run_command, tmp_path, argv, words):
    with pytest.raises(ValueError, match=words):
        run_command("evaluate", untrained(0), streets.camera, "--storage", tmp_path, *argv)


def test_a_report_that_cant_be_written_in_the_end_costs_no_scores(
    untrained, streets, run_command, tmp_path, monkeypatch, capsys
):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(evaluation, "write", full)
    argv = ("evaluate", untrained(0), streets.camera, "--limit", 1, "--pictures", 0, "--report", tmp_path / "report")
    with pytest.raises(
        ValueError, match="No space left on device.*: the scores are above and in MLflow run "
    ) as raised:
        run_command(*argv, "--storage", tmp_path)
    run = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db").get_run(str(raised.value).split()[-1])
    assert "evaluate/camera/mIoU" in run.data.metrics and run.info.status == "FINISHED"
    assert "| **mIoU** |" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["evaluate", "compare"])
def test_a_folder_for_the_report_is_tried_before_anything_is_scored(run_command, tmp_path, monkeypatch, command):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setattr(scoring, "score", None)
    argv = ("evaluate", "a", "b") if command == "evaluate" else ("compare", "a", "b", "--on", "c")
    for place in (tmp_path / "file", tmp_path / "file/deeper", "gs://bucket/report"):
        with pytest.raises(ValueError, match=f"--report {place}: "):
            run_command(*argv, "--report", place, "--storage", tmp_path)
    with pytest.raises(ValueError, match="model a: neither"):
        run_command(*argv, "--report", tmp_path / "new/report", "--storage", tmp_path)
    assert not list((tmp_path / "new/report").iterdir())


def test_all_models_load_before_the_first_is_scored(untrained, streets, run_command, tmp_path, monkeypatch):
    broken = shutil.copytree(untrained(1), tmp_path / "broken")
    (broken / "model.safetensors").write_bytes((broken / "model.safetensors").read_bytes()[:-100])
    monkeypatch.setattr(compare, "score_all", None)
    for second, words in ((broken, "model.safetensors is damaged"), ("nowhere", "model nowhere: neither")):
        with pytest.raises(ValueError, match=words):
            run_command("compare", untrained(0), second, "--on", streets.camera, "--storage", tmp_path)


def test_conditions_of_one_data_set_are_also_scored_as_one():
    """ACDC's are domains of their own; together their pixels count, not their means."""

    def domain(condition: str, hits: int) -> tuple[scoring.Domain, scoring.Counts]:
        manifest = _Manifest(f"acdc_{condition}")
        confusion = np.diag([hits] * 19)
        confusion[0, 1] = 10
        counts = scoring.Counts(["one"], [confusion])
        return scoring.Domain(manifest.dataset, _Stored(manifest), [0]), counts

    domains, counts = zip(domain("fog", 10), domain("night", 100), strict=True)
    pooled = evaluation.result_of(list(domains), list(counts), scoring.Protocol())["pooled"]["acdc"]
    assert pooled["IoU"]["road"] == pytest.approx(100 * 110 / 130, abs=0.01)
    assert pooled["of"] == ["acdc_fog", "acdc_night"] and pooled["samples"] == 2
    assert pooled["resolution"] == "as stored, 8×8"


class _Manifest:
    layout, label_space, sizes, digest = "acdc", "cityscapes", {"8×8": 1}, "0"

    def __init__(self, dataset: str):
        self.dataset = dataset


class _Stored:
    uri = "somewhere"

    def __init__(self, manifest: _Manifest):
        self.manifest = manifest


def test_summary_counts_by_hand():
    meter = ConfusionMeter(19)
    meter.update(np.array([[0, 0, 2, 2]], np.uint8), np.array([[0, 2, 2, 255]], np.uint8))
    scores = evaluation.summarize(meter, CITYSCAPES)
    assert scores == {
        "mIoU": 50.0, "IoU": {"road": 50.0, "building": 50.0},
        "mAcc": 75.0, "Acc": {"road": 100.0, "building": 50.0}, "aAcc": 66.67, "fwIoU": 50.0
    }  # fmt: skip
    assert not any(math.isnan(value) for value in scores["IoU"].values())


def test_an_actor_that_dies_is_replaced(untrained, streets, start_command, run_command, data_workers, tmp_path):
    """It is killed while it scores; the result is that of an undisturbed evaluation, to the bit."""
    argv = ("evaluate", untrained(0), streets.game, "--corrupt", "all", "--pictures", 0, "--limit", 2)
    command = start_command(*argv, "--workers", 1, "--storage", tmp_path / "a", "--report", tmp_path / "a")
    killed, deadline = None, time.monotonic() + 200
    while killed is None:
        assert time.monotonic() < deadline and command.process.poll() is None, command.said[-4000:]
        busy = [each for each in data_workers(command.process.pid) if each.cpu_times().user > 7]  # imports take 5 s
        for process in busy:
            process.kill()
            killed = process
        time.sleep(0.2)
    result = command.result()
    assert result == run_command(*argv, "--storage", tmp_path / "b")
