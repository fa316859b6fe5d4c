"""Where a sample's time goes: milliseconds of each part of the training stream, in a loop on one core.

`python -m benchmarks.stream_phases --pairs 2000 --drawn 60 --work DIR --json`, with the pairs and shards of
`benchmarks.stream`. `whole_image_ms` is what an image takes to decode that is wanted whole, not only a crop's part.
The floor, `whole_file_ms`, is what nobody who keeps whole PNG files can save: decoding one, and its label.
"""

import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import patch

import cv2
import numpy as np

from benchmarks import common
from benchmarks.stream import BATCH, CROP, SHORT_EDGES, folder, label, prepare
from datasets import augment
from datasets.augment import Augment
from datasets.plan import Plan
from datasets.sample import Sample
from datasets.shards import Shards
from datasets.stream import Loader

CODECS = ("original", "zstd", "jpeg95")
PARTS = {
    "read": (Shards, "read"),
    "decode label": (Sample, "label_ids"),
    "decode image": (Sample, "pixels"),
    "draw crop": (augment, "draw_crop"),
    "resize image": (augment, "resized_crop"),
    "colours": (augment, "distort"),
}
"""Part → where its function is. `resize image` calls `decode image`, whose time is not its own."""


def main(argv: list[str] | None = None) -> None:
    """Measures and prints."""
    parser = common.parser(__doc__)
    parser.add_argument("--pairs", type=int, default=2000, help="pairs of 1914×1052 pixels")
    parser.add_argument("--drawn", type=int, help="so many are drawn, the others links to them; default: all")
    parser.add_argument("--work", default="stream-benchmark", help="folder of raw pairs and shards, made once")
    parser.add_argument("--samples", type=int, default=400, help="samples of a round")
    args = parser.parse_args(argv)
    cv2.setNumThreads(1)
    work, named = Path(args.work).absolute(), label(args.pairs, args.drawn)
    prepare(work, args.pairs, args.drawn)
    runs: dict[str, list[dict[str, float]]] = {codec: [] for codec in CODECS}
    for _ in range(args.rounds):
        for codec, rounds in runs.items():
            rounds.append(of_parts(folder(work, codec, named), args.samples))
    found = {codec: {part: _median(rounds, part) for part in rounds[0]} for codec, rounds in runs.items()}
    images = {codec: whole_images(folder(work, codec, named), args.samples // 4) for codec in CODECS}
    floor = {"PNG": whole_files(folder(work, "raw", named), args.samples // 4)}
    told = {"ms": found, "whole_image_ms": images, "whole_file_ms": floor}
    common.emit(told | {"machine": common.machine(common.device())}, args.json)


def _median(rounds: list[dict[str, float]], part: str) -> float:
    return round(statistics.median(each[part] for each in rounds), 2)


def of_parts(uri: Path, samples: int) -> dict[str, float]:
    """Milliseconds a sample of each part, the rest and the whole."""
    shards = Shards(str(uri))
    plan = Plan.of([len(shards)], BATCH, seed=0)
    loader = Loader([shards], plan, Augment(SHORT_EDGES, CROP), first_step=0, rank=0, world_size=1)
    loader.load(0)
    spent: dict[str, float] = defaultdict(float)
    with ExitStack() as stack:
        for part, (place, name) in PARTS.items():
            stack.enter_context(patch.object(place, name, _timed(part, getattr(place, name), spent)))
        started = time.perf_counter()
        for position in range(samples):
            loader.load(position)
        whole = time.perf_counter() - started
    spent["resize image"] -= spent["decode image"]
    spent |= {"rest": whole - sum(spent.values()), "whole": whole}
    return {part: 1000 * seconds / samples for part, seconds in spent.items()}


def _timed(part: str, function: Callable, spent: dict[str, float]) -> Callable:
    def timed(*args: object, **kwargs: object) -> object:
        started = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            spent[part] += time.perf_counter() - started

    return timed


def whole_images(uri: Path, samples: int) -> float:
    """Milliseconds to decode an image, all of it."""
    shards = Shards(str(uri))
    spent = 0.0
    for index in range(min(samples, len(shards))):
        sample = shards.read(index)
        started = time.perf_counter()
        sample.pixels()
        spent += time.perf_counter() - started
    return round(1000 * spent / min(samples, len(shards)), 2)


def whole_files(raw: Path, count: int) -> float:
    """Milliseconds to decode an image's file and its label's, as every loader of files has to."""
    files = sorted((raw / "images").iterdir())[:count]
    started = time.perf_counter()
    for file in files:
        for each, flags in ((file, cv2.IMREAD_COLOR), (raw / "labels" / file.name, cv2.IMREAD_UNCHANGED)):
            cv2.imdecode(np.frombuffer(each.read_bytes(), np.uint8), flags)
    return round(1000 * (time.perf_counter() - started) / len(files), 2)


if __name__ == "__main__":
    main()
