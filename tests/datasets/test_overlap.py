"""Samples that two shard folders share are found, whatever their codec; others of the same name are not."""

import numpy as np
import pytest

from datasets.codecs import encode_image, encode_label
from datasets.overlap import shared
from datasets.shards import Manifest, Shards, write_file, write_manifest


@pytest.fixture
def folder(tmp_path):
    """(name of the folder, names of its samples) → shards; the seed is that of the labels."""

    def make(name: str, samples: list[str], seed: int = 0, codec: str = "zstd", layout: str = "gtav") -> Shards:
        out = tmp_path / name
        out.mkdir()
        rows = [row(sample, seed, codec) for sample in samples]
        entry = write_file(str(out), "part-00000.parquet", rows)
        counts = np.sum([row["class_pixels"] for row in rows], axis=0).tolist()
        manifest = Manifest("game", layout, "all", "cityscapes", [entry], len(rows), counts, {}, [], image_codec=codec)
        write_manifest(str(out), manifest)
        return Shards(str(out))

    return make


def row(name: str, seed: int, codec: str) -> dict:
    rng = np.random.default_rng([seed, *name.encode()])
    label = rng.integers(0, 19, (16, 24), dtype=np.uint8)
    pixels = rng.integers(0, 255, (16, 24, 3), dtype=np.uint8)
    return {
        "image": encode_image(b"", pixels, codec),
        "label": encode_label(label),
        "height": 16,
        "width": 24,
        "name": name,
        "dataset": "game",
        "split": "all",
        "class_pixels": np.bincount(label.ravel(), minlength=19).tolist(),
    }


def test_shared_samples_are_counted(folder):
    names = [f"{number:05d}" for number in range(40)]
    held_out = folder("held-out", names[:10])
    assert shared(held_out, folder("all", names, codec="jpeg95")) == 10
    assert shared(held_out, folder("without", names[10:])) == 0
    assert shared(held_out, folder("some", names[7:])) == 3


def test_other_samples_of_the_same_names(folder):
    names = [f"{number:05d}" for number in range(40)]
    held_out = folder("held-out", names)
    assert shared(held_out, folder("other seed", names, seed=1)) <= 2  # of 40, by chance
    assert shared(held_out, folder("other layout", names, layout="synthia")) == 0
