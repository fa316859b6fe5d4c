"""The training stream: images a CPU-second of ours, from lossless and from JPEG shards, against mmseg's own loader.

`python -m benchmarks.stream --pairs 2000 --drawn 60 --work DIR --json`: photo-like GTAV-size pairs are drawn (a second
of CPU each; with `--drawn` the others are links) and ingested once; then each loader runs in a process of its own, in
turns. CPU seconds are those of the process and all its children, workers and Ray's daemons, between two points of the
steady state. Start-up is stated apart: that of Ray, and of the stream up to its first batch.
"""

import json
import os
import statistics
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import psutil

import rein_core  # noqa: F401  (its stub lets mmseg be imported)
from benchmarks import common
from datasets.augment import Augment
from datasets.plan import Plan
from datasets.shards import Shards, exists
from datasets.stream import Loader, batches

SHORT_EDGES = [int(51.2 * tenth) for tenth in range(5, 21)]
CROP, BATCH = (512, 512), 4
LOADERS = (
    "mmseg",
    "loop zstd",
    "loop jpeg95",
    "ours original",
    "ours zstd",
    "ours jpeg95",
    "worker zstd",
    "worker jpeg95",
)


def main(argv: list[str] | None = None) -> None:
    """Measures and prints."""
    parser = common.parser(__doc__)
    parser.add_argument("--pairs", type=int, default=2000, help="pairs of 1914×1052 pixels")
    parser.add_argument("--drawn", type=int, help="so many are drawn, the others links to them; default: all")
    parser.add_argument("--work", default="stream-benchmark", help="folder of raw pairs and shards, made once")
    parser.add_argument("--steps", type=int, default=320, help=f"measured steps of {BATCH} images")
    parser.add_argument("--loaders", nargs="+", default=list(LOADERS), choices=LOADERS)
    parser.add_argument("--one", choices=LOADERS, help="measure this loader only, once")
    args = parser.parse_args(argv)
    args.work = Path(args.work).absolute()
    if args.one:
        common.emit(measure(args.one, args.work, label(args.pairs, args.drawn), args.steps), True)
        return
    prepare(args.work, args.pairs, args.drawn)
    runs = {name: [] for name in args.loaders}
    for _ in range(args.rounds):
        for name in runs:
            options = ["--one", name, "--work", str(args.work), "--pairs", str(args.pairs), "--steps", str(args.steps)]
            options += ["--drawn", str(args.drawn)] if args.drawn else []
            runs[name].append(common.in_a_process("benchmarks.stream", *options))
    rows = {name: {key: statistics.median(run[key] for run in own) for key in own[0]} for name, own in runs.items()}
    common.emit(ratios(rows) | {"loaders": rows, "machine": common.machine(common.device())}, args.json)


def ratios(rows: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """Against mmseg's loader, and of Ray against the same transforms called in a loop; by images a CPU-second."""
    rate = {name: row["images_per_cpu_second"] for name, row in rows.items()}
    pairs = {
        "lossless": ("ours zstd", "mmseg"),
        "jpeg95": ("ours jpeg95", "mmseg"),
        "original": ("ours original", "mmseg"),
    }
    loops = {
        "zstd": ("loop zstd", "ours zstd"),
        "jpeg95": ("loop jpeg95", "ours jpeg95"),
        "worker": ("loop zstd", "worker zstd"),
        "worker jpeg95": ("loop jpeg95", "worker jpeg95"),
    }

    def divided(wanted: dict[str, tuple[str, str]]) -> dict[str, float]:
        return {key: round(rate[a] / rate[b], 2) for key, (a, b) in wanted.items() if a in rate and b in rate}

    return {"ratio": divided(pairs), "loop_over_ray": divided(loops)}


def label(pairs: int, drawn: int | None) -> str:
    """Of folders of so many pairs, of which so many differ."""
    return f"{pairs}-of-{drawn}" if drawn else str(pairs)


def prepare(work: Path, pairs: int, drawn: int | None) -> None:
    """Raw pairs in GTAV's layout, and shards of them by codec; those of another number of pairs stay beside them."""
    named = label(pairs, drawn)
    raw = folder(work, "raw", named)
    if not raw.is_dir():
        if drawn:
            _link(_draw(work, drawn), raw, pairs)
        else:
            _draw(work, pairs)
    for codec in ("original", "zstd", "jpeg95"):
        shards = str(folder(work, codec, named))
        if not exists(shards):
            common.prepare("ingest", "gtav", str(raw), shards, "--codec", codec)


def _draw(work: Path, pairs: int) -> Path:
    raw = folder(work, "raw", str(pairs))
    if not raw.is_dir():
        size = ["--size", "1052x1914"]
        common.prepare("scenes", str(raw), "--layout", "gtav", "--look", "camera", "--count", str(pairs), *size)
    return raw


def _link(drawn: Path, raw: Path, pairs: int) -> None:
    """Files of numbers as names, which are those of `drawn` over and over again."""
    partial = raw.with_suffix(".partial")
    for part in ("images", "labels"):
        files = sorted((drawn / part).iterdir())
        (partial / part).mkdir(parents=True)
        for number in range(pairs):
            (partial / part / f"{number + 1:05d}.png").hardlink_to(files[number % len(files)])
    partial.rename(raw)


def folder(work: Path, what: str, pairs: str) -> Path:
    """Of raw pairs, or of their shards by the name of a codec; `pairs` as in `label`."""
    return work / f"{what}-{pairs}"


def measure(name: str, work: Path, pairs: str, steps: int) -> dict[str, float]:
    """Images a CPU-second and a second in the steady state, seconds to the first batch, GiB of all processes."""
    kind, _, codec = name.partition(" ")
    ray_start = start_ray() if kind in ("ours", "worker") else {}
    if kind == "worker":
        return in_worker(folder(work, codec, pairs), steps) | ray_start
    started = time.perf_counter()
    if kind == "mmseg":
        stream = mmseg_batches(folder(work, "raw", pairs))
    else:
        stream = {"loop": loop_batches, "ours": our_batches}[kind](folder(work, codec, pairs), 3 * steps)
    return timed(stream, steps, started, psutil.Process()) | ray_start


def start_ray() -> dict[str, float]:
    """How long it takes, with the imports; a command has done it before its stream begins."""
    started = time.perf_counter()
    from pipelines.cluster import connect

    connect()
    return {"ray_start_seconds": round(time.perf_counter() - started, 2)}


def timed(stream: Iterator, steps: int, started: float, root: psutil.Process) -> dict[str, float]:
    """Of `steps` batches after as many that warm up."""
    next(stream)
    first = time.perf_counter() - started
    for _ in islice(stream, steps):
        pass
    cpu, wall = tree_cpu_seconds(root), time.perf_counter()
    for _ in islice(stream, steps):
        pass
    cpu, wall = tree_cpu_seconds(root) - cpu, time.perf_counter() - wall
    return {
        "images_per_cpu_second": round(steps * BATCH / cpu, 2),
        "images_per_second": round(steps * BATCH / wall, 2),
        "first_batch_seconds": round(first, 2),
        "memory_gib": round(tree_memory(root) / 2**30, 2),
    }


def tree_cpu_seconds(root: psutil.Process) -> float:
    """Of a process and all that it started and that still run."""
    return sum(sum(times[:2]) for times in _each(root, lambda process: process.cpu_times()))


def tree_memory(root: psutil.Process) -> float:
    """Bytes, shared pages split among those that share them."""
    return sum(_each(root, lambda process: process.memory_full_info().pss))


def _each(root: psutil.Process, ask) -> Iterator:
    for process in [root, *root.children(recursive=True)]:
        try:
            yield ask(process)
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue


def loop_batches(uri: Path, steps: int) -> Iterator:
    """The same samples, decoded and augmented one after the other in this process."""
    loader = Loader(*_plan(uri), first_step=0, rank=0, world_size=1)
    for step in range(steps):
        yield loader({"id": np.array([step])})


def our_batches(uri: Path, steps: int) -> Iterator:
    """Through Ray Data, on all cores."""
    yield from batches(*_plan(uri), range(steps), num_cpus=float(os.cpu_count() or 1))


def _plan(uri: Path) -> tuple[list[Shards], Plan, Augment]:
    shards = Shards(str(uri))
    return [shards], Plan.of([len(shards)], BATCH, seed=0), Augment(SHORT_EDGES, CROP)


def in_worker(uri: Path, steps: int) -> dict[str, float]:
    """Final tensors of these shards in a Ray Train worker."""
    import ray
    from ray.train import ScalingConfig
    from ray.train.torch import TorchTrainer

    driver = os.getpid()

    def train(settings: dict) -> None:
        import torch

        started = time.perf_counter()
        cores = float(os.cpu_count() or 1)
        stream = batches(*_plan(settings["uri"]), range(3 * steps), num_cpus=max(cores - 1, 0.5))
        tensors = ([torch.from_numpy(batch[part]) for part in ("image", "label")] for batch in stream)
        result = timed(tensors, steps, started, psutil.Process(driver))
        Path(settings["out"]).write_text(json.dumps(result))

    out = uri.with_name(f"worker-{uri.name}.json")
    settings = {"uri": uri, "out": str(out)}
    TorchTrainer(train, train_loop_config=settings, scaling_config=ScalingConfig(num_workers=1)).fit()
    ray.shutdown()
    return json.loads(out.read_text())


def mmseg_batches(raw: Path) -> Iterator:
    """mmseg's data set and transforms in torch's DataLoader, over the PNG files; OpenCV's own threads off, as there."""
    from mmengine.dataset import InfiniteSampler, pseudo_collate
    from mmengine.registry import DefaultScope
    from mmseg.datasets import BaseSegDataset
    from torch.utils.data import DataLoader

    pipeline = [
        {"type": "LoadImageFromFile"},
        {"type": "LoadAnnotations"},
        {"type": "RandomChoiceResize", "scales": SHORT_EDGES, "resize_type": "ResizeShortestEdge", "max_size": 2048},
        {"type": "RandomCrop", "crop_size": CROP, "cat_max_ratio": 0.75},
        {"type": "RandomFlip", "prob": 0.5},
        {"type": "PhotoMetricDistortion"},
        {"type": "PackSegInputs"},
    ]
    with DefaultScope.overwrite_default_scope("mmseg"):
        dataset = BaseSegDataset(
            data_root=str(raw),
            data_prefix={"img_path": "images", "seg_map_path": "labels"},
            img_suffix=".png",
            seg_map_suffix=".png",
            reduce_zero_label=False,
            pipeline=pipeline,
        )
    workers = os.cpu_count() or 1
    yield from DataLoader(
        dataset,
        BATCH,
        sampler=InfiniteSampler(dataset),
        num_workers=workers,
        collate_fn=pseudo_collate,
        worker_init_fn=lambda _: cv2.setNumThreads(0),
    )


if __name__ == "__main__":
    main()
