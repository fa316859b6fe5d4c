"""Shards: Parquet files of encoded samples beside a manifest that is written last: a folder is whole or refused."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

MANIFEST = "manifest.json"
VERSION = 1
SCHEMA = pa.schema(
    [
        ("image", pa.binary()),
        ("label", pa.binary()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("name", pa.string()),
        ("dataset", pa.string()),
        ("split", pa.string()),
        ("class_pixels", pa.list_(pa.int64())),
    ]
)
"""One row a sample: `image` as it was encoded, `label` a PNG of train (or group) ids, `class_pixels` 19 counts."""


@dataclass(frozen=True)
class Manifest:
    """What a shard folder holds.

    Args:
        dataset: name of the domain in reports.
        layout, split: what was ingested.
        label_space: name of the `LabelSpace` of the labels.
        files: for each Parquet file `file`, `rows`, `bytes` and `sha256`.
        samples: rows in all.
        class_pixels: 19 counts over all samples.
        sizes: how many images there are of each "height×width".
        quarantined: `name` and `reason` of each sample that was left out.
        version: of this format and of the label map.
    """

    dataset: str
    layout: str
    split: str
    label_space: str
    files: list[dict]
    samples: int
    class_pixels: list[int]
    sizes: dict[str, int]
    quarantined: list[dict[str, str]]
    version: int = VERSION

    @property
    def digest(self) -> str:
        """sha256 of the manifest, and so of every byte that it vouches for."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Sample:
    """One row: encoded image and label, and where they come from."""

    name: str
    image: bytes
    label: bytes


def filesystem(uri: str) -> tuple[pafs.FileSystem, str]:
    """The pyarrow filesystem of a path, s3:// or gs:// URI, and the path in it."""
    if "://" in uri:
        return pafs.FileSystem.from_uri(uri)
    return pafs.LocalFileSystem(), str(Path(uri).resolve())


def exists(uri: str) -> bool:
    """Whether a finished shard folder lies there."""
    fs, path = filesystem(uri)
    return fs.get_file_info(f"{path}/{MANIFEST}").type == pafs.FileType.File


def read_manifest(uri: str) -> Manifest:
    """Raises ValueError if the folder is no finished shard folder, or of another version."""
    fs, path = filesystem(uri)
    if not exists(uri):
        raise ValueError(f"shards {uri}: no {MANIFEST} there: {_guess(fs, path)}")
    with fs.open_input_stream(f"{path}/{MANIFEST}") as stream:
        values = json.loads(stream.read())
    if values.get("version") != VERSION:
        raise ValueError(
            f"shards {uri}: format {values.get('version')}, this is for {VERSION}: ingest the data set again"
        )
    return Manifest(**values)


def _guess(fs: pafs.FileSystem, path: str) -> str:
    if fs.get_file_info(path).type != pafs.FileType.Directory:
        return "there is no such folder; ingest writes one"
    names = {info.base_name for info in fs.get_file_info(pafs.FileSelector(path))}
    if any(name.endswith(".parquet") for name in names):
        return "its ingest was killed: run the same ingest again"
    layouts = {"gtFine": "cityscapes", "images": "gtav", "train": "camvid"}
    guess = next((layout for folder, layout in layouts.items() if folder in names), None)
    return f"it looks raw: python -m pipelines ingest {guess} {path} OUT" if guess else "it holds no shards"


def write_manifest(uri: str, manifest: Manifest) -> None:
    """Makes the folder whole; to be called when every file is there."""
    fs, path = filesystem(uri)
    with fs.open_output_stream(f"{path}/{MANIFEST}.partial") as stream:
        stream.write(json.dumps(asdict(manifest), indent=1).encode())
    fs.move(f"{path}/{MANIFEST}.partial", f"{path}/{MANIFEST}")


def write_file(uri: str, file: str, rows: Iterable[dict]) -> dict | None:
    """One Parquet file, a row group a sample so that each can be fetched alone; returns its manifest entry."""
    fs, path = filesystem(uri)
    count = 0
    with fs.open_output_stream(f"{path}/{file}.partial") as sink:
        hashing = _HashingSink(sink)
        with pq.ParquetWriter(
            pa.PythonFile(hashing, mode="w"), SCHEMA, compression="none", use_dictionary=False
        ) as writer:
            for row in rows:
                writer.write_table(pa.Table.from_pylist([row], SCHEMA))
                count += 1
    if not count:
        fs.delete_file(f"{path}/{file}.partial")
        return None
    fs.move(f"{path}/{file}.partial", f"{path}/{file}")
    return {"file": file, "rows": count, "bytes": hashing.bytes, "sha256": hashing.sha256.hexdigest()}


class _HashingSink:
    """Passes bytes on to a stream, and counts and hashes them on the way."""

    def __init__(self, sink: pa.NativeFile):
        self.sink, self.bytes, self.sha256, self.closed = sink, 0, hashlib.sha256(), False

    def write(self, data: bytes) -> int:
        self.sha256.update(data)
        self.bytes += len(data)
        self.sink.write(data)
        return len(data)

    def flush(self) -> None:
        self.sink.flush()

    def close(self) -> None:
        self.closed = True


class Shards:
    """Random access to the samples of a shard folder. May be sent to Ray tasks.

    Raises:
        ValueError: not a finished shard folder, or a file of it is missing or cut short.
    """

    def __init__(self, uri: str):
        self.uri = uri
        self.manifest = read_manifest(uri)
        self._check_files()

    def __len__(self) -> int:
        return self.manifest.samples

    def _check_files(self) -> None:
        fs, path = filesystem(self.uri)
        for entry in self.manifest.files:
            size = fs.get_file_info(f"{path}/{entry['file']}").size
            if size != entry["bytes"]:
                found = "is missing" if size is None else f"has {size} bytes instead of {entry['bytes']}"
                raise ValueError(
                    f"shards {self.uri}: {entry['file']} {found}: ingest the data set again with --overwrite"
                )

    @cached_property
    def _ends(self) -> np.ndarray:
        return np.cumsum([entry["rows"] for entry in self.manifest.files])

    def locate(self, index: int) -> tuple[str, int]:
        """File and row group of the index-th sample."""
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)} in {self.uri}")
        place = int(np.searchsorted(self._ends, index, side="right"))
        entry = self.manifest.files[place]
        return entry["file"], index - int(self._ends[place]) + entry["rows"]

    def read(self, index: int) -> Sample:
        """The index-th sample, still encoded."""
        file, row_group = self.locate(index)
        opened = _open(self.uri, file, self.manifest.digest)
        row = opened.read_row_group(row_group, columns=["name", "image", "label"], use_threads=False).to_pylist()[0]
        return Sample(**row)


@lru_cache(maxsize=64)
def _open(uri: str, file: str, _digest: str) -> pq.ParquetFile:
    fs, path = filesystem(uri)
    return pq.ParquetFile(fs.open_input_file(f"{path}/{file}"))


def decode(sample: Sample) -> tuple[np.ndarray, np.ndarray]:
    """The image, BGR uint8 [h, w, 3], and the label, uint8 [h, w]."""
    image = cv2.imdecode(np.frombuffer(sample.image, np.uint8), cv2.IMREAD_COLOR)
    return image, cv2.imdecode(np.frombuffer(sample.label, np.uint8), cv2.IMREAD_UNCHANGED)


def find_damage(uri: str) -> list[str]:
    """Files whose bytes are no longer those that the manifest vouches for."""
    fs, path = filesystem(uri)
    broken = []
    for entry in read_manifest(uri).files:
        with fs.open_input_stream(f"{path}/{entry['file']}") as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() != entry["sha256"]:
                broken.append(entry["file"])
    return broken
