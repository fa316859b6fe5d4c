"""The stream from a store: samples are read while those before are decoded, and it is the stream of a disk."""

from pathlib import Path
from threading import Barrier

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pytest

from datasets import open_files
from datasets.augment import Augment
from datasets.codecs import encode_label
from datasets.open_files import open_file
from datasets.plan import Plan
from datasets.sample import Damaged
from datasets.shards import Manifest, Shards, write_file, write_manifest
from datasets.stream import Loader

FILES, SIZE = 8, (40, 48)


def row(number: int) -> dict:
    rng = np.random.default_rng(number)
    image = cv2.imencode(".png", rng.integers(0, 256, (*SIZE, 3), np.uint8))[1].tobytes()
    label = encode_label(rng.integers(0, 19, SIZE, np.uint8))
    words = {"name": f"{number}.png", "dataset": "game", "split": "all", "class_pixels": [0] * 19}
    return words | {"image": image, "label": label, "height": SIZE[0], "width": SIZE[1]}


@pytest.fixture
def folder(tmp_path) -> Path:
    """A sample a file."""
    files = [write_file(str(tmp_path), f"part-{number}.parquet", [row(number)]) for number in range(FILES)]
    manifest = Manifest("game", "gtav", "all", "cityscapes", files, FILES, [0] * 19, {"40×48": FILES}, [])
    write_manifest(str(tmp_path), manifest)
    return tmp_path


class Slow:
    """Files that answer when so many are asked at once."""

    def __init__(self, at_once: int):
        self.together = Barrier(at_once, timeout=20)

    def open_input_file(self, path: str) -> pa.NativeFile:
        self.together.wait()
        return pafs.LocalFileSystem().open_input_file(path)


@pytest.fixture
def in_store(folder, monkeypatch):
    """Gives the folder's samples as a store's, of which so many are answered at once, and that store."""

    def locate(at_once: int, skip: bool = False) -> tuple[Shards, Slow]:
        shards, slow = Shards(str(folder), skip), Slow(at_once)
        shards.uri = "s3://streets/game"
        monkeypatch.setattr(open_files, "filesystem", lambda _: (slow, str(folder)))
        open_file.cache_clear()
        return shards, slow

    yield locate
    open_file.cache_clear()


def batch(shards: Shards) -> dict[str, np.ndarray]:
    """An epoch."""
    plan = Plan.of([FILES], batch_size=FILES, seed=3)
    return Loader([shards], plan, Augment([40], (32, 32)), 0, 0, 1)({"id": np.arange(1)})


def test_samples_of_a_store_are_asked_for_at_once_and_are_those_of_a_disk(folder, in_store):
    expected = batch(Shards(str(folder)))
    assert len(set(expected["name"])) == FILES
    got = batch(in_store(FILES)[0])
    assert all(np.array_equal(got[part], expected[part]) for part in expected)


@pytest.mark.parametrize("skip", [True, False])
def test_damage_in_a_store_comes_in_its_turn(folder, in_store, skip):
    names = batch(Shards(str(folder)))["name"].tolist()
    first, second = (folder / f"part-{name.removesuffix('.png')}.parquet" for name in (names[2], names[5]))
    for file in (first, second):
        file.write_bytes(bytes(file.stat().st_size))
    shards, _ = in_store(1, skip)
    if skip:
        found = [bool(damage) for damage in batch(shards)["damage"]]
        assert found == [place in (2, 5) for place in range(FILES)]
        return
    with pytest.raises(Damaged, match=rf"{first.name} can't be read .*; or train without it: data.skip_damaged=True$"):
        batch(shards)


def test_a_store_that_fails_is_told_from_damage(in_store, monkeypatch):
    shards, slow = in_store(1, skip=True)

    def fails(path: str) -> pa.NativeFile:
        raise OSError(5, "AWS Error NETWORK_CONNECTION")

    monkeypatch.setattr(slow, "open_input_file", fails)
    with pytest.raises(OSError, match="its store fails: go on when it is back"):
        batch(shards)
