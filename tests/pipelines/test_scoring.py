"""What ails actors is said in a line; predictions and their confidences are brought to a shard's groups of classes, as
IDD-lite's."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import ray

from datasets.codecs import encode_label
from datasets.labels import IDD_LITE
from datasets.shards import Shards, decode, read_manifest, write_file, write_manifest
from pipelines import evaluation, models
from rein_core import predict_probabilities
from rein_core.calibration import CalibrationMeter
from rein_core.metrics import ConfusionMeter


@pytest.fixture
def groups(streets, tmp_path) -> str:
    """The camera's shards with labels in IDD-lite's groups."""
    folder, (file,) = tmp_path / "groups", Path(streets.camera).glob("*.parquet")
    folder.mkdir()
    rows, shards = pq.read_table(file).to_pylist(), Shards(streets.camera)
    for index, row in enumerate(rows):
        row["label"] = encode_label(IDD_LITE.collapse(decode(shards.read(index))[1]))
    manifest = replace(read_manifest(streets.camera), label_space="idd_lite", dataset="groups")
    write_manifest(str(folder), replace(manifest, files=[write_file(str(folder), file.name, rows)]))
    return str(folder)


def test_what_ails_an_actor_is_said_in_a_line(in_files, small_checkpoint, run_command, spoil, tmp_path, monkeypatch):
    """A damaged sample; and a model that only this machine has."""
    checkpoint, load = small_checkpoint(tmp_path / "checkpoint", 0), models.load
    argv = ("evaluate", checkpoint, in_files, "--pictures", 0, "--storage", tmp_path, "--workers", 1)
    sample = Shards(str(in_files)).read(9)
    spoil(in_files / "part-1.parquet", sample)
    ray.data.DataContext.get_current().raise_original_map_exception = True  # as a stream in this process does
    with pytest.raises(ValueError, match=rf"^scoring failed on a worker: [^\n]*sample {sample.name}: [^\n]*$"):
        run_command(*argv)

    def load_and_lose(*args: str) -> tuple:
        loaded = load(*args)
        shutil.rmtree(checkpoint)
        return loaded

    monkeypatch.setattr(models, "load", load_and_lose)
    with pytest.raises(ValueError, match=r"^scoring failed on a worker: [^\n]*neither a checkpoint folder [^\n]*$"):
        run_command(*argv)


def test_extras_of_groups(groups, small_checkpoint, run_command, tmp_path):
    """By hand: a group is as probable as all of its classes together, and the label is that of the likeliest class."""
    checkpoint = small_checkpoint(tmp_path / "checkpoint", 0)
    argv = ("evaluate", checkpoint, groups, "--extras", "--pictures", 0, "--storage", tmp_path)
    scores = run_command(*argv)["domains"]["groups"]
    segmentor, _, _ = models.load(str(checkpoint))
    meter, calibration, shards = ConfusionMeter(len(IDD_LITE.classes)), CalibrationMeter(), Shards(groups)
    for index in range(len(shards)):
        image, truth = decode(shards.read(index))
        each = predict_probabilities(segmentor, image, 64).cpu().numpy()
        labels = IDD_LITE.collapse(each.argmax(axis=0).astype(np.uint8))
        sure = np.zeros(labels.shape, np.float32)
        for group, members in enumerate(IDD_LITE.members):
            sure[labels == group] = sum(each[member] for member in members)[labels == group]
        meter.update(labels, truth)
        calibration.update(sure, labels, truth)
    wanted = evaluation.summarize(meter, IDD_LITE)
    assert scores["IoU"] == wanted["IoU"] and set(scores["IoU"]) <= set(IDD_LITE.classes)
    assert scores["ECE"] == pytest.approx(calibration.compute(), abs=0.02)
    assert set(scores["boundary_IoU"]) <= set(IDD_LITE.classes) and scores["boundary_mIoU"] >= 0
