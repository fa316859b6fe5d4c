"""`ingest`: a raw data set → shards, as a Ray Data job that checks every pair."""

import argparse
import io
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.fs as pafs
import ray.data
from PIL import Image, UnidentifiedImageError

from datasets.labels import CLASSES
from datasets.layouts import Layout, Pair, get_layout
from datasets.shards import MANIFEST, Manifest, exists, filesystem, write_file, write_manifest
from pipelines.cluster import connect
from pipelines.recipe import absolute
from pipelines.terminal import duration, say

_FILE_BYTES = 128 << 20
_FILE_SAMPLES = 256
_UNKNOWN = 254


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Command-line arguments of `ingest`."""
    parser.add_argument("layout", help="gtav, cityscapes, camvid, idd_lite: a file in datasets/layouts")
    parser.add_argument("raw", help="the raw data set's folder")
    parser.add_argument("out", help="where shards go: a path, s3:// or gs://")
    parser.add_argument("--split", help="default: the only split there is, or train")
    parser.add_argument("--name", help="the domain's name in reports; default: the layout's")
    parser.add_argument("--limit", type=int, help="take this many evenly spread pairs")
    parser.add_argument("--max-bad", type=float, default=0.1, help="fail if more than this share is bad (default 0.1)")
    parser.add_argument("--overwrite", action="store_true", help="replace shards that are there already")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """The command: returns counts, the quarantined samples and the manifest's digest."""
    started, args.out = time.time(), absolute(args.out)
    layout = get_layout(args.layout)
    split, pairs = layout.find(args.raw, args.split)
    if args.limit:
        pairs = [pairs[i] for i in sorted({int(i) for i in np.linspace(0, len(pairs) - 1, args.limit).round()})]
    dataset = args.name or layout.name
    prepare(args.out, args.overwrite)
    connect()
    say(f"ingesting {len(pairs)} pairs of {layout.name}, split {split}")
    parts = _convert(pairs, Writer(args.out, layout, dataset, split))
    manifest = _summarize(parts, dataset, layout, split)
    _refuse_bad(manifest, len(pairs), args.max_bad)
    write_manifest(args.out, manifest)
    seconds = time.time() - started
    say(
        f"{manifest.samples} samples in {len(manifest.files)} files, {len(manifest.quarantined)} quarantined, "
        f"{duration(seconds)}: {args.out}"
    )
    for bad in manifest.quarantined[:5]:
        say(f"quarantined {bad['name']}: {bad['reason']}")
    return {
        "out": args.out,
        "dataset": dataset,
        "samples": manifest.samples,
        "quarantined": manifest.quarantined,
        "files": len(manifest.files),
        "bytes": sum(entry["bytes"] for entry in manifest.files),
        "digest": manifest.digest,
        "seconds": round(seconds, 1),
    }


def prepare(out: str, overwrite: bool) -> None:
    """Makes OUT an empty folder.

    Raises:
        ValueError: shards are there already, or files that no ingest wrote.
    """
    fs, path = filesystem(out)
    if exists(out):
        if not overwrite:
            raise ValueError(f"{out} holds shards already: choose another folder, or add --overwrite")
        fs.delete_file(f"{path}/{MANIFEST}")
    fs.create_dir(path)
    found = [info.base_name for info in fs.get_file_info(pafs.FileSelector(path))]
    foreign = [name for name in found if not name.startswith(("part-", MANIFEST))]
    if foreign:
        raise ValueError(f"{out} holds {foreign[0]}, which no ingest wrote: choose an empty folder")
    for name in found:
        fs.delete_file(f"{path}/{name}")


def _convert(pairs: list[Pair], writer: "Writer") -> list[dict]:
    """One task a file, all over the cluster."""
    chunks = [{"part": part, "pairs": [vars(p) for p in chunk]} for part, chunk in enumerate(chunked(pairs))]
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    files = ray.data.from_items(chunks, override_num_blocks=len(chunks)).map(writer, num_cpus=1)
    return sorted(files.iter_rows(), key=lambda part: part["part"])


def chunked(pairs: list[Pair]) -> Iterator[list[Pair]]:
    """Contiguous runs of pairs, each at most 128 MiB of images and 256 samples: one file each."""
    chunk, size = [], 0
    for pair in pairs:
        image = Path(pair.image)
        size += image.stat().st_size if image.is_file() else 0
        chunk.append(pair)
        if size >= _FILE_BYTES or len(chunk) == _FILE_SAMPLES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


class Writer:
    """Runs in Ray Data's tasks: a chunk of pairs → a Parquet file and what the manifest says of it."""

    def __init__(self, out: str, layout: Layout, dataset: str, split: str):
        self.out, self.dataset, self.split = out, dataset, split
        self.table = np.full(256, _UNKNOWN, dtype=np.uint8)
        for raw, train in layout.id_to_train.items():
            self.table[raw] = train

    def __call__(self, chunk: dict) -> dict:
        stats = {"part": chunk["part"], "quarantined": [], "sizes": [], "class_pixels": [0] * len(CLASSES)}
        entry = write_file(self.out, f"part-{chunk['part']:05d}.parquet", self._rows(chunk["pairs"], stats))
        return stats | {"entry": entry}

    def _rows(self, pairs: list[dict], stats: dict) -> Iterator[dict]:
        for pair in pairs:
            try:
                row = convert(Pair(**pair), self.table)
            except ValueError as error:
                stats["quarantined"].append({"name": pair["name"], "reason": str(error)})
                continue
            stats["sizes"].append(f"{row['height']}×{row['width']}")
            stats["class_pixels"] = [a + b for a, b in zip(stats["class_pixels"], row["class_pixels"], strict=True)]
            yield row | {"dataset": self.dataset, "split": self.split}


def convert(pair: Pair, table: np.ndarray) -> dict:
    """A pair of files → a row of the shards.

    Args:
        table: uint8 [256], raw id → train id, 254 where a raw id is illegal.

    Raises:
        ValueError: the reason why this pair can't be used.
    """
    image = _read(pair.image, "image")
    pixels = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR)
    if pixels is None:
        raise ValueError(f"the image can't be decoded: {pair.image}")
    raw = _raw_ids(pair.label)
    if raw.shape != pixels.shape[:2]:
        sizes = ["×".join(map(str, shape)) for shape in (pixels.shape[:2], raw.shape)]
        raise ValueError(f"the image is {sizes[0]} and the label {sizes[1]} (height×width)")
    label = table[raw]
    if (label == _UNKNOWN).any():
        wrong = ", ".join(map(str, np.unique(raw[label == _UNKNOWN])[:8]))
        raise ValueError(f"wrong label ids {wrong}: not ids of this layout")
    counts = np.bincount(label.ravel(), minlength=256)[: len(CLASSES)]
    encoded = cv2.imencode(".png", label)[1].tobytes()
    height, width = label.shape
    return {
        "image": image,
        "label": encoded,
        "height": height,
        "width": width,
        "name": pair.name,
        "class_pixels": counts.tolist(),
    }


def _read(path: str, what: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ValueError(f"no {what}: {path} ({error.strerror})") from error


def _raw_ids(path: str) -> np.ndarray:
    """Ids as they are stored; PIL keeps palette indices, where OpenCV would give colours."""
    data = _read(path, "label")
    try:
        with Image.open(io.BytesIO(data)) as label:
            ids = np.asarray(label)
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ValueError(f"the label can't be decoded: {path}") from error
    if ids.ndim != 2:
        raise ValueError(f"the label has {ids.shape[2]} channels, so it holds colours: a map of ids has one ({path})")
    if ids.min() < 0 or ids.max() > 255:
        raise ValueError(f"wrong label ids {ids.min()} to {ids.max()}: ids are 0 to 255")
    return ids.astype(np.uint8)


def _summarize(parts: list[dict], dataset: str, layout: Layout, split: str) -> Manifest:
    entries = [part["entry"] for part in parts if part["entry"]]
    sizes = Counter(size for part in parts for size in part["sizes"])
    return Manifest(
        dataset=dataset,
        layout=layout.name,
        split=split,
        label_space=layout.label_space.name,
        files=[dict(sorted(entry.items())) for entry in entries],
        samples=sum(entry["rows"] for entry in entries),
        class_pixels=[int(sum(column)) for column in zip(*(part["class_pixels"] for part in parts), strict=True)],
        sizes=dict(sorted(sizes.items())),
        quarantined=[dict(bad) for part in parts for bad in part["quarantined"]],
    )


def _refuse_bad(manifest: Manifest, total: int, max_bad: float) -> None:
    bad = manifest.quarantined
    if len(bad) > max_bad * total or not manifest.samples:
        reasons = "; ".join(f"{entry['name']}: {entry['reason']}" for entry in bad[:3])
        raise ValueError(f"{len(bad)} of {total} samples are bad ({reasons}): mend them, or allow more with --max-bad")
