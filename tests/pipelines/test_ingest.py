"""Ingest: right ids, bad samples set apart with reasons, the same bytes each time, nothing half."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.labels import CITYSCAPES_LABEL_IDS
from datasets.layouts import get_layout
from datasets.shards import MANIFEST, Shards, decode


@pytest.fixture
def raw(streets, tmp_path) -> Path:
    return Path(shutil.copytree(streets.raw_gtav, tmp_path / "raw"))


def save(array: np.ndarray, file: Path, mode: str | None = None) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array, mode=mode).save(file)


def test_bad_samples_are_set_apart_with_the_reason(raw, tmp_path, run_command):
    (raw / "labels/00001.png").unlink()
    (raw / "images/00002.png").unlink()
    (raw / "images/00003.png").write_bytes(b"no picture")
    save(np.full((64, 128), 77, np.uint8), raw / "labels/00004.png")
    save(np.zeros((32, 128), np.uint8), raw / "labels/00005.png")
    save(np.zeros((64, 128, 3), np.uint8), raw / "labels/00006.png")
    (raw / "labels/00007.png").write_bytes((raw / "labels/00007.png").read_bytes()[:60])
    result = run_command("ingest", "gtav", raw, tmp_path / "out", "--max-bad", 0.8)
    reasons = {bad["name"]: bad["reason"] for bad in result["quarantined"]}
    for name, words in {
        "00001": "no label",
        "00002": "no image",
        "00003": "image can't be decoded",
        "00004": "wrong label ids 77",
        "00005": "the image is 64×128 and the label 32×128",
        "00006": "3 channels",
        "00007": "label can't be decoded",
    }.items():
        assert words in reasons.pop(name)
    assert not reasons and result["samples"] == 3
    assert json.loads((tmp_path / "out" / MANIFEST).read_text())["quarantined"] == result["quarantined"]


def test_too_many_bad_samples_fail(raw, tmp_path, run_command):
    for index in (1, 2):
        (raw / f"labels/0000{index}.png").unlink()
    with pytest.raises(ValueError, match="2 of 10 samples are bad .*00001: no label"):
        run_command("ingest", "gtav", raw, tmp_path / "out")
    with pytest.raises(ValueError, match="run the same ingest again"):
        Shards(str(tmp_path / "out"))


def zeroed(label: Path) -> None:
    label.write_bytes(bytes(label.stat().st_size))


@pytest.mark.parametrize("spoil", [zeroed, Path.unlink])
@pytest.mark.parametrize("kind", ["images", "labels"])
def test_the_same_command_goes_on_with_mended_samples(raw, tmp_path, run_command, monkeypatch, capfd, kind, spoil):
    monkeypatch.setattr("pipelines.ingest_plan._FILE_SAMPLES", 2)
    run_command("ingest", "gtav", raw, tmp_path / "undisturbed")
    spoilt = [raw / f"{kind}/0000{index}.png" for index in (1, 2, 3)]
    kept = [file.read_bytes() for file in spoilt]
    for file in spoilt:
        spoil(file)
    with pytest.raises(ValueError, match="3 of 10 samples are bad.*: mend them"):
        run_command("ingest", "gtav", raw, tmp_path / "out")
    for file, data in zip(spoilt, kept, strict=True):
        file.write_bytes(data)
    capfd.readouterr()
    assert run_command("ingest", "gtav", raw, tmp_path / "out")["samples"] == 10
    assert "3 of 5 files are there already" in capfd.readouterr().err
    for file in (tmp_path / "undisturbed").iterdir():
        assert (tmp_path / "out" / file.name).read_bytes() == file.read_bytes()


def test_held_out_samples(streets, tmp_path, run_command):
    names = {}
    for option in ("--limit", "--without"):
        out = tmp_path / option
        assert run_command("ingest", "gtav", streets.raw_gtav, out, option, 3)["samples"] == len(Shards(str(out)))
        names[option] = [Shards(str(out)).read(i).name for i in range(len(Shards(str(out))))]
    assert len(names["--limit"]) == 3 and len(names["--without"]) == 7
    assert sorted(sum(names.values(), [])) == [pair.name for pair in get_layout("gtav").find(str(streets.raw_gtav))[2]]
    with pytest.raises(ValueError, match="--without 10 leaves none of 10 pairs"):
        run_command("ingest", "gtav", streets.raw_gtav, tmp_path / "none", "--without", 10)


def test_same_input_same_bytes(streets, tmp_path, run_command):
    run_command("ingest", "gtav", streets.raw_gtav, tmp_path / "again", "--name", "game")
    for file in Path(streets.game).iterdir():
        assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes()


def test_only_overwrite_replaces_shards(streets, tmp_path, run_command):
    out = tmp_path / "out"
    run_command("ingest", "gtav", streets.raw_gtav, out)
    with pytest.raises(ValueError, match="add --overwrite"):
        run_command("ingest", "gtav", streets.raw_gtav, out)
    assert run_command("ingest", "gtav", streets.raw_gtav, out, "--overwrite", "--limit", 3)["samples"] == 3
    (out / MANIFEST).unlink()
    assert run_command("ingest", "gtav", streets.raw_gtav, out)["samples"] == 10
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").touch()
    with pytest.raises(ValueError, match=r"letter\.txt"):
        run_command("ingest", "gtav", streets.raw_gtav, tmp_path / "mine")


@pytest.mark.parametrize(
    ("layout", "split", "words"),
    [
        ("gtav", None, "no split train .* images/"),
        ("cityscapes", "test", "no split test .*there: val"),
        ("citycsapes", None, "did you mean cityscapes"),
    ],
)
def test_wrong_folders_are_named(streets, tmp_path, run_command, layout, split, words):
    argv = ["ingest", layout, streets.raw_cityscapes, tmp_path / "out", *(["--split", split] if split else [])]
    with pytest.raises(ValueError, match=words):
        run_command(*argv)


@pytest.mark.parametrize("secret", ["hunter2", "hunter2/RET"])
@pytest.mark.parametrize("place", ["raw", "out"])
def test_a_key_in_a_uri_is_refused(tmp_path, run_command, place, secret):
    """Reasons of bad samples name files of RAW, in the manifest and on the terminal."""
    folders = {"raw": tmp_path / "raw", "out": tmp_path / "out"} | {place: f"s3://KEY:{secret}@bucket/streets"}
    with pytest.raises(ValueError, match="^s3://…@bucket: a key in a URI .*AWS_ACCESS_KEY_ID") as error:
        run_command("ingest", "gtav", *folders.values())
    assert "hunter2" not in str(error.value)


def test_camvid_ids(tmp_path, run_command):
    ids = np.arange(12, dtype=np.uint8).repeat(8)[None].repeat(8, 0)
    save(np.zeros((8, 96, 3), np.uint8), tmp_path / "raw/train/images/a.jpg")
    save(ids, tmp_path / "raw/train/labels/a.png")
    run_command("ingest", "camvid", tmp_path / "raw", tmp_path / "out")
    shards = Shards(str(tmp_path / "out"))
    label = decode(shards.read(0))[1]
    assert label[0, ::8].tolist() == [10, 2, 5, 0, 1, 8, 7, 4, 13, 11, 18, 255]
    assert shards.manifest.split == "train"


def test_cityscapes_and_gtav_ids():
    ids = get_layout("cityscapes").id_to_train
    assert [ids[raw] for raw in (7, 8, 11, 33, 0, 29, 255)] == [0, 1, 2, 18, 255, 255, 255]
    assert get_layout("gtav").id_to_train.items() >= CITYSCAPES_LABEL_IDS.items()


def test_real_samples(shared, tmp_path, run_command):
    """A few frames of each real data set, and what their labels show."""
    data = shared("data")
    for layout, split in (("camvid", "val"), ("idd_lite", "train"), ("cityscapes", "train")):
        result = run_command("ingest", layout, data / layout, tmp_path / layout, "--split", split, "--limit", 3)
        assert result["samples"] == 3 and not result["quarantined"]
    drivable = Shards(str(tmp_path / "idd_lite")).manifest
    assert drivable.label_space == "idd_lite" and drivable.class_pixels[0] > 0 and not any(drivable.class_pixels[7:])
    road = Shards(str(tmp_path / "cityscapes")).manifest.class_pixels
    assert road[0] > 0.2 * sum(road)
