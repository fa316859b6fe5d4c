"""How far training scales: a model of images a second and cost on 1 to 64 GPUs, from measured and assumed inputs.

`python -m benchmarks.scaling` prints inputs and results as Markdown; every input is an argument, such as
`--step-ms 45`. docs/scaling.md says how the model works and what it leaves out.
"""

import argparse
import math
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from typing import Any

from benchmarks import common
from datasets.stream import SAMPLES_PER_TASK

GPUS = (1, 2, 4, 8, 16, 32, 64)
_BUCKET_MB = 26.2
_GBIT, _GB = 125.0, 1000.0
"""MB a second of one Gbit/s and of one GB/s."""


def measured(default: Any, source: str) -> Any:
    """An input that was measured or counted here, and how."""
    return field(default=default, metadata={"kind": "measured", "source": source})


def assumed(default: Any, source: str) -> Any:
    """An input that was not, and where it comes from."""
    return field(default=default, metadata={"kind": "assumed", "source": source})


@dataclass(frozen=True)
class Inputs:
    """What the model knows. MB are 10^6 bytes, prices dollars an hour."""

    step_ms: float = measured(
        127.0, "DINOv2-L, bf16, batch 4, without the update, one H100: docs/speed.md, 060bd99 (another: 166)"
    )
    images_per_step: int = assumed(4, "a GPU: the published batch of 4, on each")
    backward_share: float = assumed(0.46, "of the step; that of DINOv2-S on two CPU cores, for want of a GPU's")
    overlap: float = assumed(0.8, "share of the backward pass in which gradients travel; 0: they wait for its end")
    jitter_ms: float = assumed(1.0, "standard deviation of a GPU's step: all wait for the slowest")
    gradient_mb: float = measured(94.28, "23,569,877 trained parameters in fp32: --recipe rein_dinov2_l_512")
    gpus_per_node: int = assumed(8, "as in AWS's p5.48xlarge")
    nvlink_gbytes: float = assumed(300.0, "GB/s a GPU within a node: two thirds of an H100's 450")
    gpu_nic_gbit: float = assumed(100.0, "Gbit/s a GPU node that NCCL can use over TCP; p5 has 3200 through EFA")
    hop_us: float = assumed(10.0, "latency of one hop of the ring")
    decode_ms: float = measured(
        10.3, "CPU an image, zstd, AMD EPYC: python -m benchmarks.stream, 1a1f5c9 (jpeg95: 8.4)"
    )
    ray_ms: float = measured(1.1, "CPU an image that Ray adds: the same (jpeg95: 0.6)")
    crop_mb: float = measured(1.049, "512×512 pixels, three bytes of image and one of label")
    image_mb: float = measured(1.6, "a shard's bytes an image, zstd, synthetic GTAV-size frames (jpeg95: 0.36)")
    reads_per_image: float = measured(2.6, "one, and two to open a file, which 4 of 5 samples need: tests/benchmarks")
    read_ms: float = assumed(20.0, "until S3's first byte; a disk or a near NFS: 1")
    connection_mbytes: float = assumed(90.0, "MB/s of one read from S3")
    store_reads: float = assumed(5500.0, "reads a second that S3 promises a prefix at first")
    store_gbytes: float = assumed(20.0, "GB/s of S3 to all nodes")
    beside: bool = assumed(False, "decode on the GPU nodes' other cores instead of on CPU nodes")
    cpus_per_gpu: int = assumed(24, "cores of a GPU node, a GPU; one is the training worker's")
    cpus_per_node: int = assumed(16, "of a CPU node, as in AWS's c7a.4xlarge")
    cpu_nic_gbit: float = assumed(10.0, "of a CPU node; c7a.4xlarge: up to 12.5")
    most_cpu_nodes: int = assumed(64, "the autoscaler's max_workers")
    gpu_price: float = assumed(6.88, "a GPU: AWS's list price of an H100, us-east-1, 2025, on demand")
    cpu_price: float = assumed(0.82, "a CPU node: the same of c7a.4xlarge")
    head_price: float = assumed(0.38, "the same of m6i.2xlarge")


@dataclass(frozen=True)
class Point:
    """What the model says of a number of GPUs."""

    gpus: int
    images_per_second: float
    efficiency: float
    limit: str
    all_reduce_ms: float
    exposed_ms: float
    tasks_per_gpu: float
    cpu_nodes: int
    gpu_node_gbit: float
    store_mb_per_second: float
    store_reads_per_second: float
    ray_tasks_per_second: float
    dollars_per_hour: float
    dollars_per_million: float


def all_reduce_ms(gpus: int, of: Inputs) -> float:
    """A ring: each GPU sends and receives 2 (n - 1) / n of the gradients, in 2 (n - 1) hops a bucket."""
    if gpus == 1:
        return 0.0
    link = of.nvlink_gbytes * _GB
    if gpus > of.gpus_per_node:
        link = min(link, of.gpu_nic_gbit * _GBIT)
    hops = 2 * (gpus - 1) * math.ceil(of.gradient_mb / _BUCKET_MB)
    return _ring_mb(gpus, of) / link * 1e3 + hops * of.hop_us / 1e3


def _ring_mb(gpus: int, of: Inputs) -> float:
    return 2 * (gpus - 1) / gpus * of.gradient_mb


def exposed_ms(gpus: int, of: Inputs) -> float:
    """What of the all-reduce the backward pass does not hide."""
    return max(0.0, all_reduce_ms(gpus, of) - of.overlap * of.backward_share * of.step_ms)


def slowest_ms(gpus: int, of: Inputs) -> float:
    """How much later than the mean the slowest of n GPUs is, at most: σ √(2 ln n)."""
    return of.jitter_ms * math.sqrt(2 * math.log(gpus))


def task_ms(of: Inputs) -> float:
    """How long an image holds a decoding task's CPU: its work, and the reads that it waits for, one after the other."""
    waiting = of.reads_per_image * of.read_ms + of.image_mb / of.connection_mbytes * 1e3
    return of.decode_ms + of.ray_ms + waiting


def cpu_node_rate(of: Inputs) -> float:
    """Images a second of one CPU node: its cores' tasks, or its network, which takes images in and gives crops out."""
    network = of.cpu_nic_gbit * _GBIT / max(of.crop_mb, of.image_mb)
    return min(of.cpus_per_node * 1e3 / task_ms(of), network)


def decoding_rate(gpus: int, of: Inputs) -> float:
    """Images a second of all decoding tasks that there may be."""
    if of.beside:
        return gpus * (of.cpus_per_gpu - 1) * 1e3 / task_ms(of)
    return of.most_cpu_nodes * cpu_node_rate(of)


def store_rate(of: Inputs) -> float:
    """Images a second that the store of the shards gives."""
    return min(of.store_reads / of.reads_per_image, of.store_gbytes * _GB / of.image_mb)


def node_mb(gpus: int, of: Inputs) -> float:
    """What comes into a GPU node in a step: its crops (or encoded images), and gradients from the node before it."""
    samples = of.image_mb if of.beside else of.crop_mb
    ring = _ring_mb(gpus, of) if gpus > of.gpus_per_node else 0.0
    return min(gpus, of.gpus_per_node) * of.images_per_step * samples + ring


def step_ms(gpus: int, of: Inputs) -> tuple[float, str]:
    """Milliseconds from step to step, and what sets them."""
    images = gpus * of.images_per_step
    training = {"gradients": exposed_ms(gpus, of), "slowest GPU": slowest_ms(gpus, of)}
    lost = sum(training.values())
    times = {
        max(training, key=training.get) if lost > 0.1 * of.step_ms else "GPU": of.step_ms + lost,
        "network of GPU nodes": node_mb(gpus, of) / (of.gpu_nic_gbit * _GBIT) * 1e3,
        "decoding": images / decoding_rate(gpus, of) * 1e3,
        "store": images / store_rate(of) * 1e3,
    }
    limit = max(times, key=times.get)
    return times[limit], limit


def at(gpus: int, of: Inputs) -> Point:
    """The model, for this many GPUs."""
    step, limit = step_ms(gpus, of)
    rate = gpus * of.images_per_step / step * 1e3
    nodes = 0 if of.beside else math.ceil(rate / cpu_node_rate(of) - 1e-9)
    dollars = gpus * of.gpu_price + nodes * of.cpu_price + of.head_price
    return Point(
        gpus=gpus,
        images_per_second=rate,
        efficiency=of.step_ms / step,
        limit=limit,
        all_reduce_ms=all_reduce_ms(gpus, of),
        exposed_ms=exposed_ms(gpus, of),
        tasks_per_gpu=rate / gpus * task_ms(of) / 1e3,
        cpu_nodes=nodes,
        gpu_node_gbit=node_mb(gpus, of) / step * 1e3 / _GBIT,
        store_mb_per_second=rate * of.image_mb,
        store_reads_per_second=rate * of.reads_per_image,
        ray_tasks_per_second=rate / SAMPLES_PER_TASK,
        dollars_per_hour=dollars,
        dollars_per_million=dollars / 3600 / rate * 1e6,
    )


def gradient_mb(recipe: str) -> float:
    """Of a recipe's trained parameters in fp32. The model is built without storage and without its VFM's weights."""
    import torch  # with these, `--help` would take seconds

    from pipelines.recipe import load_recipe
    from rein_core import build_segmentor

    section = load_recipe(recipe).model_section()
    section.get("vfm", {})["weights"] = None
    with torch.device("meta"):
        segmentor = build_segmentor(section)
    return sum(p.numel() for p in segmentor.parameters() if p.requires_grad) * 4 / 1e6


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """A table."""
    return "".join("| " + " | ".join(line) + " |\n" for line in [head, ["---"] * len(head), *rows])


def results(points: list[Point]) -> str:
    """A row a number of GPUs."""
    head = ["GPUs", "images/s", "efficiency", "limit", "all-reduce, ms", "not hidden, ms", "tasks a GPU", "CPU nodes"]
    head += ["into a GPU node, Gbit/s", "store, MB/s", "reads/s", "Ray tasks/s", "$/h", "$/million images"]
    formats = "{gpus}|{images_per_second:.0f}|{efficiency:.0%}|{limit}|{all_reduce_ms:.1f}|{exposed_ms:.1f}"
    formats += "|{tasks_per_gpu:.1f}|{cpu_nodes}|{gpu_node_gbit:.1f}|{store_mb_per_second:.0f}"
    formats += (
        "|{store_reads_per_second:.0f}|{ray_tasks_per_second:.0f}|{dollars_per_hour:.2f}|{dollars_per_million:.0f}"
    )
    return markdown(head, [formats.format(**asdict(point)).split("|") for point in points])


def inputs(of: Inputs) -> str:
    """A row an input: its value, and whether it was measured."""
    rows = [[f"`{_flag(each.name)}`", f"{getattr(of, each.name):g}", *_origin(of, each)] for each in fields(Inputs)]
    return markdown(["input", "value", "", "how, or from where"], rows)


def _origin(of: Inputs, each: Any) -> list[str]:
    given = getattr(of, each.name) != each.default
    return ["given", f"default: {each.default:g}"] if given else [each.metadata["kind"], each.metadata["source"]]


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def parser() -> argparse.ArgumentParser:
    """`--json`, `--gpus`, `--recipe`, and each of `Inputs`."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--json", action="store_true", help="print one JSON line, last")
    arguments.add_argument("--gpus", type=int, nargs="+", default=list(GPUS))
    arguments.add_argument("--recipe", help="count its trained parameters, instead of --gradient-mb")
    for each in fields(Inputs):
        assert each.default is not MISSING
        kind = {"action": "store_true"} if each.type is bool else {"type": each.type, "default": each.default}
        words = f"{each.metadata['kind']}: {each.metadata['source']} (default {each.default:g})"
        arguments.add_argument(_flag(each.name), help=words.replace("%", "%%"), **kind)
    return arguments


def main(argv: list[str] | None = None) -> None:
    """Prints."""
    args = parser().parse_args(argv)
    of = Inputs(**{each.name: getattr(args, each.name) for each in fields(Inputs)})
    if args.recipe:
        of = replace(of, gradient_mb=gradient_mb(args.recipe))
    points = [at(gpus, of) for gpus in args.gpus]
    print(inputs(of) + "\n" + results(points), flush=True)
    if args.json:
        alone = at(1, of).images_per_second
        ratio = {point.gpus: round(point.images_per_second / alone, 2) for point in points}
        common.emit({"ratio": ratio, "points": [asdict(point) for point in points], "inputs": asdict(of)}, True)


if __name__ == "__main__":
    main()
