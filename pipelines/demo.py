"""`demo`: the whole job on procedural streets, by the very commands that a user types."""

import argparse
import shlex
import time
from pathlib import Path
from typing import Any

from datasets.shards import exists
from pipelines.terminal import duration, say

_SIZE, _TRAIN, _VAL, _SEEN = "256x512", 200, 40, 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Command-line arguments of `demo`."""
    parser.add_argument("--out", default="demo", help="folder for data, runs, report and predictions")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change the demo's recipe")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """The command: trains on the game look, and returns the evaluation on the camera look, which it never saw."""
    started = time.time()
    out = Path(args.out)
    runs = str(out / "runs")
    shards = {
        "game": _data(out, "game", "gtav", "game", _TRAIN, seed=0),
        "game-unseen-streets": _data(out, "game-unseen-streets", "gtav", "game", _SEEN, seed=1),
        "camera": _data(out, "camera", "cityscapes", "camera", _VAL, seed=2),
    }
    settings = [f"data.train={shards['game']}", f"data.val={shards['camera']}", f"tracking.storage={runs}", *args.set]
    trained = _command("train", "demo", *(part for setting in settings for part in ("--set", setting)))
    registered = _command("register", trained["checkpoint"], "demo", "--alias", "champion", "--storage", runs)
    model, report = registered["uri"], str(out / "report")
    result = _command("evaluate", model, shards["camera"], shards["game-unseen-streets"], "--report", report,
                      "--storage", runs)  # fmt: skip
    images = str(out / "raw" / "camera" / "leftImg8bit" / "val" / "ahlbeck")
    _command("predict", model, images, str(out / "predictions"), "--overwrite", "--storage", runs)
    _explain(out, model, result, time.time() - started)
    return result


def _data(out: Path, name: str, layout: str, look: str, count: int, seed: int) -> str:
    """Raw scenes and their shards; what an earlier demo finished is used again."""
    raw, shards = out / "raw" / name, out / "shards" / name
    if not raw.exists():
        _command("scenes", str(raw), "--layout", layout, "--look", look, "--count", str(count), "--size", _SIZE,
                 "--seed", str(seed))  # fmt: skip
    if not exists(str(shards)):
        _command("ingest", layout, str(raw), str(shards), "--name", name)
    return str(shards)


def _command(*argv: str) -> dict[str, Any]:
    from pipelines.__main__ import command

    say(f"\n$ python -m pipelines {shlex.join(argv)}")
    return command(list(argv))


def _explain(out: Path, model: str, result: dict[str, Any], seconds: float) -> None:
    scores = {name: f"{domain['mIoU']:.1f}" for name, domain in result["domains"].items()}
    say(
        f"\ndone in {duration(seconds)}. The VFM is tiny, with random frozen weights: this shows the path, not what "
        f"Rein can do.\n  mIoU: {scores} (camera: a look that was never trained on)\n  registered: {model}\n"
        f"  report with pictures: {out}/report/report.html\n  predictions: {out}/predictions/overlays\n"
        f"  all runs: mlflow ui --backend-store-uri sqlite:///{out}/runs/mlflow.db"
    )
