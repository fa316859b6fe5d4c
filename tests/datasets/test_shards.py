"""Shards: whole or refused, readable sample by sample, and every changed byte is found."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.shards import MANIFEST, Shards, decode, find_damage, read_manifest


@pytest.fixture
def copy(streets, tmp_path) -> Path:
    for file in Path(streets.game).iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def test_samples_come_back_as_they_were(streets):
    shards = pickle.loads(pickle.dumps(Shards(streets.game)))
    assert len(shards) == 10 and shards.manifest.dataset == "game"
    sample = shards.read(3)
    image, label = decode(sample)
    raw = np.asarray(Image.open(streets.raw_gtav / "images" / f"{sample.name}.png"))
    ids = np.asarray(Image.open(streets.raw_gtav / "labels" / f"{sample.name}.png"))
    assert np.array_equal(image[..., ::-1], raw)
    assert set(np.unique(label[ids == 7])) == {0} and set(np.unique(label[ids == 23])) == {10}
    with pytest.raises(IndexError):
        shards.read(10)


def test_counts_are_those_of_the_labels(streets):
    shards = Shards(streets.camera)
    labels = np.stack([decode(shards.read(i))[1] for i in range(len(shards))])
    assert shards.manifest.class_pixels == np.bincount(labels.ravel(), minlength=256)[:19].tolist()
    assert shards.manifest.sizes == {"64×128": 4}


def test_a_killed_ingest_is_not_taken_for_whole(copy):
    (copy / MANIFEST).unlink()
    with pytest.raises(ValueError, match="run the same ingest again"):
        Shards(str(copy))


def test_a_cut_file_is_refused(copy):
    file = next(copy.glob("*.parquet"))
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(ValueError, match=f"{file.name} has .* bytes instead of"):
        Shards(str(copy))
    file.unlink()
    with pytest.raises(ValueError, match=f"{file.name} is missing"):
        Shards(str(copy))


def test_a_flipped_byte_is_found(copy):
    assert find_damage(str(copy)) == []
    file = next(copy.glob("*.parquet"))
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    assert find_damage(str(copy)) == [file.name]


def test_another_format_is_refused(copy):
    values = json.loads((copy / MANIFEST).read_text())
    (copy / MANIFEST).write_text(json.dumps(values | {"version": 99}))
    with pytest.raises(ValueError, match="format 99"):
        read_manifest(str(copy))


def test_a_raw_folder_says_how_to_ingest_it(streets):
    with pytest.raises(ValueError, match="ingest gtav"):
        read_manifest(str(streets.raw_gtav))
    with pytest.raises(ValueError, match="no such folder"):
        read_manifest("/nowhere/at/all")
