"""Shards: Parquet files of encoded samples beside a manifest that is written last: a folder is whole or refused."""

import hashlib
import json
import struct
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields
from functools import cached_property, lru_cache
from itertools import chain

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from datasets.codecs import LABEL_CODEC, decode_image, decode_label
from datasets.guess import describe
from datasets.parts import MANIFEST
from datasets.storage import filesystem, listing, size, to_json, write_json, writing

VERSION = 2
_MEND = "inspect --verify finds damaged files; ingest the data set again with --overwrite"
_CODECS = ("image_codec", "label_codec")  # what format 1 didn't have: originals and PNGs
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
"""One row a sample: `image` and `label` (train or group ids) as in `datasets.codecs`, `class_pixels` 19 counts."""


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
        image_codec, label_codec: how `image` and `label` are encoded; see `datasets.codecs`.
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
    image_codec: str = "original"
    label_codec: str = LABEL_CODEC

    @cached_property
    def digest(self) -> str:
        """sha256 of the manifest, and so of every byte that it vouches for."""
        values = {name: value for name, value in asdict(self).items() if self.version > 1 or name not in _CODECS}
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()

    @property
    def saved(self) -> dict:
        """What `manifest.json` holds: the manifest and its digest."""
        return asdict(self) | {"digest": self.digest}


@dataclass(frozen=True)
class Sample:
    """One row: encoded image and label, and where they come from."""

    name: str
    image: bytes
    label: bytes
    height: int
    width: int

    def columns(self, left: int, right: int) -> np.ndarray:
        """The image, BGR uint8 [h, w, 3], of which only these columns need to be right."""
        return self._decoded("image", decode_image, self.image, self.height, self.width, left, right)

    def label_ids(self) -> np.ndarray:
        """The label, uint8 [h, w]."""
        return self._decoded("label", decode_label, self.label, self.height, self.width)

    def _decoded(self, what: str, decode: Callable[..., np.ndarray | None], *arguments) -> np.ndarray:
        try:
            pixels = decode(*arguments)
        except (OSError, ValueError, TypeError, struct.error, cv2.error) as error:
            raise ValueError(f"sample {self.name}: its {what} is damaged ({error}): {_MEND}") from error
        if pixels is None or pixels.shape[:2] != (self.height, self.width):
            raise ValueError(f"sample {self.name}: its {what} is damaged: {_MEND}")
        return pixels


def exists(uri: str) -> bool:
    """Whether a finished shard folder lies there."""
    return size(uri, MANIFEST) is not None


def read_manifest(uri: str) -> Manifest:
    """Raises ValueError if the folder is no finished shard folder, of another version, or its manifest is damaged."""
    if not exists(uri):
        raise ValueError(f"shards {uri}: no {MANIFEST} there: {describe(uri)}")
    damaged = f"shards {uri}: {MANIFEST} changed since it was written: ingest again with --overwrite"
    try:
        values = json.loads(_manifest_bytes(uri))
        version, digest = values["version"], values.pop("digest", None)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(damaged) from error
    if version not in (1, VERSION):
        raise ValueError(f"shards {uri}: format {version}, this is for {VERSION}: ingest the data set again")
    try:
        manifest = Manifest(**({"label_codec": "png"} if version == 1 else {}) | values)
    except TypeError as error:
        raise ValueError(damaged) from error
    if digest != manifest.digest and not (version == 1 and digest is None):
        raise ValueError(damaged)
    return manifest


def _manifest_bytes(uri: str) -> bytes:
    fs, path = filesystem(uri)
    with fs.open_input_stream(f"{path}/{MANIFEST}") as stream:
        return stream.read()


def write_manifest(uri: str, manifest: Manifest) -> None:
    """Makes the folder whole; to be called when every file is there."""
    write_json(uri, MANIFEST, manifest.saved)


def write_file(uri: str, file: str, rows: Iterable[dict]) -> dict | None:
    """One Parquet file, a row group a sample so that each can be fetched alone; returns its manifest entry.

    Without any row there is no file and no entry.
    """
    rows = iter(rows)
    first, count = next(rows, None), 0
    if first is None:
        return None
    with writing(uri, file) as sink:
        hashing = _HashingSink(sink)
        with pq.ParquetWriter(
            pa.PythonFile(hashing, mode="w"), SCHEMA, compression="none", use_dictionary=False
        ) as writer:
            for row in chain([first], rows):
                writer.write_table(pa.Table.from_pylist([row], SCHEMA))
                count += 1
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
        sizes = listing(self.uri)
        for entry in self.manifest.files:
            found = sizes.get(entry["file"])
            if found != entry["bytes"]:
                what = "is missing" if found is None else f"has {found} bytes instead of {entry['bytes']}"
                raise ValueError(
                    f"shards {self.uri}: {entry['file']} {what}: ingest the data set again with --overwrite"
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

    def class_pixels(self) -> np.ndarray:
        """Pixels of each class in each sample, int64 [samples, classes]."""
        columns = [_open(self.uri, e["file"], self.manifest.digest).read(["class_pixels"]) for e in self.manifest.files]
        return np.array(pa.concat_tables(columns)["class_pixels"].to_pylist(), np.int64)

    def read(self, index: int) -> Sample:
        """The index-th sample, still encoded. Raises ValueError if its file is damaged there."""
        file, row_group = self.locate(index)
        try:
            opened = _open(self.uri, file, self.manifest.digest)
            row = opened.read_row_group(row_group, columns=_SAMPLE, use_threads=False).to_pylist()[0]
        except (OSError, pa.ArrowException) as error:
            place = f"shards {self.uri}: {file} can't be read at sample {index}"
            raise ValueError(f"{place} ({error}): {_MEND}") from error
        return Sample(**row)


_SAMPLE = [field.name for field in fields(Sample)]


@lru_cache(maxsize=64)
def _open(uri: str, file: str, _digest: str) -> pq.ParquetFile:
    fs, path = filesystem(uri)
    return pq.ParquetFile(fs.open_input_file(f"{path}/{file}"))


def decode(sample: Sample) -> tuple[np.ndarray, np.ndarray]:
    """The image, BGR uint8 [h, w, 3], and the label, uint8 [h, w]."""
    return sample.columns(0, sample.width), sample.label_ids()


def find_damage(uri: str) -> list[str]:
    """Files whose bytes are no longer those that were written.

    Raises:
        ValueError: no finished shard folder, or its manifest says something else than when it was written.
    """
    fs, path = filesystem(uri)
    manifest = read_manifest(uri)
    vouched = manifest.version == 1 or _manifest_bytes(uri) == to_json(manifest.saved)
    broken = [] if vouched else [MANIFEST]
    for entry in manifest.files:
        with fs.open_input_stream(f"{path}/{entry['file']}") as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() != entry["sha256"]:
                broken.append(entry["file"])
    return broken
