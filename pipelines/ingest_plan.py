"""What an ingest will make: which pairs go into which file, and what must be the same for a killed one to go on."""

import hashlib
import json
from itertools import pairwise

import numpy as np
import pyarrow.fs as pafs

from datasets.convert import convert, id_table
from datasets.layouts import Layout, Pair
from datasets.parts import Plan
from datasets.storage import infos, split

_FILE_BYTES = 128 << 20
_FILE_SAMPLES = 256
_FILES, _FEW_SAMPLES = 16, 16
_PROBES = 3


def make_plan(pairs: list[Pair], layout: Layout, split: str, dataset: str, codec: str) -> Plan:
    """The plan of an ingest of these pairs: the same for the same files and settings."""
    found = [_infos(files) for files in zip(*((pair.image, pair.label) for pair in pairs), strict=True)]
    images = [info.size if info else None for info in found[0]]
    growth = _growth(pairs, images, layout, codec)
    names = [pair.name for pair in pairs]
    meaning = [layout.label_space.name, sorted(layout.id_to_train.items())]
    ends = _ends([growth * (size or 0) for size in images])
    files = [list(row) for row in zip(names, *map(_facts, found), strict=True)]
    return Plan(
        dataset=dataset,
        layout=layout.name,
        split=split,
        codec=codec,
        pairs=len(pairs),
        digest=_digest([names, meaning]),
        ends=ends,
        changed=tuple(_digest(files[slice(*bounds)]) for bounds in pairwise((0, *ends))),
    )


def _facts(infos: list[pafs.FileInfo | None]) -> list[tuple[int, int] | None]:
    """What changes with a file."""
    return [(info.size, info.mtime_ns) if info else None for info in infos]


def _digest(values: list) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()


def _ends(sizes: list[float]) -> tuple[int, ...]:
    """Contiguous runs of pairs, each about 128 MiB of images or 256 samples.

    Small data sets are cut finer, into 16 files, as a file is one core's work; whatever the cluster, so that its size
    doesn't change the bytes.
    """
    most = min(_FILE_SAMPLES, max(_FEW_SAMPLES, -(-len(sizes) // _FILES)))
    ends, start, total = [], 0, 0.0
    for end, size in enumerate(sizes, start=1):
        total += size
        if total >= _FILE_BYTES or end - start == most:
            ends.append(end)
            start, total = end, 0.0
    return tuple(ends) if start == len(sizes) else (*ends, len(sizes))


def _infos(files: tuple[str, ...]) -> list[pafs.FileInfo | None]:
    """What is known of each file that there is. Lists each folder once: a store answers slowly file by file."""
    folders: dict[str, dict[str, pafs.FileInfo]] = {}
    found = []
    for file in files:
        folder, name = split(file)
        if folder not in folders:
            folders[folder] = infos(folder)
        found.append(folders[folder].get(name))
    return found


def _growth(pairs: list[Pair], sizes: list[int | None], layout: Layout, codec: str) -> float:
    """Stored over raw bytes of an image, from a few of them."""
    if codec == "original":
        return 1.0
    stored = raw = 0
    for place in np.linspace(0, len(pairs) - 1, _PROBES).astype(int):
        try:
            stored += len(convert(pairs[place], id_table(layout), codec)["image"])
        except ValueError:
            continue
        raw += sizes[place] or 0
    return stored / raw if raw else 1.0
