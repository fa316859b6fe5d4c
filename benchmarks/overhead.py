"""What Ray and the pipeline add to a training step, and what a checkpoint does, against a bare loop in torch.

`python -m benchmarks.overhead --json`: each loop trains the same model on the same batches, in a process of its own, in
turns; Ray starts and ends with each that needs it.

- bare: torch alone, batches ready in memory, threads and niceness of Ray's worker;
- ready: `train` as it is (Ray Train, journal, MLflow), but batches ready in memory;
- stream: `train` as it is, for information: decoding takes its share of the cores;
- checkpoints: as ready, and a checkpoint every `--interval` steps.

The shards' pictures are procedural and the VFM's weights random: neither changes what a step does.
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from benchmarks import common
from datasets.shards import exists
from pipelines.recipe import load_recipe

WARM_UP = 3
WITH_RAY = ("ready", "stream", "checkpoints")


def main(argv: list[str] | None = None) -> None:
    """Measures and prints."""
    args = parser().parse_args(argv)
    args.work = Path(args.work).absolute()
    args.work.mkdir(parents=True, exist_ok=True)
    if args.one:
        common.emit(measure(args), True)
        return
    args.shards = args.shards or prepare(args.work)
    rounds = [a_round(args) for _ in range(args.rounds)]
    setting = {name: getattr(args, name) for name in ("recipe", "steps", "rounds", "interval", "crop", "batch", "set")}
    common.emit(report(rounds) | {"setting": setting, "machine": common.machine(common.device())}, args.json)


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    arguments = common.parser(__doc__)
    arguments.formatter_class = argparse.RawDescriptionHelpFormatter
    arguments.add_argument("--recipe", default="rein_dinov2_s_camvid")
    arguments.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change another setting")
    arguments.add_argument("--steps", type=int, default=40, help=f"counted steps a run, after {WARM_UP} others")
    arguments.add_argument("--interval", type=int, default=10, help="steps from checkpoint to checkpoint")
    arguments.add_argument("--crop", type=int, help="pixels a side (default: the recipe's)")
    arguments.add_argument("--batch", type=int, help="images a step (default: the recipe's)")
    arguments.add_argument("--loops", nargs="+", default=list(WITH_RAY), choices=WITH_RAY, help="beside the bare one")
    arguments.add_argument("--shards", help="train on these (default: drawn in --work)")
    arguments.add_argument("--work", default="overhead-benchmark", help="folder of shards, made once, and of runs")
    arguments.add_argument("--one", choices=("bare", *WITH_RAY), help="measure this loop only, once")
    arguments.add_argument("--like", type=int, nargs=2, metavar=("THREADS", "NICENESS"), help="of the bare loop")
    return arguments


def prepare(work: Path) -> str:
    """Shards of streets of CamVid's size."""
    raw, shards = work / "raw", work / "shards"
    if not exists(str(shards)):
        common.prepare("scenes", str(raw), "--count", "40", "--size", "360x480")
        common.prepare("ingest", "gtav", str(raw), str(shards))
    return str(shards)


def a_round(args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Each loop once. The bare one comes after the first of the others, whose threads and niceness it takes."""
    first, *others = args.loops
    runs = {first: in_a_process(args, first)}
    like = [str(runs[first][name]) for name in ("threads", "niceness")]
    runs["bare"] = in_a_process(args, "bare", "--like", *like)
    return runs | {name: in_a_process(args, name) for name in others}


def in_a_process(args: argparse.Namespace, name: str, *more: str) -> dict[str, Any]:
    """What `measure` gives for this loop."""
    names = ("recipe", "steps", "interval", "crop", "batch", "shards", "work")
    given = {f"--{name}": str(getattr(args, name)) for name in names if getattr(args, name) is not None}
    options = [word for pair in given.items() for word in pair] + [f"--set={change}" for change in args.set]
    return common.in_a_process("benchmarks.overhead", "--one", name, *more, *options)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """One loop, once: what `summary` says of it, and of its checkpoints `waits`."""
    from benchmarks import loops  # with these, `--help` would take seconds

    with tempfile.TemporaryDirectory(dir=args.work) as storage:
        recipe = load_recipe(args.recipe, changes(args, storage) + args.set)
        if args.one == "bare":
            return summary(loops.bare(recipe, *args.like))
        run = loops.through_ray(recipe, loops.stream_worker if args.one == "stream" else loops.ready_worker)
    if args.one != "checkpoints":
        return summary(run)
    return summary(run) | waits(run, args.interval, load_recipe(args.recipe).train.checkpoint_every)


def changes(args: argparse.Namespace, storage: str) -> list[str]:
    """To the recipe. No validation, and no checkpoint before the last step where it is not what is measured."""
    steps = WARM_UP + args.steps + 1
    values = {
        "data.train": args.shards, "data.val": [], "data.source_val": [], "model.vfm.weights": None,
        "train.steps": steps, "train.num_workers": 1, "train.accumulate": 1, "tracking.storage": storage,
        "train.checkpoint_every": args.interval if args.one == "checkpoints" else steps,
    }  # fmt: skip
    if args.crop:
        values |= {"data.augment.crop_size": [args.crop] * 2, "model.vfm.img_size": args.crop}
    if args.batch:
        values["train.batch_size"] = args.batch
    return [f"{key}={value}" for key, value in values.items()]


def summary(run: dict[str, Any]) -> dict[str, Any]:
    """Of a run's counted steps; those that wait for a checkpoint, or follow one, are left out.

    Returns:
        Medians of a step's seconds and CPU seconds and of its wait for data; means of its seconds and of those that the
        loop takes beside the step, as what is done now and then is in no median.

    Raises:
        ValueError: no step is left.
    """
    told = {report["step"] for report in run.get("reports", [])}
    plain = [step for step in range(WARM_UP, len(run["seconds"]) - 1) if step not in told and step + 1 not in told]
    if not plain:
        raise ValueError("--interval: each step is beside a checkpoint: give 3 or more, and more --steps")

    def of(name: str, middle: Callable[[Iterable[float]], float]) -> float:
        return round(middle(run[name][step] for step in plain), 6)

    values = {name: of(name, statistics.median) for name in ("seconds", "cpu_seconds", "waiting_seconds")}
    values |= {"mean_seconds": of("seconds", statistics.fmean), "counted": len(plain)}
    if "beside_seconds" in run:
        values["mean_beside_seconds"] = of("beside_seconds", statistics.fmean)
    return values | {name: run[name] for name in ("loss", "threads", "niceness")}


def waits(run: dict[str, Any], interval: int, usual: int) -> dict[str, Any]:
    """How long a step waits for a checkpoint, and how much slower the step after is, while it is being stored.

    Args:
        usual: the recipe's own interval, for which the share is worked out from the same wait.

    Raises:
        ValueError: no checkpoint falls into the counted steps.
    """
    taken = [report for report in run["reports"] if WARM_UP < report["step"] < len(run["seconds"]) - 1]
    if not taken:
        raise ValueError(f"--interval {interval}: no checkpoint falls into the counted steps: give more --steps")
    step, wait = summary(run)["seconds"], statistics.median(report["waited"] for report in taken)
    uploads = [report["upload"] for report in run["reports"] if report["upload"] is not None]
    phases = run["phases"]
    return {
        "checkpoint": {
            "mib": round(run["mib"], 2),
            "interval": interval,
            "wait_seconds": round(wait, 4),
            "share": round(wait / (interval * step + wait), 5),
            "usual_interval": usual,
            "usual_share": round(wait / (usual * step + wait), 5),
            "clock_share": round(phases["checkpoint"] / sum(phases.values()), 5),
            "upload_seconds": round(statistics.median(uploads), 4),
            "step_after": round(statistics.median(run["seconds"][report["step"]] for report in taken) / step, 4),
        }
    }


def report(rounds: list[dict[str, dict[str, Any]]]) -> dict[str, Any]:
    """Of all rounds: each loop's medians, its time by the bare loop's in the same round, and what checkpoints cost.

    Raises:
        ValueError: the loops did not do the same work.
    """
    for runs in rounds:
        check(runs)
    names = rounds[0].keys()
    ratios = {name: [runs[name]["seconds"] / runs["bare"]["seconds"] for runs in rounds] for name in names - {"bare"}}
    of_cpu = {name: [runs[name]["cpu_seconds"] / runs["bare"]["cpu_seconds"] for runs in rounds] for name in ratios}
    result = {
        "ratio": {name: round(statistics.median(values), 4) for name, values in ratios.items()},
        "cpu_ratio": {name: round(statistics.median(values), 4) for name, values in of_cpu.items()},
        "rounds": {name: [round(value, 4) for value in values] for name, values in ratios.items()},
        "loops": {name: medians(runs[name] for runs in rounds) for name in names},
    }
    if "checkpoints" in names:
        result["checkpoint"] = medians(runs["checkpoints"]["checkpoint"] for runs in rounds)
    return result


def medians(runs: Iterable[dict[str, Any]]) -> dict[str, float]:
    """Of each number over the rounds."""
    runs = list(runs)
    return {name: statistics.median(run[name] for run in runs) for name in runs[0] if name != "checkpoint"}


def check(runs: dict[str, dict[str, Any]]) -> None:
    """Raises ValueError if threads, niceness or the last step's loss differ: then the times don't compare."""
    for name, run in runs.items():
        for what, tolerance in {"threads": 0, "niceness": 0, "loss": 1e-3 * abs(runs["bare"]["loss"])}.items():
            if abs(run[what] - runs["bare"][what]) > tolerance:
                raise ValueError(f"{name} had {what} {run[what]}, the bare loop {runs['bare'][what]}")


if __name__ == "__main__":
    main()
