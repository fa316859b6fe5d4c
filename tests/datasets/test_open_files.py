"""Open files: threads may read one at once, a store's too, none keeps what was read, and many are asked at once."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from threading import Barrier

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pytest

from datasets import open_files
from datasets.codecs import encode_label
from datasets.open_files import open_file
from datasets.shards import Manifest, Shards, write_file, write_manifest

SAMPLES, FILES, IMAGE_BYTES = 64, 8, 1 << 17


@pytest.fixture(params=["a disk", "a store"])
def large(request, tmp_path, monkeypatch) -> Shards:
    """A few files of samples of a megabyte; what says that it is in a store is read as one."""
    files = [write_file(str(tmp_path), f"part-{file}.parquet", rows(file)) for file in range(FILES)]
    counts, sizes = [0] * 19, {"8×8": FILES * SAMPLES}
    manifest = Manifest("game", "gtav", "all", "cityscapes", files, FILES * SAMPLES, counts, sizes, [])
    write_manifest(str(tmp_path), manifest)
    shards = Shards(str(tmp_path))
    if request.param == "a store":
        shards.uri = "s3://streets/large"
        monkeypatch.setattr(open_files, "filesystem", lambda _: (pafs.LocalFileSystem(), str(tmp_path)))
    open_file.cache_clear()
    yield shards
    open_file.cache_clear()


def rows(file: int) -> Iterator[dict]:
    rng, label = np.random.default_rng(file), encode_label(np.zeros((8, 8), np.uint8))
    same = {"label": label, "height": 8, "width": 8, "dataset": "game", "split": "all", "class_pixels": [0] * 19}
    for sample in range(SAMPLES):
        yield same | {"name": f"{file}-{sample}", "image": rng.bytes(IMAGE_BYTES)}


def test_threads_read_one_file_at_once(large):
    expected = [large.read(i) for i in range(SAMPLES)]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(40):
            assert list(pool.map(large.read, range(SAMPLES))) == expected


def test_what_was_read_is_not_kept(large):
    before = pa.total_allocated_bytes()
    for file in range(FILES):
        assert len(large.read(file * SAMPLES).image) == IMAGE_BYTES
    assert open_file.cache_info().currsize == FILES * SAMPLES
    assert pa.total_allocated_bytes() - before < IMAGE_BYTES / 2


def test_of_threads_that_want_a_file_one_opens_it(large):
    together = Barrier(8)

    def read(index: int) -> str:
        together.wait()
        return large.read(index).name

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(read, range(8))) == [f"0-{i}" for i in range(8)]
    assert open_file.cache_info().misses == 1


class Slow:
    """Files that answer when so many are asked at once."""

    def __init__(self):
        self.together = Barrier(FILES, timeout=60)

    def open_input_file(self, path: str) -> pa.NativeFile:
        self.together.wait()
        return pafs.LocalFileSystem().open_input_file(path)


def test_all_files_are_asked_at_once_and_answer_in_order(tmp_path, monkeypatch):
    files = [write_file(str(tmp_path), f"part-{file}.parquet", small_rows(file)) for file in range(FILES)]
    samples = sum(entry["rows"] for entry in files)
    write_manifest(str(tmp_path), Manifest("game", "gtav", "all", "cityscapes", files, samples, [0] * 19, {}, []))
    slow, shards = Slow(), Shards(str(tmp_path))
    monkeypatch.setattr(open_files, "filesystem", lambda _: (slow, str(tmp_path)))
    open_file.cache_clear()
    counts = shards.class_pixels()
    assert counts[:, 0].tolist() == [100 * file + row for file in range(FILES) for row in range(file + 1)]
    open_file.cache_clear()
    assert [footer.num_row_groups for footer in shards.footers()] == [file + 1 for file in range(FILES)]
    open_file.cache_clear()


def small_rows(file: int) -> Iterator[dict]:
    """One more in every file."""
    for number, row in enumerate(islice(rows(file), file + 1)):
        yield row | {"image": b"", "class_pixels": [100 * file + number] + [0] * 18}
