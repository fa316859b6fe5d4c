"""Shards: Parquet files of encoded samples beside a manifest that is written last: a folder is whole or refused."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from itertools import chain

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from datasets.ahead import ahead
from datasets.codecs import LABEL_CODEC
from datasets.guess import describe
from datasets.open_files import OpenFile, open_file
from datasets.parts import MANIFEST
from datasets.sample import UNREADABLE, Damaged, Sample, naming, one_line
from datasets.storage import filesystem, listing, size, to_json, write_json, writing

VERSION = 2
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

_FORMAT = {"compression": "none", "use_dictionary": False, "write_page_checksum": True}  # few images tell a flipped bit
_FILES_AT_ONCE = 16  # where all are asked: a store answers each after a while


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
        with pq.ParquetWriter(pa.PythonFile(hashing, mode="w"), SCHEMA, **_FORMAT) as writer:
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

    Args:
        skip_damaged: files that can't be read go into `lost`, with the reason; to read a sample of theirs is an error.

    Raises:
        ValueError: not a finished shard folder.
        Damaged: a file of it is missing or cut short; with `skip_damaged` only if all are.
    """

    def __init__(self, uri: str, skip_damaged: bool = False):
        self.uri, self.skip_damaged = uri, skip_damaged
        self.manifest = read_manifest(uri)
        self.lost: dict[str, str] = {}
        self._check_files()

    def __len__(self) -> int:
        return self.manifest.samples

    @property
    def remote(self) -> bool:
        """Whether they lie in a store, which answers after a while."""
        return "://" in self.uri

    def _check_files(self) -> None:
        sizes = listing(self.uri)
        for entry in self.manifest.files:
            found = sizes.get(entry["file"])
            if found != entry["bytes"]:
                what = "is missing" if found is None else f"has {found} bytes instead of {entry['bytes']}"
                self._lose(entry["file"], f"{entry['file']} {what}: ingest the data set again with --overwrite")

    def _lose(self, file: str, reason: str) -> None:
        self.lost[file] = f"shards {self.uri}: {reason}"
        if not self.skip_damaged:
            raise Damaged(self.lost[file])
        if len(self.lost) == len(self.manifest.files):
            raise Damaged(f"shards {self.uri}: none of its files can be read; the last: {reason}")

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
        """Pixels of each class in each sample, int64 [samples, classes]; 0 of samples whose file is `lost`.

        Raises:
            Damaged: a file can't be read; with `skip_damaged` only if none can.
        """
        counts = []
        for entry, found in ahead(self._class_pixels, self.manifest.files, _FILES_AT_ONCE):
            if isinstance(found, Damaged):
                self._lose(entry["file"], str(found))
            shape = entry["rows"], len(self.manifest.class_pixels)
            counts.append(found if isinstance(found, np.ndarray) else np.zeros(shape, np.int64))
        return np.concatenate(counts)

    def _class_pixels(self, entry: dict) -> np.ndarray | Damaged | None:
        """Those of a file, or why there are none; None if it is known to be `lost`."""
        if entry["file"] in self.lost:
            return None
        try:
            with naming(f"{entry['file']} can't be read"):
                table = self._open(entry["file"]).plain.read(["class_pixels"], use_threads=False)
                counts = np.array(table["class_pixels"].to_pylist(), np.int64)
                return counts.reshape(entry["rows"], len(self.manifest.class_pixels))
        except Damaged as error:
            return error

    def footers(self) -> Iterator[pq.FileMetaData]:
        """Of each file that isn't `lost`: a row group a sample. Raises Damaged if one can't be read."""
        there = [entry for entry in self.manifest.files if entry["file"] not in self.lost]
        return (footer for _, footer in ahead(self._footer, there, _FILES_AT_ONCE))

    def _footer(self, entry: dict) -> pq.FileMetaData:
        with naming(f"shards {self.uri}: {entry['file']} can't be read"):
            return self._open(entry["file"]).footer

    def _open(self, file: str) -> OpenFile:
        return open_file(self.uri, file, self.manifest.digest)

    def read(self, index: int) -> Sample:
        """The index-th sample, still encoded. Raises Damaged if its file is `lost` or can't be read there."""
        file, row_group = self.locate(index)
        if file in self.lost:
            raise Damaged(self.lost[file])
        try:
            with naming(f"shards {self.uri}: {file} can't be read at sample {index}"):
                return Sample(**self._row(file, row_group, _SAMPLE))
        except Damaged as error:
            raise Damaged(f"{self._called(file, row_group)}{error}") from error

    def _row(self, file: str, row_group: int, columns: list[str]) -> dict:
        reader = self._open(file).reader()
        return reader.read_row_group(row_group, columns=columns, use_threads=False).to_pylist()[0]

    def _called(self, file: str, row_group: int) -> str:
        """Of a sample that can't be read, as far as its name can be."""
        with suppress(*UNREADABLE):
            return f"sample {self._row(file, row_group, ['name'])['name']}: "
        return ""


_SAMPLE = [field.name for field in fields(Sample)]


def decode(sample: Sample) -> tuple[np.ndarray, np.ndarray]:
    """The image, BGR uint8 [h, w, 3], and the label, uint8 [h, w]."""
    return sample.pixels(), sample.label_ids()


def find_damage(uri: str) -> list[str]:
    """Files whose bytes are no longer those that were written, and with the reason those that can't be read.

    Raises:
        ValueError: no finished shard folder, or its manifest says something else than when it was written.
    """
    fs, path = filesystem(uri)
    manifest = read_manifest(uri)
    vouched = manifest.version == 1 or _manifest_bytes(uri) == to_json(manifest.saved)
    broken = [] if vouched else [MANIFEST]
    for entry in manifest.files:
        try:
            with fs.open_input_stream(f"{path}/{entry['file']}") as stream:
                whole = hashlib.file_digest(stream, "sha256").hexdigest() == entry["sha256"]
            broken += [] if whole else [entry["file"]]
        except FileNotFoundError:
            broken.append(entry["file"])
        except OSError as error:
            broken.append(f"{entry['file']} ({one_line(error)})")
    return broken
